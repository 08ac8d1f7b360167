"""Keep two writers apart: an exclusive lock on a file, which dies with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import time
import warnings
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from actstore.store.disk.held_file import BEAT_S, HeldFile, held_path, is_held

if TYPE_CHECKING:
    from pathlib import Path

POLL_S = 0.01

_warned = False


class Lock:
    """An exclusive lock on a file for as long as this process lives (flock); forked children do not hold it on.

    Where the file system can not lock, a file beside it stands in (see ``heldfile``).
    """

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        """Take the lock, for which to wait up to ``wait_s``.

        Raises:
            BlockingIOError: another writer, of this process or another, has it.
        """
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._held: HeldFile | None = None
        until = time.monotonic() + wait_s
        try:
            while not self._taken(last=time.monotonic() >= until):
                time.sleep(POLL_S)
        except BaseException:
            self.close()
            raise
        _held.add(self)

    def _taken(self, *, last: bool) -> bool:
        try:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError as error:
                _warn(self._path, error)
                self._held = HeldFile(self._path)
                return True
            if is_held(self._path):  # by a process whose file system can not lock
                fcntl.flock(self._fd, fcntl.LOCK_UN)
                raise BlockingIOError
        except BlockingIOError:
            if last:
                raise
            return False
        return True

    def release(self) -> None:
        """Let go, at once, even where a forked child has not closed its copy yet; once more does no harm."""
        if self._fd >= 0:
            if self._held is not None:
                self._held.release()
            with suppress(OSError):  # a file system that can not lock has nothing to unlock
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            self.close()

    def close(self) -> None:
        """Close this process's copy: the lock stays with the process that took it."""
        if self._fd >= 0:
            if self._held is not None:
                self._held.close()
            os.close(self._fd)
            self._fd = -1


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on ``path``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system that can not lock: what stands in for it is all there is
        return is_held(path)
    finally:
        os.close(fd)
    return is_held(path)


def _warn(path: Path, error: OSError) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"{path}: this file system can not lock ({error.strerror}); {held_path(path).name} beside it keeps other "
            f"writers away, and is touched every {BEAT_S:.0f} s as long as this process lives",
            stacklevel=4,
        )


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _release_in_child() -> None:
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_release_in_child)
