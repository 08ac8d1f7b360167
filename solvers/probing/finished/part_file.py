"""A finished layer as a probe file of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProbeFileError
from solvers.probing.document.header import read_header
from solvers.probing.probe_file import load, opened_arrays, save
from solvers.probing.probes import Probes
from solvers.probing.row_table import QUESTION, Beside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.probe import Probe

__all__ = ["in_memory", "load_part", "mapped", "prediction_bytes", "question_of", "save_part"]


def save_part(file: Path, probes: Probes, question: str) -> None:
    """Write a finished layer, with the digest of its question and the rows that predictions are of."""
    used = {key for probe in probes.values() for key in probe.predictions}
    tables = tuple(table.only_rows for table in probes.beside.tables if table.key in used)
    beside = Beside(tables, {**probes.beside.extra, QUESTION: question}, probes.beside.arrays)
    save(
        Probes(probes.values(), probes.failures, beside=beside),
        file,
        overwrite=True,
        may_replace=lambda _: True,
    )


def load_part(file: Path, layer: FitLayer, targets: Sequence[str], question: str) -> Probes:
    """Read a finished layer.

    Raises:
        ProbeFileError: when it is damaged, or not of this layer.
    """
    part = load(file)
    if part.beside.extra.get(QUESTION) != question:
        msg = f"{file} was fitted for another question"
        raise ProbeFileError(msg)
    drawn = () if layer.draws == 1 else (layer.seed,)
    wanted = {(layer.name, target, layer.step, *drawn) for target in targets}
    missing = set() if layer.called in part.failures else wanted - set(part)
    if missing or set(part) - wanted or set(part.failures) - {layer.called}:
        msg = f"{file} is damaged: it does not hold the probes of layer {layer.called!r}"
        raise ProbeFileError(msg)
    return Probes(part.values(), part.failures, beside=part.beside.of_no_question)


def question_of(file: Path) -> str | None:
    """Return the digest of what the probes of a file were fitted for; None where it has none, or cannot be read."""
    try:
        with opened_arrays(file) as found:
            question = read_header(file, found.bytes_of_header()).get(QUESTION)
    except ProbeFileError:
        return None
    return question if isinstance(question, str) else None


def prediction_bytes(probes: Probes) -> int:
    """Return how many bytes the predictions of a part have."""
    return sum(
        array.nbytes
        for probe in probes.values()
        for said in probe.predictions.values()
        for array in said.values()
    )


def mapped(probes: Probes, file: Path) -> Probes:
    """Return probes whose predictions lie in the part that was written, and not in memory."""
    lying = load(file)
    return probes.changed(lambda probe: replace(probe, predictions=lying[probe.key].predictions))


def in_memory(probe: Probe) -> Probe:
    """Return a probe whose predictions were read."""
    read = {
        key: {name: np.array(array) for name, array in said.items()} for key, said in probe.predictions.items()
    }
    return replace(probe, predictions=read) if read else probe
