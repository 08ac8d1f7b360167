"""Keep two writers apart: an exclusive lock on a file, which dies with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
import warnings
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk.durable import read_file, sync_file, write_at
from actstore.store.disk.held_file import BEAT_S, HeldFile, held_path, is_held

if TYPE_CHECKING:
    from pathlib import Path

POLL_S = 0.01

warned = False


class Lock:
    """An exclusive lock on a file for as long as this process lives (flock); forked children do not hold it on.

    Where the file system cannot lock, a file beside it stands in (see ``held_file``).
    """

    def __init__(self, path: Path, wait_s: float = 0.0) -> None:
        """Take the lock, for which to wait up to ``wait_s``.

        Raises:
            BlockingIOError: another writer, of this process or another, has it.
        """
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        self._held: HeldFile | None = None
        until = time.monotonic() + wait_s
        try:
            while not self._taken(last=time.monotonic() >= until):
                time.sleep(POLL_S)
            if not self.is_ours():  # what was to be locked was removed or renamed meanwhile
                raise BlockingIOError
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
            if is_held(self._path):  # by a process whose file system cannot lock
                fcntl.flock(self._fd, fcntl.LOCK_UN)
                raise BlockingIOError
        except BlockingIOError:
            if last:
                raise
            return False
        return True

    def is_ours(self) -> bool:
        """Whether the lock is still this process's: its file is there, is the one that was locked, and names us."""
        try:
            mine, there = os.fstat(self._fd), os.stat(self._path, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EBADF):
                return False
            raise
        return os.path.samestat(mine, there) and (self._held is None or self._held.is_ours())

    def check(self) -> None:
        """StoreError unless the lock is ours: another process took this one for dead, or removed what was locked.

        That happens to a process that was stopped for longer than a stand-in for a lock is believed, or that slept
        with its machine. What it would write now would damage what the other one wrote.
        """
        if not self.is_ours():
            msg = (
                f"{self._path.parent} is not this process's any more: it stood still, and another process took over "
                "or removed what it wrote. Nothing more is written there; look at what is there, then dump again"
            )
            raise StoreError(msg)

    def note(self, text: str) -> None:
        """Write a word into the lock's file, for whoever takes the lock next; on the disk when this returns."""
        os.ftruncate(self._fd, 0)
        write_at(self._fd, text.encode("utf-8"), 0)
        sync_file(self._fd)

    def release(self) -> None:
        """Let go, at once, even where a forked child has not closed its copy yet; once more does no harm."""
        if self._fd >= 0:
            if self._held is not None:
                self._held.release()
            with suppress(OSError):  # a file system that cannot lock has nothing to unlock
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            self.close()

    def close(self) -> None:
        """Close this process's copy: the lock stays with the process that took it."""
        if self._fd >= 0:
            if self._held is not None:
                self._held.close()
            os.close(self._fd)
            self._fd = -1


def read_note(path: Path) -> str:
    """Return what the last holder of the lock on ``path`` noted in its file; "" where there is none."""
    with suppress(OSError, UnicodeDecodeError):
        return read_file(path).decode("utf-8")
    return ""


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
    except OSError:  # a file system that cannot lock: what stands in for it is all there is
        return is_held(path)
    finally:
        os.close(fd)
    return is_held(path)


def _warn(path: Path, error: OSError) -> None:
    global warned
    if not warned:
        warned = True
        warnings.warn(
            f"{path}: this file system cannot lock ({error.strerror}); {held_path(path).name} beside it keeps other "
            f"writers away, and is touched every {BEAT_S:.0f} s as long as this process lives",
            stacklevel=4,
        )


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _release_in_child() -> None:
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_release_in_child)
