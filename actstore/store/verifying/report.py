"""What verifying finds: which bytes are not as they were written, said by the rows that they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from actstore.store.format import LAYER_NAMES, ROW_GROUP, ROW_ID, ROW_POSITION, ROW_SPLIT, TARGET_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

METADATA = "metadata"
COLUMNS = {ROW_ID: "ids", ROW_SPLIT: "splits", ROW_GROUP: "groups", ROW_POSITION: "positions"}
NAMES = {LAYER_NAMES: "the names of layers", TARGET_NAMES: "the names of targets"}


@dataclass(frozen=True)
class Damage:
    """Bytes that are not as they were written.

    Args:
        path: the file.
        place: where in it: a layer or a target with its rows, counted as the store counts them, "metadata" for what
            HDF5 knows of the file, a record of a journal, or "document".
        reason: what is wrong there.
    """

    path: Path
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.place}: {self.reason}"


@dataclass(frozen=True)
class VerifyProgress:
    """How far verifying is: bytes of sealed files, and the file that is being read."""

    done_bytes: int
    total_bytes: int
    path: Path


@dataclass(frozen=True)
class Report:
    """What verifying a store has found.

    Args:
        path: the store.
        rows: how many rows are sealed.
        bytes: of all files that were checked.
        complete: whether the dump had finished, at every step.
        damages: in the order of the files; none where every byte is as it was written.
        leftovers: what interrupted writers left behind, which belongs to no row; no damage.
    """

    path: Path
    rows: int
    bytes: int
    complete: bool
    damages: Sequence[Damage]
    leftovers: Sequence[Path]


@dataclass(frozen=True)
class RowNumbers:
    """How the rows of a file are counted: from the store's row ``first`` on; ``of`` says where that is not known."""

    first: int
    of: str = ""

    def text(self, start: int, stop: int) -> str:
        """The file's own rows ``start`` to ``stop``, for a message."""
        last = max(start, stop - 1)
        if start == last:
            return f"row {self.first + start:,}{self.of}"
        return f"rows {self.first + start:,} to {self.first + last:,}{self.of}"


def dataset_place(path: str, start: int, stop: int, numbers: RowNumbers) -> str:
    """Describe the entries ``start`` to ``stop`` of a dataset by the layers and rows of the store."""
    if path in NAMES:
        return NAMES[path]
    kind, _, rest = path.partition("/")
    rows = numbers.text(start, stop)
    if kind == "layers":
        return f"layer {_name(rest)!r}, {rows}"
    column, _, part = path.rpartition("/") if rest.count("/") else (path, "", "codes")
    what = COLUMNS.get(column) or f"target {_name(column.partition('/')[2])!r}"
    return f"{what}, {rows}" if part == "codes" else what


def _name(link: str) -> str:
    """The inverse of ``format.link_name``."""
    return "" if link == "%" else unquote(link, errors="replace")
