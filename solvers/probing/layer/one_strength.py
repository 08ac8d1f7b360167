"""One C for all layers, steps and draws of a target, so that a curve compares layers and not penalties."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.selection import best_strength, measured_as
from solvers.fitting.splits import VAL
from solvers.probing.layer.choosing import end_of_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.probing.probe import Probe
    from solvers.probing.records import Tried

__all__ = ["at_one_strength", "one_strength"]


def one_strength(probes: Sequence[Probe], target: str, metric: str) -> float:
    """Return the C with the best sum over the probes of a target of what chooses C, ties to the smaller.

    Only a C that was fitted for all of them counts.

    Raises:
        ProblemError: there is none.
    """
    own = [probe for probe in probes if probe.target == target]
    strengths = [each.C for each in own[0].path]
    if len(strengths) == 1:
        return strengths[0]
    values = np.array([[_value(each, metric) for each in probe.path] for probe in own])
    if np.isnan(values).any(axis=0).all():
        msg = (
            f"no C has a value of {metric} at every layer for target {target!r}; choose a C for each layer, "
            "without one_C (--one-C)"
        )
        raise ProblemError(msg)
    return strengths[best_strength(strengths, values.sum(axis=0).tolist(), metric)]


def at_one_strength(probe: Probe, probes: Sequence[Probe]) -> Probe:
    """Return a probe whose record says that its C is that of so many probes."""
    count = sum(each.target == probe.target for each in probes)
    chosen = {name: value for name, value in probe.proof.chosen.items() if name != "at_end"}
    chosen |= {"one_C": count, **end_of_grid([each.C for each in probe.path], probe.C)}
    return replace(probe, proof=replace(probe.proof, chosen=chosen))


def _value(tried: Tried, metric: str) -> float:
    if metric == "cross_entropy":
        return tried.cross_entropy
    return tried.scores.get(measured_as(metric), {}).get(VAL, float("nan"))
