"""What the rows of data are called, and labels that are told by it."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError
from actstore.rows.ids import counts_in_other_order, index_of, place_by_id, some
from actstore.rows.labels import plain_labels, without
from actstore.sources.base import check_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from actstore.sources.base import Source

ID = "id"
"""The column of a table that names its rows."""
_PANDAS_INDEX = ("", "__index_level_0__")
"""What pandas calls an index without a name in a .csv, and in a data set made of its frame."""


class RowNamesWarning(UserWarning):
    """A file has a column of ids that do not name its rows."""


def id_column(names: Sequence[str]) -> str | None:
    """Return the column that names the rows: ``id``, but for case and blanks, else the index of pandas; or None."""
    if ID in names:
        return ID
    like = [name for name in names if name.strip().lower() == ID]
    if len(like) == 1:
        return like[0]
    return next((name for name in _PANDAS_INDEX if name in names), None)


@dataclass(frozen=True)
class RowLabels:
    """Labels, and which rows they are of where their file says so.

    Args:
        values: (labels,) masked where there is none.
        ids: (labels,) what the file calls the rows; None where it does not say.
        file: the table or folder that they are in; None where that is unknown.
        others: (labels,) the other columns of the table, by their names.
    """

    values: np.ndarray
    ids: Sequence[str] | None = None
    file: Path | None = None
    others: Mapping[str, Sequence[object]] = field(default_factory=dict)


@dataclass(frozen=True)
class RowNames:
    """What the rows of one item of data are called.

    Args:
        split: of the item.
        first: how many rows of this split come before.
        rows: how many there are; None where only reading tells.
        ids: (rows,) what the file itself calls them; None where they are counted.
        words: (rows,) how many words each has; None where it is no example of words.
    """

    split: str
    first: int
    rows: int | None
    ids: Sequence[str] | None = None
    words: np.ndarray | None = None

    def in_store(self, rows: int) -> list[str]:
        """The ids that the rows, or the first so many, get in a store."""
        names = range(self.first, self.first + rows) if self.ids is None else self.ids
        return [f"{self.split}/{name}" if self.split else str(name) for name in names]

    def known(self) -> list[Sequence[str]]:
        """The ways to name all rows: their ids in a store, those of their words, and what the file calls them."""
        examples = self.in_store(self.rows or 0)
        ways: list[Sequence[str]] = [examples]
        if self.words is not None:
            counts = self.words.tolist()
            pairs = zip(examples, counts, strict=True)
            ways.append([f"{example}/{word}" for example, count in pairs for word in range(count)])
        return ways if self.ids is None else [*ways, self.ids]


def row_names(sources: Sequence[tuple[str, Source]]) -> list[RowNames]:
    """Return what the rows of each item of data, with its split, are called.

    Where the files of all items of a split name their rows, each by another name, these are the names; else they are
    counted within the split.
    """
    own = {split: _own(split, [source for name, source in sources if name == split]) for split, _ in sources}
    before: Counter[str] = Counter()
    names = []
    for split, source in sources:
        ids = getattr(source, "row_ids", None) if own[split] else None
        words = getattr(source, "word_counts", None)
        names.append(RowNames(split, before[split], source.rows, ids, words))
        before[split] += source.rows or 0
    return names


def _own(split: str, sources: Sequence[Source]) -> bool:
    """Whether the rows of a split are called as their files call them."""
    by_source = [getattr(source, "row_ids", None) for source in sources]
    if all(ids is None for ids in by_source):
        return False
    fault = _fault_of(by_source)
    if fault:
        spec = next(source.spec for source, ids in zip(sources, by_source, strict=True) if ids is not None)
        of = f" of split {split!r}" if split else ""
        msg = f"the column of ids of {spec} does not name its rows ({fault}); the rows{of} are counted instead"
        warnings.warn(msg, RowNamesWarning, stacklevel=4)
    return not fault


def _fault_of(by_source: Sequence[Sequence[str] | None]) -> str:
    """Why the ids that the files of a split give do not name its rows; "" where they do."""
    given = [ids for ids in by_source if ids is not None]
    if len(given) < len(by_source):
        return "other data of the same split has no such column"
    counts = Counter(chain.from_iterable(given))
    twice = [row_id for row_id, rows in counts.items() if rows > 1 or not row_id]
    return f"{some(twice)} are empty or come more than once" if twice else ""


def place_labels(labels: RowLabels, rows: RowNames, spec: str) -> np.ndarray:
    """Labels in the order of the rows, each at the row that its file says.

    Raises:
        SourceError: ids that are not those of the rows, nor 0, 1, 2, ... in order.
    """
    ids = labels.ids
    if ids is None or (rows.ids is None and _count(ids)):
        check_no_names(labels, rows.known(), spec)
        return labels.values
    if rows.rows is None:
        if list(ids) == rows.in_store(len(ids)):
            return labels.values
        msg = (
            f"{spec} names its rows ({ids[0]!r}, ...), but what the rows of the data are is known only as they are "
            "read; give labels in their order, without a column of ids, or let the data give them"
        )
        raise SourceError(msg)
    return place_labels_of(labels, rows.known(), spec)


def place_labels_of(labels: RowLabels, ways: Sequence[Sequence[str]], spec: str) -> np.ndarray:
    """Labels in the order of rows that can be named in these ways, the usual one first.

    Raises:
        SourceError: ids that are not those of the rows, nor 0, 1, 2, ... in order.
    """
    ids = labels.ids or []
    for way in ways:
        if set(ids) <= set(way):
            return place_by_id(labels.values, ids, way, lambda what: SourceError(f"{spec}: {what}"))
    if _count(ids):
        check_no_names(labels, ways, spec)
        return labels.values
    asked = set(ways[0])
    unknown = [row_id for row_id in ids if row_id not in asked]
    msg = (
        f"{spec} has a column of ids, but {some(unknown)} of its {len(ids):,} ids are not in the data or the store, "
        f"whose ids look like {ways[0][0]!r}, nor are they 0, 1, 2, ... in order, so it is no telling which rows its "
        "labels are of; mend the ids, or take the labels by position from a file without that column"
    )
    raise SourceError(msg)


def check_no_names(labels: RowLabels, ways: Sequence[Sequence[str]], spec: str) -> None:
    """Refuse to take labels by position where a column of another name holds the names of the rows in another order."""
    for way in ways:
        known = set() if _count(way) else set(way)
        for name, cells in labels.others.items():
            texts = texts_of(cells)
            if len(texts) < 2 or not known.issuperset(texts) or texts == list(way)[: len(texts)]:
                continue
            msg = (
                f"{spec} has no column {ID!r}, but its column {name!r} holds names of the rows ({texts[0]!r}, ...) in "
                f"another order; call that column {ID!r} to join the labels by it, or leave it out to take them by "
                "position"
            )
            raise SourceError(msg)


def _count(ids: Sequence[str]) -> bool:
    """Whether ids only count the rows, in order."""
    return list(ids) == [str(number) for number in range(len(ids))]


def labels_by_name(
    targets: Mapping[str, object], ids: Sequence[str] | None, ignore: Sequence[object]
) -> dict[str, np.ndarray]:
    """(rows,) labels by name, of rows with these ids; the index of a pandas object may be the ids, in any order.

    Raises:
        SourceError: what is no label, or an index of other rows.
    """
    labels = {}
    for name, values in targets.items():
        index = index_of(values)
        if index is None and ids is not None and counts_in_other_order(values, ids):
            index = np.arange(len(ids))
        if index is not None and ids is not None and sorted(map(str, index)) == sorted(ids):
            own = plain_labels(np.asarray(values, object), f"target {name!r}")
            found: np.ndarray = place_by_id(own, [str(row_id) for row_id in index], list(ids), SourceError)
        else:
            found = check_labels(values, f"target {name!r}")
        labels[name] = without(found, ignore)
    return labels


def texts_of(values: Sequence[object]) -> list[str]:
    """Cells that name rows as text; "" where there is nothing."""
    return ["" if value is None else str(value) for value in values]


def column_of(values: Sequence[object]) -> np.ma.MaskedArray:
    """(rows,) cells as text, masked where there is nothing."""
    texts = texts_of(values)
    return np.ma.MaskedArray(np.array(texts, np.str_), mask=[not text for text in texts])
