"""The ids that rows get where nobody names them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class RowIds:
    """Default ids: ``SPLIT/INDEX``, counted within each split; only ``INDEX`` where there is no split.

    Rows that are left out keep their numbers: a row has the same id in a sample, a rank's share and a whole dump.
    """

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()

    def of(self, splits: Sequence[str]) -> list[str]:
        """Return the ids of the next rows, which belong to ``splits``."""
        ids = []
        for split in splits:
            ids.append(_named(split, self._rows[split]))
            self._rows[split] += 1
        return ids

    def at(self, split: str, places: Iterable[int]) -> list[str]:
        """Return the ids of the rows at these places of the item of data that comes next."""
        first = self._rows[split]
        return [_named(split, first + place) for place in places]

    def pass_over(self, split: str, rows: int) -> None:
        """Go on behind an item of so many rows."""
        self._rows[split] += rows


def _named(split: str, index: int) -> str:
    return f"{split}/{index}" if split else str(index)
