"""Every call that changes a disk passes through here: to be recorded, to fail, or to be its process's last."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATHS = ("open", "unlink", "remove", "rmdir", "mkdir", "truncate")  # their first argument is a path
PAIRS = ("replace", "rename", "link")
FILES = ("pwrite", "ftruncate", "fsync", "fdatasync")  # their first argument is a file descriptor


@dataclass(frozen=True)
class Operation:
    """A call that is about to be made: absolute paths of names, the inode of what is open."""

    name: str
    path: str
    other: str
    arguments: tuple[Any, ...]
    real: Callable[[], Any]

    @property
    def inode(self) -> int:
        """What the path leads to."""
        return os.stat(self.path, follow_symlinks=False).st_ino

    @property
    def opened(self) -> int:
        """What the descriptor leads to: its path may be gone, or another file's by now."""
        return os.fstat(self.arguments[0]).st_ino


@contextmanager
def intercepted(root: str, handler: Callable[[Operation], Any]) -> Iterator[None]:
    """``handler`` makes, in place of the system, each call that changes something below ``root``; one at a time."""
    lock = threading.RLock()
    real = {name: getattr(os, name) for name in (*PATHS, *PAIRS, *FILES)}

    def path_of(value: Any, folder: int | None) -> str:
        name = os.fsdecode(os.fspath(value))
        base = os.getcwd() if folder is None else os.readlink(f"/proc/self/fd/{folder}")
        return os.path.join(base, name)

    def replaced(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            def make() -> Any:
                return real[name](*arguments, **options)

            if name in FILES:
                path = other = os.readlink(f"/proc/self/fd/{arguments[0]}")
            else:
                path = path_of(arguments[0], options.get("dir_fd"))
                other = path_of(arguments[1], None) if name in PAIRS else ""
            reads = name == "open" and not arguments[1] & (os.O_CREAT | os.O_TRUNC)
            if reads or not path.startswith(root):
                return make()
            with lock:
                return handler(Operation(name, path, other, arguments, make))

        return call

    for name in real:
        setattr(os, name, replaced(name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)
