"""The ids of rows: those that they get where nobody names them, and labels in the order that ids say."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from actstore.errors import ActstoreError


class RowIds:
    """Default ids: ``SPLIT/INDEX``, counted within each split; only ``INDEX`` where there is no split.

    Where the file of the data names its rows, their names take the place of the index.

    Rows that are left out keep their numbers: a row has the same id in a sample, a rank's share and a whole dump.
    """

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()

    def copy(self) -> RowIds:
        """Return ids that go on from here on their own."""
        other = RowIds()
        other._rows.update(self._rows)
        return other

    def of(self, splits: Sequence[str]) -> list[str]:
        """Return the ids of the next rows, which belong to ``splits``."""
        ids = []
        for split in splits:
            ids.append(_named(split, self._rows[split]))
            self._rows[split] += 1
        return ids

    def at(self, split: str, places: Iterable[int], own: Sequence[str] | None = None) -> list[str]:
        """Return the ids of the rows at these places of the next item of data; ``own`` is what its file calls all."""
        if own is not None:
            return [_named(split, own[place]) for place in places]
        first = self._rows[split]
        return [_named(split, first + place) for place in places]

    def pass_over(self, split: str, rows: int) -> None:
        """Go on behind an item of so many rows."""
        self._rows[split] += rows


def _named(split: str, index: int | str) -> str:
    return f"{split}/{index}" if split else str(index)


def is_pandas(value: object) -> bool:
    """Whether a value is one of pandas' own, told without importing pandas."""
    return type(value).__module__.partition(".")[0] == "pandas"


def index_of(values: object) -> np.ndarray | None:
    """(rows,) the index of a pandas object; None where it is none, or has the plain one that every new object has."""
    index = getattr(values, "index", None)
    if not is_pandas(values) or index is None or callable(index):
        return None
    if getattr(index, "nlevels", 1) > 1:
        return np.array([str(entry) for entry in index.tolist()], object)
    found = np.asarray(index)
    return None if counts_rows(found) else found


def counts_in_other_order(values: object, ids: Sequence[str]) -> bool:
    """Whether a pandas index that counts the rows was made of their ids, which stand in another order.

    ``table.set_index("id").sort_index()`` has such a one. The plain one of a new object says nothing of ids.
    """
    index: Any = getattr(values, "index", None)
    if not is_pandas(values) or index is None or callable(index) or len(index) != len(ids):
        return False
    plain = type(index).__name__ == "RangeIndex" and index.name is None
    if plain or not counts_rows(np.asarray(index)):
        return False
    texts = [str(entry) for entry in index.tolist()]
    return texts != list(ids) and set(texts) == set(ids)


def counts_rows(index: np.ndarray) -> bool:
    """Whether these are 0, 1, 2, ... in order, as numbers."""
    return index.dtype.kind in "iu" and bool(np.array_equal(index, np.arange(len(index))))


def place_by_id(
    labels: np.ndarray, ids: Sequence[str], known: Iterable[str], fault: Callable[[str], ActstoreError]
) -> np.ma.MaskedArray:
    """Labels of all rows that are known, of which only those with ``ids`` have one.

    Raises:
        ActstoreError: made by ``fault`` of a sentence about ids that are unknown or come twice.
    """
    place_of = {row_id: row for row, row_id in enumerate(known)}
    unknown = [row_id for row_id in ids if row_id not in place_of]
    if unknown:
        like = repr(next(iter(place_of), ""))
        msg = (
            f"{some(unknown)} of {len(ids):,} ids are not in the store, whose ids look like {like}; "
            "see actstore rows for all"
        )
        raise fault(msg)
    places = np.array([place_of[row_id] for row_id in ids], np.intp)
    counts = np.bincount(places, minlength=len(place_of))
    if len(counts) and counts.max() > 1:
        names = list(place_of)
        twice = [names[row] for row in np.flatnonzero(counts > 1)]
        msg = f"{some(twice)} appears more than once; expected one label per id"
        raise fault(msg)
    placed = np.ma.MaskedArray(np.zeros(len(place_of), np.ma.getdata(labels).dtype), mask=True)
    placed[places] = labels
    return placed


def some(ids: Sequence[str], shown: int = 3) -> str:
    """How many ids these are, the first of them by name."""
    named = ", ".join(repr(row_id) for row_id in ids[:shown])
    return f"{len(ids):,} ({named}{', ...' if len(ids) > shown else ''})"
