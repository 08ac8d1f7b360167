"""Scores of fitted probes on other rows: every metric of every split, with its interval, as tidy rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.probing.afterwards.said import said_of
from solvers.probing.afterwards.seen_rows import HELD_OUT, SAME_IDS, recognised
from solvers.probing.scores.metric_scores import metric_scores, notes_of_rows
from solvers.probing.scores.of_probes import Asked, known_positive
from solvers.probing.scores.path import blank_score
from solvers.rows import ConcatFeatures
from solvers.scoring.answers import Answers
from solvers.scoring.class_names import class_name
from solvers.scoring.score_rows import ScoreRows
from solvers.scoring.units import Units

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike

    from solvers.arrays import Array
    from solvers.metrics.base import Metric
    from solvers.probing.afterwards.said import Said
    from solvers.probing.probe import Key, Probe, Probes
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
    """The rows of one split that were one thing for a probe, and what it said of them."""

    probe: Probe
    split: str
    role: str
    said: Said
    answers: Answers

    @property
    def unseen(self) -> int:
        """How many rows are of classes that training had none of."""
        return int(np.sum(~self.said.seen))


@dataclass(frozen=True)
class Evaluation:
    """Probes on other rows: the scores, what they are of, and why some probes have none (by layer)."""

    scores: ScoreRows
    parts: Sequence[Part]
    failures: Mapping[str, str]


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
    for layer, reason in found.failures.items():
        msg = f"layer {layer!r}: {reason}"
        raise ProblemError(msg)
    return found.scores


def evaluation(there: Sequence[Probe], probes: Probes, rows: GivenRows, asked: Asked) -> Evaluation:
    """Score probes on given rows.

    A layer whose rows cannot be scored (NaN, other features) has a line in ``failures``; the others are scored.

    Args:
        there: the probes to score, whose layers and targets ``rows`` has.
        probes: all of their file, whose tables say which rows were trained on.
        rows: what to score them on.
        asked: which metrics, and which class they call positive; ``splits`` and ``negatives`` are not looked at.

    Raises:
        ProblemError: a metric or a class that there is not, or a metric that these predictions do not allow.
    """
    _check(there, asked)
    parts: list[Part] = []
    scores: list[Score] = []
    notes: list[str] = []
    failures: dict[str, str] = {}
    metrics: dict[str, list[str]] = {}
    units: dict[Any, Units] = {}
    for probe in there:
        try:
            said = said_of(probe, _sources(probe, rows.layers), rows.labels[probe.target], rows.groups)
        except ProblemError as error:
            failures[probe.layer] = str(error)
            continue
        if probe.target not in metrics:
            metrics[probe.target] = _metrics(probe, said, asked)
        for part in _parts(probe, probes, said, rows, asked):
            parts.append(part)
            mark = (part.probe.target, part.split, part.said.predictions.index.tobytes())
            if part.role == HELD_OUT and mark not in units:
                units[mark] = Units.of(part.said.predictions)
                where = f"target {probe.target!r}, split {part.split!r}"
                notes += notes_of_rows(where, part.answers, units[mark])
            own = units[mark] if part.role == HELD_OUT else None
            blank = _blank(part, rows.store)
            for name in metrics[probe.target]:
                scores += _scored(blank, registry.get(name), part, own, asked)
            scores += _majority(part, blank, probes)
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


def _parts(probe: Probe, probes: Probes, said: Said, rows: GivenRows, asked: Asked) -> Iterator[Part]:
    """Yield the labelled rows, split by split, and what they were for the probe."""
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
                own = said.only(mask)
                yield Part(probe, split, role, own, Answers.of(own.predictions, known_positive(probe, asked)))


def _blank(part: Part, store: str) -> Score:
    return replace(
        blank_score(part.probe, part.split),
        store=store,
        fitted_on=part.probe.fingerprint,
        role=part.role,
        rows=len(part.said),
    )


def _scored(blank: Score, metric: Metric, part: Part, units: Units | None, asked: Asked) -> Iterator[Score]:
    refusal = metric.refusal(part.answers)
    if refusal:
        msg = f"target {part.probe.target!r}: {refusal}"
        raise ProblemError(msg)
    value = part.said.cross_entropy() if metric.name == "cross_entropy" else np.nan
    if metric.name != "cross_entropy" and not metric.only_parts:
        value = metric.value(part.answers)
    yield from metric_scores(blank, metric, part.answers, units, value, asked.parts)


def _majority(part: Part, blank: Score, probes: Probes) -> Iterator[Score]:
    """Yield the error of always answering the commonest training class, where the file knows which that is."""
    probe = part.probe
    for table in probes.beside.tables:
        if table.key == (probe.target, "train", probe.where.fold) and len(table):
            commonest = int(np.bincount(np.asarray(table.arrays["truth"])).argmax())
            wrong = float(np.mean(np.asarray(part.said.predictions.truth) != commonest))
            yield replace(blank, kind="majority", metric="error", unit="share", value=wrong)
            return
