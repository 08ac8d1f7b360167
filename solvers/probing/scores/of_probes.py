"""From probes and their predictions to scores: every metric of every split, with its interval, as tidy rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.probing.scores.asked import (
    RECORDED,
    Asked,
    answers_of,
    metrics_of,
    refuse_unknown,
    splits_of,
    with_own_splits,
)
from solvers.probing.scores.divided import divided_notes
from solvers.probing.scores.kept import kept_score, with_kept
from solvers.probing.scores.metric_scores import metric_scores, notes_of_rows
from solvers.probing.scores.path import blank_score, path_scores, role_of
from solvers.scoring.score_rows import ScoreRows
from solvers.scoring.units import Units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solvers.metrics.base import Metric
    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes
    from solvers.scoring.answers import Answers
    from solvers.scoring.score import Score

__all__ = ["keep_scores", "scores_of"]


def scores_of(probes: Probes, asked: Asked | None = None) -> ScoreRows:
    """Return the scores of probes.

    Raises:
        ProblemError: a metric, class or split that there is not, or a metric that these predictions do not allow.
    """
    asked = with_own_splits(probes, asked or Asked())
    refuse_unknown(probes, asked)
    one = _Pass(probes, asked)
    scores = [score for probe in probes.values() for score in one.of_probe(probe)]
    lacking = set(asked.metrics or ()) - {score.metric for score in scores}
    if lacking and probes:
        msg = next(
            (why for why in one.lacking if why.startswith(tuple(lacking))), "no probe has classes to score"
        )
        raise ProblemError(msg)
    divided = {
        (probe.target, probe.step, probe.seed, split)
        for probe in probes.values()
        for split in probe.proof.chosen.get("divided_groups", {})
    }
    return ScoreRows(scores, [*divided_notes(list(probes.values()), asked.splits), *one.notes], divided)


def keep_scores(probes: Probes) -> Probes:
    """Return probes that keep their scores with intervals, so that showing them takes no time."""
    by_probe: dict[Any, list[Score]] = {}
    for score in scores_of(probes):
        by_probe.setdefault((score.layer, score.target, score.step, score.seed, score.fold), []).append(score)
    return probes.changed(
        lambda probe: with_kept(
            probe, by_probe.get((probe.layer, probe.target, probe.step, probe.seed, probe.where.fold), ())
        )
    )


@dataclass
class _Pass:
    """One pass over probes: what they share, and what is to be noted."""

    probes: Probes
    asked: Asked
    notes: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    _units: dict[Any, Units] = field(default_factory=dict)
    _metrics: dict[str, list[str]] = field(default_factory=dict)

    def of_probe(self, probe: Probe) -> Iterator[Score]:
        """Yield the scores of a probe, split by split."""
        if probe.target not in self._metrics:
            self._metrics[probe.target] = metrics_of(self.probes, probe.target, self.asked)
        for split in splits_of([probe]):
            if self.asked.splits is not None and split not in self.asked.splits:
                continue
            said = cache(partial(self._said, probe, split))
            for name in self._metrics[probe.target]:
                kept = self._kept(probe, split, registry.get(name))
                if kept is not None:
                    self._units_of(probe, split, None if self._noted(probe, split) else said())
                    yield kept
                else:
                    yield from self._of_metric(probe, split, registry.get(name), said())
            if split in probe.scores.majority:
                majority = replace(blank_score(probe, split), kind="majority", metric="error", unit="share")
                yield replace(majority, value=float(probe.scores.majority[split]))
        if self.asked.metrics is None and self.asked.splits is None:
            yield from path_scores(probe)

    def _said(self, probe: Probe, split: str) -> Answers | None:
        return None if probe.classes is None else answers_of(self.probes, probe, split, self.asked)

    def _kept(self, probe: Probe, split: str, metric: Metric) -> Score | None:
        """Return the score that the file keeps, if that is what is asked for."""
        asked = self.asked
        if asked.parts or asked.positive is not None or asked.negatives is not None or metric.only_parts:
            return None
        return kept_score(probe, split, metric)

    def _noted(self, probe: Probe, split: str) -> bool:
        """Whether what there is to note of these rows was noted."""
        return (probe.target, split, probe.where.fold, probe.scores.rows.get(split)) in self._units

    def _of_metric(self, probe: Probe, split: str, metric: Metric, answers: Answers | None) -> Iterator[Score]:
        refusal = _without(metric, split, self.asked) if answers is None else metric.refusal(answers)
        if refusal:
            if self.asked.metrics is not None and answers is not None:
                msg = f"target {probe.target!r}: {refusal}"
                raise ProblemError(msg)
            self.lacking.append(refusal)
            if role_of(probe, split) == "held_out":
                self.notes.append(refusal)
            if answers is not None or metric.name not in RECORDED:
                return
        units = self._units_of(probe, split, answers)
        value = np.nan if metric.only_parts else _value(probe, split, metric, answers)
        yield from metric_scores(blank_score(probe, split), metric, answers, units, value, self.asked.parts)

    def _units_of(self, probe: Probe, split: str, answers: Answers | None) -> Units | None:
        """Return what is resampled of a split, once for all probes; None of rows that no interval is of."""
        if answers is None or role_of(probe, split) != "held_out":
            return None
        key = probe.target, split, probe.where.fold, len(answers)
        if key not in self._units:
            self._units[key] = Units.of(answers.predictions)
            where = f"target {probe.target!r}, split {split!r}"
            self.notes += notes_of_rows(where, answers, self._units[key])
        return self._units[key]


def _without(metric: Metric, split: str, asked: Asked) -> str:
    """Return why there is no such number where predictions were not kept, and no interval of any."""
    if metric.name in RECORDED and asked.metrics is None:
        return f"split {split!r} has no predictions in the file, so its numbers have no intervals"
    if metric.name in RECORDED:
        return f"split {split!r} has no predictions in the file, so {metric.name} has no interval there"
    how = "with --train-predictions" if split == "train" else "without --no-predictions"
    return f"{metric.name} needs predictions, and the file has none of split {split!r}; fit {how}"


def _value(probe: Probe, split: str, metric: Metric, answers: Answers | None) -> float:
    """Return the number that was worked out when the probe was scored, in double precision, where there is one."""
    scores = probe.scores
    if answers is None or len(answers) == scores.rows.get(split):
        if metric.name in ("error", "cross_entropy"):
            return float(getattr(scores, metric.name).get(split, np.nan))
        if metric.name == "accuracy":
            return 1 - float(scores.error.get(split, np.nan))
    if answers is None or not answers.finite:
        return np.nan
    return metric.value(answers)
