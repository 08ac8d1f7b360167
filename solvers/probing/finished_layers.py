"""The finished layers of a long fit, kept in a folder until the fit is whole.

In ``PROBES.parts/`` lie ``identity.json``, a JSON object that says what was asked (``question``), and for each finished
layer ``layer-ORDER.h5``, a probe file of that layer alone. Every file appears only whole. docs/probes.md says it, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProbeFileError
from solvers.probing.probe import Probes
from solvers.probing.probe_file import load, save, write_whole
from solvers.rows import take

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from solvers.probing.settings import LayerSettings
    from solvers.probing.slices import FitLayer
    from solvers.probing.task import Task
    from solvers.rows import RowSource

__all__ = ["Parts", "question"]

FORMAT = "actstore probe parts"
VERSION = 0
IDENTITY = "identity.json"
_PARTS = "layer-*.h5"
_OURS = (_PARTS, ".layer-*.partial", f".{IDENTITY}.*.partial", IDENTITY)
_SAMPLE_ROWS = 64
"""Rows of a layer that are looked at where no fingerprint of a store tells its activations from others."""


def question(layers: Sequence[FitLayer], tasks: Mapping[str, Task], settings: LayerSettings) -> dict[str, Any]:
    """What a fit is asked, as a JSON object: layers fitted for the same question may stand in one file.

    How it is computed (memory, device, where it starts) is no part of it.
    """
    sources = {layer.name: layer.source for layer in layers if not layer.head}
    asked = {
        "format": FORMAT,
        "version": VERSION,
        "targets": list(tasks),
        "layers": [layer.name for layer in layers],
        "step": settings.step,
        "C": list(settings.C),
        **settings.asked(),
        "store": settings.fingerprint,
        "labelled rows": {target: task.fingerprint for target, task in tasks.items()},
        "activations": {name: _look(source, settings.fingerprint) for name, source in sources.items()},
    }
    return json.loads(json.dumps(asked))


def _look(source: RowSource, fingerprint: str) -> list[Any]:
    """Shape, type, and where no store vouches for the activations a hash of some rows."""
    shape, dtype = list(source.shape), str(source.dtype)
    if fingerprint:
        return [shape, dtype]
    rows = np.unique(np.linspace(0, max(0, source.shape[0] - 1), _SAMPLE_ROWS).astype(np.int64))
    sample = take(source, rows[: source.shape[0]])
    return [shape, dtype, hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest()]


class Parts:
    """The finished layers of one fit, in memory, and where ``folder`` is given also on the disk."""

    def __init__(
        self,
        layers: Sequence[FitLayer],
        folder: Path | None = None,
        finished: Mapping[str, Probes] | None = None,
    ) -> None:
        self.layers = layers
        self.folder = folder
        self.finished = dict(finished or {})

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
            ProbeFileError: the folder holds finished layers of another question, or what no fit wrote, or the
                disk refuses.
        """
        try:
            _take_over(folder, asked, overwrite)
        except OSError as error:
            msg = f"finished layers can not be kept in {folder}: {error.strerror}; make room or choose another place"
            raise ProbeFileError(msg) from error
        finished = {}
        for layer in layers:
            file = _file(folder, layer)
            try:
                if file.exists():
                    finished[layer.name] = _load(file, layer, asked)
            except ProbeFileError as error:
                notice(f"layer {layer.name!r} is fitted again, as its part is not whole: {error}")
        if finished:
            going_on = "joining them" if len(finished) == len(layers) else "going on with the others"
            notice(f"{len(finished)} of {len(layers)} layers are finished in {folder} already; {going_on}")
        return cls(layers, folder, finished)

    def keep(self, layer: FitLayer, probes: Probes) -> None:
        """Remember a finished layer, on the disk too."""
        if self.folder is not None:
            save(probes, _file(self.folder, layer), overwrite=True)
        self.finished[layer.name] = probes

    def joined(self) -> Probes:
        """The probes of the finished layers; when they are all there is, saving them removes these parts."""
        probes = [probe for part in self.finished.values() for probe in part.values()]
        failures = {name: reason for part in self.finished.values() for name, reason in part.failures.items()}
        in_order = {layer.name: failures[layer.name] for layer in self.layers if layer.name in failures}
        whole = self.folder is not None and len(self.finished) == len(self.layers)
        return Probes(probes, in_order, self if whole else None)

    def remove(self) -> None:
        """Remove what was written, the identity last, and the folder; where others put files there, it stays."""
        if self.folder is not None and self.folder.is_dir():
            _clear(self.folder)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def abandon(self) -> None:
        """Remove the folder where no layer is finished."""
        if not self.finished:
            with contextlib.suppress(OSError):  # what ended the fit matters more than a folder that stays
                self.remove()

    def explain(self, error: BaseException) -> None:
        """Add to an error what is kept and how to go on."""
        self.abandon()
        if self.finished and self.folder is not None:
            count = f"{len(self.finished)} of {len(self.layers)}"
            error.add_note(
                f"{count} layers are finished and kept in {self.folder}; the same command goes on from there"
            )


def _take_over(folder: Path, asked: Mapping[str, Any], overwrite: bool) -> None:
    """Make a folder one of this question, or find that it is."""
    folder.mkdir(exist_ok=True)
    if any(not any(file.match(pattern) for pattern in _OURS) for file in folder.iterdir()):
        msg = f"{folder} is in the way: it holds files that no fit wrote; move it, or save to another name"
        raise ProbeFileError(msg)
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
    write_whole(folder / IDENTITY, json.dumps(asked, indent=1).encode())


def _identity(folder: Path) -> dict[str, Any]:
    """What the layers in a folder were fitted for; empty where that is not said."""
    try:
        found = json.loads((folder / IDENTITY).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


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


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _load(file: Path, layer: FitLayer, asked: Mapping[str, Any]) -> Probes:
    """A finished layer.

    Raises:
        ProbeFileError: when it is damaged, or not of this layer.
    """
    part = load(file)
    wanted = {(layer.name, target, asked["step"]) for target in asked["targets"]}
    missing = set() if layer.name in part.failures else wanted - set(part)
    if missing or set(part) - wanted or set(part.failures) - {layer.name}:
        msg = f"{file} is damaged: it does not hold the probes of layer {layer.name!r}"
        raise ProbeFileError(msg)
    return part


def _file(folder: Path, layer: FitLayer) -> Path:
    return folder / f"layer-{layer.order:04d}.h5"


def _clear(folder: Path) -> None:
    """Remove what a fit wrote, also where a kill left it half-written; the identity last."""
    for pattern in _OURS:
        for file in folder.glob(pattern):
            file.unlink()
