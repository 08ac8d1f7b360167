"""Where fits start from: the probes of the same layers and targets at another step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.linear_map import LinearMap
from solvers.rows import flat_width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from solvers.arrays import Array
    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.probe import Key, Probe
    from solvers.probing.task import Task

__all__ = ["Start", "find_starts"]


Start = LinearMap
"""What a fit starts from: the map of an earlier probe, of all columns of its layer."""


def find_starts(
    probes: Mapping[Key, Probe],
    layers: Sequence[FitLayer],
    tasks: Mapping[str, Task],
    notice: Callable[[str], None],
) -> dict[str, dict[str, Start]]:
    """The probes to start from, by layer and target, whatever their step; of several steps, and draws, the last.

    ``notice`` is told in a line how many have none.

    Raises:
        ProblemError: a probe of another width, or of other classes, than what is to be fitted.
    """
    latest = {key[:2]: probes[key] for key in sorted(probes, key=lambda key: key[2:])}
    starts: dict[str, dict[str, Start]] = {layer.name: {} for layer in layers}
    for layer in {layer.name: layer for layer in layers}.values():
        for target, task in tasks.items():
            probe = latest.get((layer.name, target))
            if probe is not None:
                _check(probe, layer, task)
                starts[layer.name][target] = probe.map
    wanted, found = len(starts) * len(tasks), sum(map(len, starts.values()))
    if found < wanted:
        cold = wanted - found
        notice(f"{cold:,} of {wanted:,} probes start cold: the warm start has none of their layer and target")
    return starts


def _check(probe: Probe, layer: FitLayer, task: Task) -> None:
    """Refuse a probe that cannot act on the layer's rows, or tells other classes apart."""
    where = f"the warm start of layer {layer.name!r}, target {probe.target!r},"
    if probe.width != flat_width(layer.source):
        msg = (
            f"{where} has {probe.width:,} features but the layer has {flat_width(layer.source):,}; give probes "
            "of the same network, or none"
        )
        raise ProblemError(msg)
    if not np.array_equal(probe.classes, task.classes):
        msg = (
            f"{where} has the classes {_listed(probe.classes)} but the labels have {_listed(task.classes)}; give "
            "probes of the same target, or none"
        )
        raise ProblemError(msg)


def _listed(classes: Array) -> str:
    shown = ", ".join(map(str, classes[:4].tolist()))
    return f"{shown}, ... ({len(classes):,})" if len(classes) > 4 else shown
