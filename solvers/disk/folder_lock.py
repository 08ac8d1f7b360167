"""A lock on a folder that one process at a time writes, which dies with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LOCK_FILES", "NO_LOCKS", "FolderLock"]

LOCK_FILES = ("lock", "lock.held")
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What a file system answers that cannot lock, as many of clusters do; a file that is made exclusively does, there."""


class FolderLock:
    """Held from ``take`` to ``release``; within a process it passes to whoever takes it next, unless it is ``busy``."""

    _held: dict[str, FolderLock] = {}  # noqa: RUF012 - of the process
    _mutex = threading.Lock()

    def __init__(self, folder: Path, descriptor: int, exclusive: bool) -> None:
        self.folder = folder
        self.busy = True
        self._descriptor = descriptor
        self._exclusive = exclusive

    @classmethod
    def take(cls, folder: Path) -> FolderLock:
        """Take the lock of a folder, which is made where it is not there.

        Raises:
            BlockingIOError: another has it; its ``filename`` is what stands for that.
            OSError: when the disk refuses.
        """
        key = str(folder.resolve())
        with cls._mutex:
            before = cls._held.get(key)
            if before is not None:
                if before.busy:
                    raise BlockingIOError(errno.EAGAIN, "another thread writes it", str(folder))
                before._let_go()
            lock = cls._locked(folder)
            cls._held[key] = lock
            return lock

    @classmethod
    def _locked(cls, folder: Path) -> FolderLock:
        while True:
            folder.mkdir(exist_ok=True)
            path = folder / LOCK_FILES[0]
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            except FileNotFoundError:  # whoever had it removed the folder just now
                continue
            try:
                with suppress(FileNotFoundError):  # as above: what was locked is no longer there
                    exclusive = _lock(descriptor, folder)
                    if exclusive or os.path.samestat(os.fstat(descriptor), os.stat(path)):
                        return cls(folder, descriptor, exclusive)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def release(self) -> None:
        """Let the lock go, and remove its files; nothing happens where it went before."""
        with self._mutex:
            if self._held.get(str(self.folder.resolve())) is self:
                self._let_go()

    @property
    def held(self) -> bool:
        """Whether it was neither released nor passed on."""
        return self._held.get(str(self.folder.resolve())) is self

    def _let_go(self) -> None:
        del self._held[str(self.folder.resolve())]
        for name in LOCK_FILES[: 2 if self._exclusive else 1]:
            (self.folder / name).unlink(missing_ok=True)
        os.close(self._descriptor)


def _lock(descriptor: int, folder: Path) -> bool:
    """Lock an open file; where that cannot be, make another exclusively, and return True."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(errno.EAGAIN, "another process writes it", str(folder)) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        held = folder / LOCK_FILES[1]
        try:
            os.close(os.open(held, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError as there:
            said = f"another process writes it, or was killed; {held.name} says so: remove that file where none runs"
            raise BlockingIOError(errno.EAGAIN, said, str(folder)) from there
        return True
    return False
