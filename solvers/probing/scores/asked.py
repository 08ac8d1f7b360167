"""What is asked of scores, and of which splits, classes and predictions it can be answered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.probing.scores.split_names import own_split, own_splits
from solvers.scoring.answers import Answers
from solvers.scoring.class_names import class_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes

__all__ = [
    "RECORDED",
    "Asked",
    "answers_of",
    "judged_split",
    "known_positive",
    "metrics_of",
    "positive_name",
    "refuse_unknown",
    "splits_of",
    "with_own_splits",
]

USUAL = ("train", "val", "test")
RECORDED = ("accuracy", "error", "cross_entropy")
"""Metrics that the file has a number of, also without predictions."""


@dataclass(frozen=True)
class Asked:
    """What is asked of scores.

    Args:
        metrics: their names; None for those shown by default.
        positive: the label of the class that metrics of two classes call positive; None for the second of two.
        negatives: the split whose rows of other classes set the threshold of ``tpr_at_fpr_0.01``.
        splits: which; None for all.
        parts: whether parts are wanted as well: classes, cells of a confusion matrix, bins.
    """

    metrics: tuple[str, ...] | None = None
    positive: object = None
    negatives: str | None = None
    splits: tuple[str, ...] | None = None
    parts: bool = False


def splits_of(probes: Sequence[Probe]) -> list[str]:
    """Every split that a probe was scored on: train, val and test first, then others as they come."""
    found = list(dict.fromkeys(split for probe in probes for split in probe.scores.error))
    return [split for split in USUAL if split in found] + [split for split in found if split not in USUAL]


def judged_split(probes: Sequence[Probe]) -> str | None:
    """Return the split that probes are judged by: test where there is one, else the last of all."""
    splits = splits_of(probes)
    return next((split for split in reversed(USUAL) if split in splits), splits[-1] if splits else None)


def with_own_splits(probes: Probes, asked: Asked) -> Asked:
    """Return what is asked with the probes' own names of splits, for those that the store has for them."""
    every = list(probes.values())
    splits = None if asked.splits is None else own_splits(every, asked.splits)
    negatives = None if asked.negatives is None else own_splits(every, [asked.negatives])[0]
    return replace(asked, splits=splits, negatives=negatives)


def answers_of(probes: Probes, probe: Probe, split: str, asked: Asked) -> Answers | None:
    """Return what a probe said of a split, for metrics to read; None where predictions were not kept.

    Raises:
        ProblemError: there are none of the split that sets a threshold, or no such positive class.
    """
    said = probes.predictions(probe.key, split)
    if said is None:
        return None
    other = None
    if asked.negatives is not None:
        known = own_split([probe], asked.negatives)
        other = None if known is None else probes.predictions(probe.key, known)
        if other is None:
            msg = (
                f"the file has no predictions of split {asked.negatives!r} for layer {probe.layer!r}, so no threshold "
                "is taken from it; name another"
            )
            raise ProblemError(msg)
    return Answers.of(said, known_positive(probe, asked), other)


def positive_name(probe: Probe, asked: Asked) -> str | None:
    """Return the class that metrics of two classes call positive; None where each is set against the rest."""
    if probe.classes is None:
        return None
    positive = known_positive(probe, asked)
    if positive is None and len(probe.classes) == 2:
        positive = probe.classes.tolist()[1]
    return None if positive is None else class_name(positive)


def metrics_of(probes: Probes, target: str, asked: Asked) -> list[str]:
    """Return the metrics of a target that are asked for, or shown by default."""
    if asked.metrics is not None:
        return list(asked.metrics)
    own = [probe for probe in probes.values() if probe.target == target and probe.classes is not None]
    split = judged_split(own)
    if not own or split is None:
        return []
    answers = answers_of(probes, own[0], split, asked)
    if answers is not None:
        return registry.default_names(answers)
    return ["accuracy", "error"] if len(own[0].classes) == 2 else list(RECORDED)


def known_positive(probe: Probe, asked: Asked) -> object:
    """Return the positive class that was asked for, where the probe has it; else None."""
    if asked.positive is None or probe.classes is None:
        return None
    names = [class_name(each) for each in probe.classes.tolist()]
    return asked.positive if class_name(asked.positive) in names else None


def refuse_unknown(probes: Probes, asked: Asked) -> None:
    """Refuse a metric, a class or a split that none of the probes has.

    Raises:
        ProblemError: it is one of these.
    """
    for name in asked.metrics or ():
        registry.get(name)
    every = list(probes.values())
    there = splits_of(every)
    wanted = [*(asked.splits or ()), *([] if asked.negatives is None else [asked.negatives])]
    for split in wanted:
        if split not in there:
            msg = f"there is no split {split!r}; the probes were scored on {', '.join(there) or 'none'}"
            raise ProblemError(msg)
    if asked.positive is not None and every and all(known_positive(probe, asked) is None for probe in every):
        classes = dict.fromkeys(class_name(each) for probe in every for each in _classes(probe))
        some = ", ".join(list(classes)[:8]) + (", ..." if len(classes) > 8 else "")
        msg = (
            f"the positive class {class_name(asked.positive)!r} is none of the probes'; expected one of {some}"
        )
        raise ProblemError(msg)


def _classes(probe: Probe) -> list[Any]:
    return [] if probe.classes is None else probe.classes.tolist()
