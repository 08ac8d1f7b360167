"""Probes from elsewhere beside those that were fitted on the very rows: differences, paired over rows new to both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.probing.afterwards.seen_rows import HELD_OUT
from solvers.scoring.comparisons import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.metrics.base import Metric
    from solvers.probing.afterwards.scores import Evaluation, Part
    from solvers.probing.probe import Probe
    from solvers.scoring.answers import Answers

__all__ = ["Difference", "differences"]

_OF_ANY_CLASSES = ("accuracy", "error")
"""Metrics that are the same number of two probes which know different classes."""


@dataclass(frozen=True)
class Difference:
    """A metric of a probe minus that of the one beside it, on the same rows, which both were not fitted on.

    ``low`` and ``high`` are the ends of the interval of 95%, NaN where there is none. ``p`` is of no difference between
    these two, ``p_holm`` adjusted for the ``family``: the layers of one target, step, metric and split.
    """

    layer: str
    target: str
    step: int
    seed: int
    split: str
    metric: str
    unit: str
    value: float
    beside: float
    difference: float
    low: float
    high: float
    interval: str
    p: float
    p_holm: float
    family: int
    rows: int
    groups: int | None


@dataclass(frozen=True)
class _Pair:
    """Two probes on the rows of a split that are new to both."""

    one: Part
    answers: Answers
    beside: Answers

    @property
    def alike(self) -> bool:
        """Whether both know the same classes."""
        own, other = (each.predictions.classes[: each.outputs] for each in (self.answers, self.beside))
        return bool(np.array_equal(own, other))


def differences(
    one: Evaluation, beside: Evaluation, metrics: Sequence[str] | None = None
) -> tuple[list[Difference], list[str]]:
    """Return the differences of two evaluations on the same rows, and a line on each that there is none of.

    Args:
        one: probes from elsewhere; of either evaluation the answers were kept.
        beside: the probes that they are compared with, of the same layers and targets.
        metrics: their names; None for those that ``one`` has scores of.
    """
    names = list(dict.fromkeys(score.metric for score in one.scores if score.kind != "majority"))
    names = [name for name in metrics or names if not registry.get(name).only_parts]
    notes: list[str] = []
    families: dict[tuple[str, int, int, str], list[_Pair]] = {}
    for part in one.parts:
        if part.role == HELD_OUT:
            pair = _pair(part, beside, notes)
            if pair is not None:
                key = (part.probe.target, part.probe.step, part.probe.seed, part.split)
                families.setdefault(key, []).append(pair)
    own = {(score.target, score.metric) for score in one.scores}
    found = [
        each
        for pairs in families.values()
        for name in names
        if (pairs[0].one.probe.target, name) in own
        for each in _of_family(registry.get(name), pairs, notes)
    ]
    return found, list(dict.fromkeys(notes))


def _pair(part: Part, beside: Evaluation, notes: list[str]) -> _Pair | None:
    """Return a part and what the probe beside it says of the same rows, as far as they are new to that one, too."""
    probe = part.probe
    where = f"layer {probe.layer!r}, target {probe.target!r}"
    others = _others(probe, beside)
    if len({each.probe.key for each in others}) != 1:
        what = "no probe" if not others else "several probes"
        notes.append(f"{where}: there is {what} to be set beside it, so no difference")
        return None
    held_out = [each for each in others if each.split == part.split and each.role == HELD_OUT]
    if not held_out:
        notes.append(
            f"{where}, split {part.split!r}: no row is new to the probe beside it, so no difference is given"
        )
        return None
    (other,) = held_out
    mine, its = _answers(part), _answers(other)
    common = np.intersect1d(mine.predictions.index, its.predictions.index)
    if not len(common):
        notes.append(f"{where}, split {part.split!r}: no row is new to both probes, so no difference is given")
        return None
    own, theirs = (each.only(np.isin(each.predictions.index, common)) for each in (mine, its))
    return _Pair(part, own, theirs)


def _answers(part: Part) -> Answers:
    if part.answers is None:
        msg = "what the probes said was not kept; evaluate them with keep"
        raise ProblemError(msg)
    return part.answers


def _others(probe: Probe, beside: Evaluation) -> list[Part]:
    """Return the parts of the probes for the same layer and target; of the same step where there is one."""
    alike = [
        each for each in beside.parts if (each.probe.layer, each.probe.target) == (probe.layer, probe.target)
    ]
    for name in ("step", "seed"):
        same = [each for each in alike if getattr(each.probe, name) == getattr(probe, name)]
        alike = same or alike
    return alike


def _of_family(metric: Metric, pairs: Sequence[_Pair], notes: list[str]) -> list[Difference]:
    usable = []
    for pair in pairs:
        if metric.name in _OF_ANY_CLASSES or pair.alike:
            usable.append(pair)
            continue
        probe = pair.one.probe
        notes.append(
            f"layer {probe.layer!r}, target {probe.target!r}: the two probes know different classes, so {metric.name} "
            "is not the same number of both and no difference is given"
        )
    found = compare(metric, [each.answers for each in usable], [each.beside for each in usable])
    return [
        Difference(
            layer=pair.one.probe.layer,
            target=pair.one.probe.target,
            step=pair.one.probe.step,
            seed=pair.one.probe.seed,
            split=pair.one.split,
            metric=metric.name,
            unit=metric.unit,
            value=each.value,
            beside=each.reference,
            difference=each.difference,
            low=each.interval.low,
            high=each.interval.high,
            interval=each.interval.how,
            p=each.p,
            p_holm=each.p_family,
            family=len(usable),
            rows=each.rows,
            groups=each.groups,
        )
        for pair, each in zip(usable, found, strict=True)
    ]
