"""What a store says of itself before a row of it is read: its header, its steps, its files and where the rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from actstore.store.documents.documents import Header
    from actstore.store.documents.records import Extent


@dataclass(frozen=True, slots=True)
class Part:
    """One file of rows: a shard of a folder, all of a single-file store, or a target that was attached.

    ``first_row`` is the store's row that its first row is; ``stamp`` the file's size and time of change when the store
    was opened.
    """

    path: Path
    first_row: int
    rows: int
    extents: Mapping[str, Extent]
    stamp: tuple[int, int]


@dataclass(frozen=True)
class Contents:
    """One step of a store, found sound as far as its documents go; its parts follow one another without a gap.

    While it is not complete these are the rows that can be told to be there: those of each rank in turn, up to the
    first rank that has not ended.
    """

    path: Path
    header: Header
    step: int
    parts: Sequence[Part]
    complete: bool
    provenance: Mapping[str, Any]
    fingerprint: str
    nonfinite: Mapping[str, int]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.parts[-1].first_row + self.parts[-1].rows if self.parts else 0


@dataclass(frozen=True)
class Catalog:
    """A whole store: its steps, in ascending order, and the targets that were attached to its rows, by name."""

    path: Path
    header: Header
    steps: Mapping[int, Contents]
    attached: Mapping[str, Part]

    @classmethod
    def of(cls, contents: Contents) -> Catalog:
        """A store of one step, with the targets that its own files hold."""
        return cls(contents.path, contents.header, {contents.step: contents}, {})

    @property
    def base(self) -> Contents:
        """The step whose row table speaks for all: the first complete one, else the first."""
        contents = self.steps.values()
        return next((step for step in contents if step.complete), next(iter(contents)))


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
