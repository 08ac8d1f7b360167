"""How much a score changes with the draw of columns: another number than the interval of one probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solvers.probing.probe import Probe

__all__ = ["Spread", "spread_over_seeds"]

_METRICS = ("error", "cross_entropy")


@dataclass(frozen=True)
class Spread:
    """One score of the probes of one layer, target and step that differ in their seed alone.

    Args:
        layer, target, step: whose probes.
        split, metric: what the score is; ``error`` or ``cross_entropy``.
        seeds: of the draws, ascending.
        mean: over the seeds.
        std: their standard deviation, with ``len(seeds) - 1`` below; NaN where fewer than two have a value.
        low, high: 95% interval of the mean over further draws, by Student's t. It says nothing of other rows, nor of
            other networks.
    """

    layer: str
    target: str
    step: int
    split: str
    metric: str
    seeds: tuple[int, ...]
    mean: float
    std: float
    low: float
    high: float


def spread_over_seeds(probes: Iterable[Probe]) -> list[Spread]:
    """Return the spread of each score over the draws of each layer, target and step that has several."""
    draws: dict[tuple[str, str, int], list[Probe]] = {}
    for probe in probes:
        if probe.where.draws > 1:
            draws.setdefault((probe.layer, probe.target, probe.step), []).append(probe)
    return [
        _spread(place, sorted(own, key=lambda probe: probe.seed), split, metric)
        for place, own in draws.items()
        for split in own[0].error
        for metric in _METRICS
    ]


def _spread(place: tuple[str, str, int], own: Sequence[Probe], split: str, metric: str) -> Spread:
    values = np.array([getattr(probe, metric).get(split, np.nan) for probe in own])
    mean, std, half = float(values.mean()), float("nan"), float("nan")
    if len(values) > 1:
        std = float(values.std(ddof=1))
        half = float(stdtrit(len(values) - 1, 0.975)) * std / len(values) ** 0.5
    return Spread(
        *place, split, metric, tuple(probe.seed for probe in own), mean, std, mean - half, mean + half
    )
