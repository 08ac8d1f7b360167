"""The ids that rows get where nobody names them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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
