"""The finished layers of a long fit, kept in a folder until the fit is whole.

In ``PROBES.parts/`` lie ``identity.json``, a JSON object that says what was asked (``question``), and for each finished
layer ``layer-NUMBER.h5``, a probe file of that layer alone, whose header carries the digest of the question. Every file
appears only whole. One process at a time writes there, and holds ``lock``. docs/probes.md says it, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.disk.folder_lock import LOCK_FILES, FolderLock
from solvers.disk.new_file import PARTIAL, new_file, write_all
from solvers.errors import ProbeFileError
from solvers.probing.probe import Probes
from solvers.probing.probe_file import is_probe_file, load, save
from solvers.probing.row_table import Beside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.probe import Probe
    from solvers.probing.row_table import RowTable

__all__ = ["FORMAT", "VERSION", "Parts"]

FORMAT = "actstore probe parts"
VERSION = "0.9"
IDENTITY = "identity.json"
_MAPPED_BYTES = 1 << 20
"""From so many bytes on, the predictions of a finished layer lie in its part on the disk and not in memory ..."""
_MOST_MAPS = 256
"""... for so many parts at most, as each holds a file open."""
_PARTS = "layer-*.h5"
_OURS = (_PARTS, f".layer-*{PARTIAL}", f".{IDENTITY}.*{PARTIAL}", IDENTITY)


class Parts:
    """The finished layers of one fit by their numbers, in memory, and where ``folder`` is given also on the disk."""

    def __init__(
        self,
        layers: Sequence[FitLayer],
        kept: _Kept | None = None,
        finished: Mapping[int, Probes] | None = None,
    ) -> None:
        self.layers = layers
        self._maps = 0
        self.finished = {number: self._at_hand(probes) for number, probes in (finished or {}).items()}
        self.tables: tuple[RowTable, ...] = ()
        self._kept = kept

    @property
    def folder(self) -> Path | None:
        """Where finished layers are kept; None where they are not."""
        return None if self._kept is None else self._kept.folder

    @classmethod
    def begin(
        cls,
        folder: Path,
        asked: Mapping[str, Any],
        layers: Sequence[FitLayer],
        overwrite: bool,
        notice: Callable[[str], None],
    ) -> Parts:
        """Make the folder, or go on with the finished layers that lie there.

        Args:
            folder: ``PROBES.parts``; the folder around it must be there.
            asked: the ``question``.
            layers: what is to be fitted.
            overwrite: start anew where the folder is of another question.
            notice: told in a line how many layers are finished, and which are damaged.

        Raises:
            ProbeFileError: the folder holds finished layers of another question, or what no fit wrote, or another
                process writes there, or the disk refuses.
        """
        lock, there = None, os.path.lexists(folder)
        try:
            _refuse_others(folder)
            lock = FolderLock.take(folder)
            _take_over(folder, asked, overwrite)
        except BaseException as error:
            if lock is not None:
                lock.release()
            if not there:
                with contextlib.suppress(OSError):  # others may write there by now, and the error says more
                    folder.rmdir()
            if isinstance(error, BlockingIOError):
                msg = f"{folder} is in use: {error.strerror}; wait for it, or save to another name"
                raise ProbeFileError(msg) from error
            if isinstance(error, OSError):
                msg = f"finished layers cannot be kept in {folder}: {error.strerror}; make room or choose another place"
                raise ProbeFileError(msg) from error
            raise
        finished = {}
        for layer in layers:
            file = _file(folder, layer)
            try:
                if file.exists():
                    finished[layer.number] = _load(file, layer, asked["targets"], _digest(asked))
            except ProbeFileError as error:
                notice(f"layer {layer.called!r} is fitted again, as its part is not whole: {error}")
        if finished:
            going_on = "joining them" if len(finished) == len(layers) else "going on with the others"
            notice(f"{len(finished)} of {len(layers)} layers are finished in {folder} already; {going_on}")
        return cls(layers, _Kept(folder, lock, _digest(asked)), finished)

    def keep(self, layer: FitLayer, probes: Probes) -> None:
        """Remember a finished layer, on the disk too; its predictions then lie there and not in memory."""
        if self._kept is not None:
            tied = Probes(probes.values(), probes.failures, beside=_tied(probes, self._kept.question))
            file = _file(self._kept.folder, layer)
            save(tied, file, overwrite=True, may_replace=lambda _: True)
            if self._maps < _MOST_MAPS and _prediction_bytes(probes) >= _MAPPED_BYTES:
                lying = load(file)
                probes = probes.changed(lambda probe: replace(probe, predictions=lying[probe.key].predictions))
                self._maps += 1
        self.finished[layer.number] = probes

    def _at_hand(self, probes: Probes) -> Probes:
        """Return the probes of a part that was read, small predictions in memory: each map holds a file open."""
        if self._maps < _MOST_MAPS and _prediction_bytes(probes) >= _MAPPED_BYTES:
            self._maps += 1
            return probes
        return probes.changed(_in_memory)

    def joined(self) -> Probes:
        """The probes of the finished layers; when they are all there is, saving them removes these parts."""
        parts = [self.finished[number] for number in sorted(self.finished)]
        probes = [probe for part in parts for probe in part.values()]
        in_order = {name: reason for part in parts for name, reason in part.failures.items()}
        whole = self._kept is not None and len(self.finished) == len(self.layers)
        if self._kept is not None:
            self._kept.lock.busy = (
                False  # the fit is over; until its probes are saved, no other process comes in
            )
        return Probes(probes, in_order, self if whole else None, Beside(self.tables))

    def remove(self) -> None:
        """Remove what was written, the identity last, and the folder, unless others write or put files there."""
        if self._kept is None or not self._kept.folder.is_dir():
            return
        folder, lock = self._kept.folder, self._kept.lock
        try:
            lock = lock if lock.held else FolderLock.take(folder)
        except BlockingIOError:
            return
        _clear(folder)
        lock.release()
        if not any(folder.iterdir()):
            folder.rmdir()

    def abandon(self) -> None:
        """Let others in, and remove the folder where no layer is finished."""
        with contextlib.suppress(OSError):  # what ended the fit matters more than a folder that stays
            if not self.finished:
                self.remove()
        if self._kept is not None:
            self._kept.lock.release()

    def explain(self, error: BaseException) -> None:
        """Add to an error what is kept and how to go on."""
        self.abandon()
        if self.finished and self.folder is not None:
            count = f"{len(self.finished)} of {len(self.layers)}"
            error.add_note(
                f"{count} layers are finished and kept in {self.folder}; the same command goes on from there"
            )


@dataclass(frozen=True)
class _Kept:
    """Where finished layers are kept, the lock that is held there, and the digest of the question."""

    folder: Path
    lock: FolderLock
    question: str


def _prediction_bytes(probes: Probes) -> int:
    return sum(
        array.nbytes
        for probe in probes.values()
        for said in probe.predictions.values()
        for array in said.values()
    )


def _in_memory(probe: Probe) -> Probe:
    read = {
        key: {name: np.array(array) for name, array in said.items()} for key, said in probe.predictions.items()
    }
    return replace(probe, predictions=read) if read else probe


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _tied(probes: Probes, question: str) -> Beside:
    """Return what a part holds beside its probes: the digest of its question, and which rows predictions are of."""
    used = {key for probe in probes.values() for key in probe.predictions}
    tables = tuple(table.only_rows for table in probes.beside.tables if table.key in used)
    return Beside(tables, {**probes.beside.extra, "question": question}, probes.beside.arrays)


def _refuse_others(folder: Path) -> None:
    """Refuse a folder that holds what no fit wrote."""
    files = list(folder.iterdir()) if os.path.lexists(folder) else []
    ours = (*_OURS, *LOCK_FILES)
    foreign = any(not any(file.match(pattern) for pattern in ours) for file in files)
    if not foreign and not _identity(folder):  # without it, names alone make no part
        foreign = any(file.match(_PARTS) and not is_probe_file(file) for file in files)
    if foreign:
        msg = f"{folder} is in the way: it holds files that no fit wrote; move it, or save to another name"
        raise ProbeFileError(msg)


def _take_over(folder: Path, asked: Mapping[str, Any], overwrite: bool) -> None:
    """Make a folder one of this question, or find that it is."""
    there = _identity(folder)
    if there == asked:
        return
    if any(folder.glob(_PARTS)) and not overwrite:
        msg = (
            f"{folder} holds finished layers of another fit: {_difference(there, asked)}; ask the same to go on "
            "with them, or start anew with `--overwrite`, in Python overwrite=True"
        )
        raise ProbeFileError(msg)
    _clear(folder)
    with new_file(folder / IDENTITY, lambda _: True) as descriptor:
        write_all(descriptor, json.dumps(asked, indent=1).encode(), 0)


def _identity(folder: Path) -> dict[str, Any]:
    """Return what the layers in a folder were fitted for; empty where that is not said."""
    file = folder / IDENTITY
    try:
        found = json.loads(file.read_bytes()) if file.is_file() else None
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}


def _difference(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The first field in which two questions differ."""
    if not there:
        return f"its {IDENTITY} is missing or damaged"
    field = next((name for name in asked if there.get(name) != asked[name]), "")
    before, now = there.get(field), asked.get(field)
    if isinstance(before, dict) and isinstance(now, dict):
        names = ", ".join(repr(name) for name in now if before.get(name) != now[name])
        return f"the {field} of {names} differ"
    return f"{field} was {_shown(before)} there and is {_shown(now)} here"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _load(file: Path, layer: FitLayer, targets: Sequence[str], question: str) -> Probes:
    """A finished layer.

    Raises:
        ProbeFileError: when it is damaged, or not of this layer.
    """
    part = load(file)
    if part.beside.extra.get("question") != question:
        msg = f"{file} was fitted for another question"
        raise ProbeFileError(msg)
    drawn = () if layer.draws == 1 else (layer.seed,)
    wanted = {(layer.name, target, layer.step, *drawn) for target in targets}
    missing = set() if layer.called in part.failures else wanted - set(part)
    if missing or set(part) - wanted or set(part.failures) - {layer.called}:
        msg = f"{file} is damaged: it does not hold the probes of layer {layer.called!r}"
        raise ProbeFileError(msg)
    extra = {name: value for name, value in part.beside.extra.items() if name != "question"}
    return Probes(part.values(), part.failures, beside=replace(part.beside, extra=extra))


def _file(folder: Path, layer: FitLayer) -> Path:
    return folder / f"layer-{layer.number:04d}.h5"


def _clear(folder: Path) -> None:
    """Remove what a fit wrote, also where a kill left it half-written; the identity last."""
    for pattern in _OURS:
        for file in folder.glob(pattern):
            file.unlink()
