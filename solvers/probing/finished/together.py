"""A fit that several processes (ranks) share, without a word between them but files in its folder and locks on them.

A rank holds ``lock`` shared as long as it is there, and ``layer-NUMBER.lock`` while it fits that layer; both die with
it. Whoever begins or publishes holds ``turn.lock`` for that moment. A lock file that nobody holds means nothing, so
what a killed rank had begun is free at once. docs/decisions/0033 has the sequences that this is made against.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from solvers.disk.file_lock import FileLock
from solvers.disk.folder_lock import LOCK_FILES, NO_LOCKS
from solvers.errors import ProbeFileError
from solvers.probing.finished.folder import (
    TURN,
    claim_file,
    clear,
    difference,
    digest_of,
    has_layers,
    identity,
    refuse_others,
    remove_if_empty,
    take_over,
)
from solvers.probing.finished.part_file import question_of
from solvers.probing.probe_file import load, refuse_existing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from solvers.probing.finished.share import Share
    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.probes import Probes

__all__ = ["Together"]

_POLL_S = 0.02


class Together:
    """A rank's place in a folder, from ``begin`` until all layers are finished, or until it gives up.

    ``published`` are the probes of the whole fit, where another rank saved them before this one began.
    """

    shared = True

    def __init__(self, folder: Path, question: str, share: Share) -> None:
        self.folder = folder
        self.question = question
        self.published: Probes | None = None
        self._share = share
        self._present: FileLock | None = None

    @classmethod
    def begin(cls, folder: Path, asked: Mapping[str, Any], overwrite: bool, share: Share) -> Together:
        """Join the ranks of a question in a folder, or be the first; as ``Parts.begin``."""
        own = cls(folder, digest_of(asked), share)
        there = os.path.lexists(folder)
        refuse_others(folder)
        try:
            with own._turn():
                if own._is_in(own._file):
                    own.published = load(own._file)
                else:
                    own._enter(asked, overwrite)
        except BaseException as error:
            own.give_up(any_finished=there)
            if isinstance(error, OSError) and error.errno in NO_LOCKS:
                (folder / TURN).unlink(missing_ok=True)
                remove_if_empty(folder)
                msg = (
                    f"{folder} lies on a file system that cannot lock ({error.strerror}), by which ranks share layers; "
                    "save to a disk that can, or fit some --layers in each process, to a file of its own"
                )
                raise ProbeFileError(msg) from error
            raise
        if own.published is not None:
            own.give_up(any_finished=False)
        return own

    def _enter(self, asked: Mapping[str, Any], overwrite: bool) -> None:
        """Be present, with a folder of this question. Only who is alone there makes it one."""
        if os.path.lexists(self._file):
            refuse_existing(self._file, overwrite)
        lock = self.folder / LOCK_FILES[0]
        self._present = FileLock.take(lock)
        if self._present is not None:
            take_over(self.folder, asked, overwrite)
            if self._present.share():
                return
        else:
            self._present = FileLock.take(lock, shared=True)
        if self._present is None or not self._present.held:
            msg = f"{self.folder} is in use: another process fits there alone; wait for it, or save to another name"
            raise ProbeFileError(msg)
        there = identity(self.folder)
        if there != asked:
            msg = (
                f"{self.folder} is in use by ranks of another fit: {difference(there, asked)}; wait for them, ask the "
                "same to join them, or save to another name"
            )
            raise ProbeFileError(msg)

    def in_order(self, layers: Sequence[FitLayer]) -> list[FitLayer]:
        """Return all layers, those of this rank's share first."""
        return self._share.in_order(layers)

    @contextlib.contextmanager
    def claimed(self, number: int) -> Iterator[bool]:
        """Yield whether nobody else fits a layer, nor begins to while this lasts."""
        lock = FileLock.take(claim_file(self.folder, number))
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def ended(self) -> None:
        """Leave: all layers are finished and known here, so that whoever saves the probes may remove the folder."""
        self.give_up(any_finished=True)

    def publish(self, path: Path, write: Callable[[], None]) -> None:
        """Write the probes unless another rank has, and remove the parts once no rank needs them."""
        with self._turn():
            if not self._is_in(path):
                write()
            self._leave(finished=True)

    def remove(self) -> None:
        """Remove the parts, unless a rank is there."""
        with self._turn():
            self._leave(finished=True)

    def give_up(self, any_finished: bool) -> None:
        """Leave; the last removes the folder where no layer is finished, or where the probes are saved already."""
        with contextlib.suppress(OSError):  # what ended the fit matters more than a folder that stays
            turn = FileLock.take(self.folder / TURN) if self.folder.is_dir() else None
            if turn is not None:
                with turn:
                    self._leave(finished=not any_finished or self._is_in(self._file))
        if self._present is not None:
            self._present.release()

    def _leave(self, finished: bool) -> None:
        """Be absent; remove the folder if nobody needs what is in it, and nobody else is present. In turn."""
        if self._present is not None:
            self._present.release()
        if has_layers(self.folder) and not (finished and digest_of(identity(self.folder)) == self.question):
            return
        alone = FileLock.take(self.folder / LOCK_FILES[0])
        if alone is not None:
            clear(self.folder)
            (self.folder / LOCK_FILES[0]).unlink(missing_ok=True)
            (self.folder / TURN).unlink(missing_ok=True)  # last: who makes it anew finds an empty folder
            alone.release()
            remove_if_empty(self.folder)

    @property
    def _file(self) -> Path:
        """Where the probes go: PROBES of PROBES.parts."""
        return self.folder.with_suffix("")

    def _is_in(self, path: Path) -> bool:
        return question_of(path) == self.question

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Be the only one that begins or publishes, in a folder that is made where it is not there."""
        while True:
            self.folder.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # whoever was last removed the folder just now
                lock = FileLock.take(self.folder / TURN)
                if lock is not None:
                    break
            time.sleep(_POLL_S)
        with lock:
            yield
