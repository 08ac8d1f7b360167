"""The scores of held-out splits that are shown by default, kept in the probe file, so that showing them takes no time.

They stand in ``metrics`` of a probe under ``scores``: by split and metric the value, low, high, interval, groups, rows.
They are a function of the predictions beside them, worked out as the probes are fitted; a file without is read as well.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from solvers.probing.scores.path import blank_score
from solvers.scoring.units import DRAWS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from solvers.metrics.base import Metric
    from solvers.probing.probe import Probe
    from solvers.scoring.score import Score

__all__ = ["KEY", "kept_score", "with_kept"]

KEY = "scores"
_MADE_BY = {"version": 1, "draws": DRAWS, "level": 0.95}
"""How they were worked out; those of another way are worked out anew."""


def with_kept(probe: Probe, scores: Iterable[Score]) -> Probe:
    """Return a probe that keeps those of its scores that have an interval."""
    kept: dict[str, dict[str, Any]] = {}
    for score in scores:
        if score.interval and not score.part and score.kind == probe.kind:
            numbers = [score.value, score.low, score.high, score.interval, score.groups, score.rows]
            kept.setdefault(score.split, {})[score.metric] = numbers
    if not kept:
        return probe
    return replace(probe, metrics={**probe.metrics, KEY: {**_MADE_BY, "by_split": kept}})


def kept_score(probe: Probe, split: str, metric: Metric) -> Score | None:
    """Return a score that the file keeps; None where it does not, or not as this version would work it out."""
    kept = probe.metrics.get(KEY)
    if not isinstance(kept, dict) or any(kept.get(name) != value for name, value in _MADE_BY.items()):
        return None
    by_split = kept.get("by_split")
    by_metric = by_split.get(split) if isinstance(by_split, dict) else None
    numbers = by_metric.get(metric.name) if isinstance(by_metric, dict) else None
    if not _sound(numbers, probe.scores.rows.get(split)):
        return None
    value, low, high, how, groups, _ = numbers  # type: ignore[misc]
    ends = {"low": float(low), "high": float(high), "interval": how, "groups": groups}
    return replace(blank_score(probe, split), metric=metric.name, unit=metric.unit, value=float(value), **ends)


def _sound(numbers: Any, rows: int | None) -> bool:
    """Whether a list of another's file is what ``with_kept`` writes, of as many rows as the probe was scored on."""
    if not isinstance(numbers, list | tuple) or len(numbers) != 6 or numbers[5] != rows:
        return False
    ends = all(
        isinstance(each, float | int) and not isinstance(each, bool) and abs(each) <= sys.float_info.max
        for each in numbers[:3]
    )
    return ends and isinstance(numbers[3], str) and (numbers[4] is None or isinstance(numbers[4], int))
