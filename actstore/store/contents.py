"""What a store says of itself before a row of it is read: its header, its files and where the rows lie in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from actstore.store.documents import Header
    from actstore.store.records import Extent


@dataclass(frozen=True, slots=True)
class Part:
    """One file of rows: a shard of a folder, or all of a single-file store.

    ``stamp`` is the file's size and time of change when the store was opened.
    """

    path: Path
    first_row: int
    rows: int
    extents: Mapping[str, Extent]
    stamp: tuple[int, int]


@dataclass(frozen=True)
class Contents:
    """A store that was found sound as far as its documents go; its parts follow one another without a gap."""

    path: Path
    header: Header
    parts: Sequence[Part]
    complete: bool
    provenance: Mapping[str, Any]
    fingerprint: str
    nonfinite: Mapping[str, int]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.parts[-1].first_row + self.parts[-1].rows if self.parts else 0


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
