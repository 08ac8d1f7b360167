"""A fit that shares its folder of finished layers with nobody: one process at a time holds ``lock`` there."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from solvers.disk.file_lock import FileLock
from solvers.disk.folder_lock import FolderLock
from solvers.errors import ProbeFileError
from solvers.probing.finished.folder import TURN, clear, digest_of, refuse_others, remove_if_empty, take_over

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from solvers.probing.finished.parts import Holder
    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.probes import Probes

__all__ = ["Alone"]


class Alone:
    """Holds a folder from ``begin`` until the probes are saved, or given up."""

    shared = False
    published: Probes | None = None

    def __init__(self, folder: Path, lock: FolderLock, question: str) -> None:
        self.folder = folder
        self.question = question
        self._lock = lock

    @classmethod
    def begin(cls, folder: Path, asked: Mapping[str, Any], overwrite: bool) -> Holder:
        """Take a folder for a question; as ``Parts.begin``."""
        lock, there = None, os.path.lexists(folder)
        try:
            refuse_others(folder)
            lock = FolderLock.take(folder)
            take_over(folder, asked, overwrite)
        except BaseException as error:
            if lock is not None:
                lock.release()
            if not there:
                with contextlib.suppress(OSError):  # others may write there by now, and the error says more
                    folder.rmdir()
            if isinstance(error, BlockingIOError):
                msg = f"{folder} is in use: {error.strerror}; wait for it, or save to another name"
                raise ProbeFileError(msg) from error
            raise
        return cls(folder, lock, digest_of(asked))

    def in_order(self, layers: Sequence[FitLayer]) -> list[FitLayer]:
        """Return the layers as they are given."""
        return list(layers)

    @contextlib.contextmanager
    def claimed(self, number: int) -> Any:
        """Yield True: nobody else fits a layer."""
        yield True

    def ended(self) -> None:
        """Keep other processes out until the probes are saved; a later fit of this process may take the folder."""
        self._lock.busy = False

    def publish(self, path: Path, write: Callable[[], None]) -> None:
        """Write the probes, and remove the parts."""
        write()
        self.remove()

    def remove(self) -> None:
        """Remove what was written, the identity last, and the folder, unless others write or put files there."""
        if not self.folder.is_dir():
            return
        try:
            lock = self._lock if self._lock.held else FolderLock.take(self.folder)
        except BlockingIOError:
            return
        clear(self.folder)
        turn = FileLock.take(self.folder / TURN) if (self.folder / TURN).exists() else None
        if turn is not None:  # left by ranks
            (self.folder / TURN).unlink(missing_ok=True)
            turn.release()
        lock.release()
        remove_if_empty(self.folder)

    def give_up(self, any_finished: bool) -> None:
        """Let others in, and remove the folder where no layer is finished."""
        with contextlib.suppress(OSError):  # what ended the fit matters more than a folder that stays
            if not any_finished:
                self.remove()
        self._lock.release()
