"""Scores of fitted probes on other rows: every metric of every split, with its interval, as tidy rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.probing.afterwards.said import said_of
from solvers.probing.afterwards.seen_rows import HELD_OUT, SAME_IDS, recognised
from solvers.probing.scores.asked import Asked, known_positive
from solvers.probing.scores.metric_scores import metric_scores, notes_of_rows
from solvers.probing.scores.path import blank_score
from solvers.rows import ConcatFeatures
from solvers.scoring.answers import Answers
from solvers.scoring.class_names import class_name
from solvers.scoring.score_rows import ScoreRows
from solvers.scoring.units import Units

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.metrics.base import Metric
    from solvers.probing.afterwards.said import Said
    from solvers.probing.probe import Key, Probe
    from solvers.probing.probes import Probes
    from solvers.scoring.predictions import Predictions
    from solvers.scoring.score import Score

__all__ = ["ROLES", "Evaluation", "GivenRows", "Part", "evaluated", "evaluation"]

ROLES = ("fit", "select", HELD_OUT, SAME_IDS)
"""What given rows were for a probe; ``same_ids`` are rows of other inputs with ids of rows that it was fitted on."""


@dataclass(frozen=True)
class GivenRows:
    """Rows to score probes on.

    Args:
        layers: raw activations (rows, *features) by layer, or by (layer, step).
        labels: (rows,) by target, masked where a row has none.
        splits: (rows,) names; None: one split without a name.
        groups: (rows,) rows that belong together; None: each by itself.
        roles: (rows,) by key of a probe, what its rows were for it, one of ``ROLES``; held out where nothing is said.
        store: what the scores call the rows.
    """

    layers: Mapping[Any, Any]
    labels: Mapping[str, ArrayLike]
    splits: Array | None = None
    groups: ArrayLike | None = None
    roles: Mapping[Key, Array] = field(default_factory=dict)
    store: str = ""


@dataclass(frozen=True)
class Part:
    """The rows of one split that were one thing for a probe.

    ``unseen`` of its ``rows`` are of classes that training had none of. ``answers`` and ``nats`` (rows,), in double
    precision, are what it said of them, where that was to be kept.
    """

    probe: Probe
    split: str
    role: str
    rows: int
    unseen: int
    answers: Answers | None = None
    nats: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Evaluation:
    """Probes on other rows: the scores, what they are of, and why some probes have none."""

    scores: ScoreRows
    parts: Sequence[Part]
    failures: Mapping[Key, str]


def evaluated(
    probes: Probes,
    layers: Any,
    labels: ArrayLike | Mapping[str, ArrayLike],
    *,
    splits: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    asked: Asked | None = None,
) -> ScoreRows:
    """Return the scores of the probes whose layers are given; see ``Probes.evaluate``."""
    if not isinstance(layers, Mapping):
        msg = f"layers are a {type(layers).__name__}; expected rows by layer, {{'fc1': rows}} or store.layers"
        raise ProblemError(msg)
    targets = list(dict.fromkeys(probe.target for probe in probes.values()))
    if not isinstance(labels, Mapping):
        if len(targets) > 1:
            names = ", ".join(map(repr, targets))
            msg = (
                f"the probes are of the targets {names}; give labels by target, {{{targets[0]!r}: labels, ...}}"
            )
            raise ProblemError(msg)
        labels = dict.fromkeys(targets, labels)
    there = [
        probe for probe in probes.values() if probe.target in labels and _sources(probe, layers) is not None
    ]
    if not there:
        known = ", ".join(
            dict.fromkeys(f"{layer!r}" for each in probes.values() for layer in each.where.layers)
        )
        msg = (
            f"no probe has its layer and target given; the layers are {known}, the targets {', '.join(targets)}"
        )
        raise ProblemError(msg)
    rows = GivenRows(layers, labels, None if splits is None else np.asarray(splits).astype(str), groups)
    found = evaluation(there, probes, rows, asked or Asked())
    for (layer, target, *_), reason in found.failures.items():
        msg = f"layer {layer!r}, target {target!r}: {reason}"
        raise ProblemError(msg)
    return found.scores


def evaluation(
    there: Sequence[Probe], probes: Probes, rows: GivenRows, asked: Asked, keep: bool = False
) -> Evaluation:
    """Score probes on given rows, one after the other.

    A layer whose rows cannot be scored (NaN, other features) has a line in ``failures``; the others are scored.

    Args:
        there: the probes to score, whose layers and targets ``rows`` has.
        probes: all of their file, whose tables say which rows were trained on.
        rows: what to score them on.
        asked: which metrics, which class they call positive, and which split of these rows sets a threshold;
            ``splits`` is not looked at.
        keep: whether what the probes say is kept in ``parts``; else memory is that of one probe at a time.

    Raises:
        ProblemError: a metric or a class that there is not, or a metric that these predictions do not allow.
    """
    _check(there, asked)
    parts: list[Part] = []
    scores: list[Score] = []
    notes: list[str] = []
    failures: dict[Key, str] = {}
    metrics: dict[str, list[str]] = {}
    units: dict[Any, Units] = {}
    for probe in there:
        try:
            said = said_of(probe, _sources(probe, rows.layers), rows.labels[probe.target], rows.groups)
        except ProblemError as error:
            failures[probe.key] = str(error)
            continue
        if probe.target not in metrics:
            metrics[probe.target] = _metrics(probe, said, asked)
        negatives = _negatives(said, rows, asked)
        for split, role, own in _divided(probe, probes, said, rows):
            answers = Answers.of(own.predictions, known_positive(probe, asked), negatives)
            mark = (probe.target, split, hashlib.sha256(own.predictions.index.tobytes()).digest())
            if role == HELD_OUT and mark not in units:
                units[mark] = Units.of(own.predictions)
                notes += notes_of_rows(f"target {probe.target!r}, split {split!r}", answers, units[mark])
            blank = replace(
                blank_score(probe, split),
                store=rows.store,
                fitted_on=probe.fingerprint,
                role=role,
                rows=len(own),
            )
            drawn = units[mark] if role == HELD_OUT else None
            for name in metrics[probe.target]:
                scores += _scored(blank, registry.get(name), answers, own, drawn, asked.parts)
            scores += _majority(probe, own, blank, probes)
            part = Part(probe, split, role, len(own), int(np.sum(~own.seen)))
            parts.append(replace(part, answers=answers, nats=own.nats) if keep else part)
    return Evaluation(ScoreRows(scores, notes), parts, failures)


def _sources(probe: Probe, layers: Mapping[Any, Any]) -> Any:
    """The rows of the layer of a probe, or of its layers side by side; None where they are not given."""
    found = []
    for name in probe.where.layers:
        key = (name, probe.step) if (name, probe.step) in layers else name
        if key not in layers:
            return None
        found.append(layers[key])
    return found[0] if len(found) == 1 else ConcatFeatures(*found, names=probe.where.layers)


def _check(probes: Sequence[Probe], asked: Asked) -> None:
    for name in asked.metrics or ():
        registry.get(name)
    if asked.positive is not None and all(known_positive(probe, asked) is None for probe in probes):
        classes = dict.fromkeys(
            class_name(each)
            for probe in probes
            if probe.classes is not None
            for each in probe.classes[:8].tolist()
        )
        msg = (
            f"the positive class {class_name(asked.positive)!r} is none of the probes'; expected one of "
            f"{', '.join(classes)}"
        )
        raise ProblemError(msg)


def _metrics(probe: Probe, said: Said, asked: Asked) -> list[str]:
    if asked.metrics is not None:
        return list(asked.metrics)
    return registry.default_names(Answers.of(said.predictions, known_positive(probe, asked)))


def _negatives(said: Said, rows: GivenRows, asked: Asked) -> Predictions | None:
    """What the probe says of the split whose rows of other classes set a threshold."""
    if asked.negatives is None:
        return None
    of_rows = np.full(len(said), "") if rows.splits is None else rows.splits[said.predictions.index]
    if asked.negatives not in of_rows:
        there = ", ".join(dict.fromkeys(of_rows.tolist())) or "none"
        msg = f"there are no labelled rows of a split {asked.negatives!r}; there are those of {there}"
        raise ProblemError(msg)
    return said.only(of_rows == asked.negatives).predictions


def _divided(probe: Probe, probes: Probes, said: Said, rows: GivenRows) -> Iterator[tuple[str, str, Said]]:
    """Yield split, role and what is said of the labelled rows that are both."""
    given = len(np.asarray(rows.labels[probe.target]))
    splits = np.full(given, "") if rows.splits is None else rows.splits
    if splits.shape != (given,):
        msg = f"there are {given:,} labels but splits of shape {splits.shape}; give one split per row"
        raise ProblemError(msg)
    roles = np.asarray(rows.roles.get(probe.key, np.full(given, HELD_OUT))).astype("U8")[said.predictions.index]
    for role, numbers in recognised(probe, probes.beside.tables, said, splits).items():
        roles[numbers] = role
    of_rows = splits[said.predictions.index]
    for split in dict.fromkeys(splits.tolist()):
        for role in ROLES:
            mask = (of_rows == split) & (roles == role)
            if mask.any():
                yield split, role, said.only(mask)


def _scored(
    blank: Score, metric: Metric, answers: Answers, said: Said, units: Units | None, parts: bool
) -> Iterator[Score]:
    refusal = metric.refusal(answers)
    if refusal:
        msg = f"target {blank.target!r}: {refusal}"
        raise ProblemError(msg)
    value = said.cross_entropy() if metric.name == "cross_entropy" else np.nan
    if metric.name != "cross_entropy" and not metric.only_parts:
        value = metric.value(answers)
    yield from metric_scores(blank, metric, answers, units, value, parts)


def _majority(probe: Probe, said: Said, blank: Score, probes: Probes) -> Iterator[Score]:
    """Yield the error of always answering the commonest training class, where the file knows which that is."""
    for table in probes.beside.tables:
        if table.key == (probe.target, "train", probe.where.fold) and len(table):
            commonest = int(np.bincount(np.asarray(table.arrays["truth"])).argmax())
            wrong = float(np.mean(np.asarray(said.predictions.truth) != commonest))
            yield replace(blank, kind="majority", metric="error", unit="share", value=wrong)
            return
