"""Keep two writers apart where a file system cannot lock: a file that is there as long as its process says so."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from actstore.store.disk import durable

if TYPE_CHECKING:
    from pathlib import Path

HELD_SUFFIX = ".held"
BEAT_S = 10.0
STALE_S = 120.0  # a process that did not touch its file for so long is taken to be dead, wherever it ran


@dataclass(frozen=True)
class Holder:
    """What the file says: who holds it."""

    host: str
    process: int
    token: str


@dataclass(frozen=True)
class Found:
    """A file that is there, and when its holder touched it last, by the clock of the file system."""

    holder: Holder | None
    touched_s: float

    def is_stale(self, now_s: float) -> bool:
        """Whether its process has died: seen on this machine, told by its silence on another."""
        here = self.holder is not None and self.holder.host == socket.gethostname()
        return now_s - self.touched_s > STALE_S or (
            here and self.holder is not None and not _lives(self.holder.process)
        )


class HeldFile:
    """Holds ``PATH.held``, and touches it every ten seconds. BlockingIOError where another process that lives does."""

    def __init__(self, path: Path) -> None:
        self._path = held_path(path)
        self._token = os.urandom(8).hex()
        own = self._write_own()
        try:
            try:
                durable.publish(own, self._path)
            except FileExistsError:
                self._take_over(own)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        finally:
            own.unlink(missing_ok=True)
        self._ended = threading.Event()
        threading.Thread(target=_beat, args=(self._fd, self._ended), name="actstore-lock", daemon=True).start()

    def _write_own(self) -> Path:
        """A file that says we hold it, under a name of its own; its time is the file system's now."""
        own = _beside(self._path, self._token)
        holder = Holder(socket.gethostname(), os.getpid(), self._token)
        own.write_text(json.dumps(asdict(holder)), "ascii")
        return own

    def _take_over(self, own: Path) -> None:
        """Put our file in the place of a dead process's. Of several that try, one may."""
        found = look(self._path)
        now_s = own.stat().st_mtime
        if found is None or not found.is_stale(now_s):
            raise BlockingIOError
        right = _beside(self._path, f"{found.holder.token if found.holder else 'unknown'}.stale")
        try:
            os.close(durable.create(right))
        except FileExistsError:
            with suppress(FileNotFoundError):
                if now_s - right.stat().st_mtime > STALE_S:  # whoever had the right died with it
                    right.unlink()
            raise BlockingIOError from None
        try:
            again = look(self._path)
            if again is None or again.holder != found.holder or not again.is_stale(now_s):
                raise BlockingIOError
            os.replace(own, self._path)
        finally:
            right.unlink(missing_ok=True)

    def is_ours(self) -> bool:
        """Whether nobody has taken the file over."""
        found = look(self._path)
        return found is not None and found.holder is not None and found.holder.token == self._token

    def release(self) -> None:
        """Remove the file, unless it was taken over."""
        if self.is_ours():
            self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave the file to the process that made it: what a forked child does."""
        self._ended.set()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def held_path(path: Path) -> Path:
    """The file that stands in for a lock on ``path``."""
    return path.with_name(path.name + HELD_SUFFIX)


def is_held(path: Path) -> bool:
    """Whether a process that lives holds the file that stands in for a lock on ``path``."""
    held = held_path(path)
    found = look(held)
    if found is None:
        return False
    probe = _beside(held, os.urandom(8).hex())
    try:
        probe.touch()
        now_s = probe.stat().st_mtime
    except OSError:  # read-only for us: then we write nothing there either
        return True
    finally:
        with suppress(OSError):
            probe.unlink()
    return not found.is_stale(now_s)


def look(path: Path) -> Found | None:
    """Who holds a file; None where it is not there."""
    try:
        touched_s = path.stat().st_mtime
        text = path.read_text("ascii")
    except FileNotFoundError:
        return None
    try:
        known = json.loads(text)
        return Found(Holder(str(known["host"]), int(known["process"]), str(known["token"])), touched_s)
    except (ValueError, KeyError, TypeError):  # not one of ours: only its age counts
        return Found(None, touched_s)


def _beside(path: Path, mark: str) -> Path:
    return path.with_name(f"{path.name}.{mark}{durable.TEMPORARY_SUFFIX}")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _beat(fd: int, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        with suppress(OSError):  # the next one may come through
            os.utime(fd)
