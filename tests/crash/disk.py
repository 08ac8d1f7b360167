"""A disk that remembers what was synced: any number of recorded operations, and then the power fails.

The model. What a file holds survives up to its last fsync or fdatasync; of what was written (or cut off) later survives
nothing, all, or some pages, whichever, of 512 bytes (a sector; systems write more at once). The file is then as long as
before or as after; pages in between that were not written are zeros. What names a folder holds survives up to its last
fsync; of what was created, linked, renamed or removed in it later the first few, in order, down to none. Folders do not
wait for each other: of a rename across two, either half may survive alone. What no surviving name leads to is gone.
"""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crash.operations import Operation, intercepted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

PAGE_BYTES = 512

Event = tuple[Any, ...]


def record(root: Path, work: Callable[[], None], events: list[Event]) -> None:
    """Do ``work`` and add to ``events`` each change below ``root``, in terms of inodes and names."""

    def folder_of(path: str) -> tuple[int, str]:
        return os.stat(os.path.dirname(path)).st_ino, os.path.basename(path)

    def handler(operation: Operation) -> Any:
        name, path = operation.name, operation.path
        if name == "open":
            known = os.path.lexists(path)
            result = operation.real()
            inode = os.fstat(result).st_ino
            if not known:
                events.append(("file", *folder_of(path), inode))
            elif operation.arguments[1] & os.O_TRUNC:
                events.append(("size", inode, 0))
            return result
        if name in ("fsync", "fdatasync"):
            events.append(("sync", operation.opened))
            return operation.real()
        if name in ("pwrite", "ftruncate", "truncate"):
            inode = operation.inode if name == "truncate" else operation.opened
            result = operation.real()
            _, value, *offset = operation.arguments
            change = ("write", inode, offset[0], bytes(value)[:result]) if offset else ("size", inode, value)
            events.append(change)
            return result
        if name in ("replace", "rename", "link"):
            inode = operation.inode
            result = operation.real()
            source, target = folder_of(path), folder_of(operation.other)
            if name == "link":
                events.append(("name", *target, inode))
            elif source[0] == target[0]:
                events.append(("rename", source[0], source[1], target[1], inode))
            else:
                events.append(("move", *source, *target, inode))
            return result
        place = folder_of(path)
        result = operation.real()
        if name == "mkdir":
            events.append(("folder", *place, operation.inode))
        else:
            events.append(("unname", *place))
        return result

    with intercepted(str(root), handler):
        work()


@dataclass
class Saved:
    """The bytes of a file: what is safe, and what came since."""

    safe: bytes = b""
    later: list[Event] = field(default_factory=list)

    def now(self) -> bytes:
        """Everything written."""
        data = bytearray(self.safe)
        for kind, *change in self.later:
            if kind == "size":
                (size,) = change
                data = data[:size] + bytes(max(0, size - len(data)))
            else:
                offset, piece = change
                data += bytes(max(0, offset - len(data)))
                data[offset : offset + len(piece)] = piece
        return bytes(data)

    def after_loss(self, rng: np.random.Generator) -> bytes:
        """What the disk has once the power is back."""
        fate = rng.integers(3)
        if fate == 0 or not self.later:
            return self.safe
        now = self.now()
        if fate == 1:
            return now
        size = int(rng.choice([len(self.safe), len(now)]))
        mixed = bytearray()
        for start in range(0, size, PAGE_BYTES):
            page = (now if rng.integers(2) else self.safe)[start : min(start + PAGE_BYTES, size)]
            mixed += page + bytes(min(PAGE_BYTES, size - start) - len(page))
        return bytes(mixed)


@dataclass
class Names:
    """The names of a folder: those that are safe, and each change since."""

    safe: dict[str, int] = field(default_factory=dict)
    later: list[dict[str, int | None]] = field(default_factory=list)

    def after(self, changes: int) -> dict[str, int]:
        """The names once so many of the changes are made, too."""
        names: dict[str, int | None] = dict(self.safe)
        for change in self.later[:changes]:
            names |= change
        return {name: inode for name, inode in names.items() if inode is not None}


class Disk:
    """A folder as it was once all of it was safe, and what recorded operations do to it."""

    def __init__(self, root: Path) -> None:
        self._root = root.stat().st_ino
        self._files: dict[int, Saved] = {}
        self._folders: dict[int, Names] = {}
        for folder, _, files in os.walk(root):
            place = Path(folder)
            self._folders[place.stat().st_ino] = Names(
                {path.name: path.stat().st_ino for path in place.iterdir()}
            )
            for name in files:
                self._files[(place / name).stat().st_ino] = Saved((place / name).read_bytes())

    def copy(self) -> Disk:
        """Another one that begins the same."""
        return deepcopy(self)

    def apply(self, event: Event) -> None:
        """Do what was recorded."""
        kind, inode, *rest = event
        if kind in ("file", "folder"):
            of_kind: dict[int, Any] = self._files if kind == "file" else self._folders
            of_kind[rest[1]] = Saved() if kind == "file" else Names()
            self._folders[inode].later.append({rest[0]: rest[1]})
        elif kind in ("write", "size"):
            self._files[inode].later.append((kind, *rest))
        elif kind == "sync" and inode in self._folders:
            names = self._folders[inode]
            self._folders[inode] = Names(names.after(len(names.later)))
        elif kind == "sync":
            self._files[inode] = Saved(self._files[inode].now())
        elif kind == "name":
            self._folders[inode].later.append({rest[0]: rest[1]})
        elif kind == "unname":
            self._folders[inode].later.append({rest[0]: None})
        elif kind == "rename":
            self._folders[inode].later.append({rest[0]: None, rest[1]: rest[2]})
        elif kind == "move":
            self._folders[inode].later.append({rest[0]: None})
            self._folders[rest[1]].later.append({rest[2]: rest[3]})

    def build(self, target: Path, rng: np.random.Generator | None = None) -> None:
        """Write the folder as it is; with ``rng``, as it is after the power failed."""
        self._build(self._root, target, rng)

    def _build(self, inode: int, target: Path, rng: np.random.Generator | None) -> None:
        target.mkdir()
        names = self._folders[inode]
        changes = len(names.later) if rng is None else int(rng.integers(len(names.later) + 1))
        if rng is not None and rng.integers(2):
            changes = 0
        for name, one in sorted(names.after(changes).items()):
            if one in self._folders:
                self._build(one, target / name, rng)
            else:
                saved = self._files[one]
                (target / name).write_bytes(saved.now() if rng is None else saved.after_loss(rng))


def points(events: Sequence[Event]) -> list[int]:
    """After how many events a crash differs from the one before: promises change nothing on the disk."""
    return [number for number in range(len(events) + 1) if number == 0 or events[number - 1][0] != "promise"]
