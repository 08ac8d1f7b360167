"""A lock on a file of its own, exclusive or shared, which dies with its process."""

from __future__ import annotations

import fcntl
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LOCK_SUFFIX", "FileLock"]

LOCK_SUFFIX = ".lock"
"""How the names of files end that are there to be locked: one that is not locked means nothing."""


class FileLock:
    """Held until ``release``, or until the process ends; forked children do not hold it on."""

    _all: weakref.WeakSet[FileLock] = weakref.WeakSet()  # noqa: RUF012 - of the process

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._all.add(self)

    @classmethod
    def take(cls, path: Path, shared: bool = False) -> FileLock | None:
        """Take the lock of a file, which is made where it is not there; None where another has it.

        Raises:
            FileNotFoundError: its folder is not there.
            OSError: the file system cannot lock, or refuses.
        """
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return cls(descriptor)
                os.close(descriptor)  # removed and made anew in between
            except BlockingIOError:
                os.close(descriptor)
                return None
            except FileNotFoundError:  # removed in between
                os.close(descriptor)
            except BaseException:
                os.close(descriptor)
                raise

    def share(self) -> bool:
        """Let others share it; False where another was quicker to take it for itself, and it is gone."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        return True

    @property
    def held(self) -> bool:
        """Whether it was not released."""
        return self._descriptor >= 0

    def release(self) -> None:
        """Let it go, even where a forked child has not closed its copy yet; nothing happens where it went before."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._close()

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @classmethod
    def _let_go_in_child(cls) -> None:
        for lock in list(cls._all):
            lock._close()


os.register_at_fork(after_in_child=FileLock._let_go_in_child)
