"""The scores of one layer: the probe that was chosen on every split, with its predictions, and every C of its path."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from solvers.fitting.selection import area_under_curve, measured_as
from solvers.fitting.splits import VAL
from solvers.probing.settings import TRAIN_ERRORS
from solvers.probing.targets import union
from solvers.rows import Rows
from solvers.scoring.recording import Calibration, PredictionRecorder
from solvers.scoring.split_score import LEFT_OUT, Scored, SplitScore, score_each

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from solvers.arrays import Array, Backend
    from solvers.probing.layer.choosing import Chosen
    from solvers.probing.records import Tried
    from solvers.probing.row_table import TableKey
    from solvers.probing.settings import LayerSettings
    from solvers.probing.task import Task
    from solvers.rows import RowSource

__all__ = ["LayerScores", "TargetScores", "measured"]


@dataclass
class TargetScores:
    """What is known of one target's probe: by split, and by the number of every C of its path.

    ``calibrations`` are the rows that temperatures are fitted on, by the number of the C whose fits say something of
    them.
    """

    splits: dict[str, SplitScore] = field(default_factory=dict)
    predictions: dict[TableKey, dict[str, Array]] = field(default_factory=dict)
    calibrations: dict[int, Calibration] = field(default_factory=dict)
    path: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)

    def temperature(self, number: int) -> float | None:
        """Return what the logits at one C are divided by to be calibrated; None where no rows say so."""
        calibration = self.calibrations.get(number)
        return None if calibration is None else calibration.temperature()

    def of_path(self, tried: tuple[Tried, ...]) -> tuple[Tried, ...]:
        """Return the points of a path with their scores."""
        scores = {number: dict(at) for number, at in self.path.items()}
        if len(self.calibrations) > 1:
            for number in self.calibrations:
                found = self.temperature(number)
                scores.setdefault(number, {}).update({} if found is None else {"temperature": {VAL: found}})
        return tuple(replace(each, scores=scores.get(n, {})) for n, each in enumerate(tried))


@dataclass(frozen=True)
class _Job:
    """Something to score, counted as of a split: the probe, or a fit of the ``number``-th C."""

    target: str
    split: str
    scored: Scored
    number: int | None = None


@dataclass(frozen=True)
class LayerScores:
    """Scores a layer's probes, reading the rows of each split once for all targets and every C.

    Args:
        rows: (rows, columns), as they are looked at.
        tasks: by target.
        settings: which splits the path is scored on, and whether predictions are kept.
        backend: where it is computed.
    """

    rows: RowSource
    tasks: Mapping[str, Task]
    settings: LayerSettings
    backend: Backend

    def of(self, chosen: Mapping[str, Chosen]) -> dict[str, TargetScores]:
        """Score what was chosen on every split of its target, and every C on those that it is kept of."""
        splits = dict.fromkeys(split for target in chosen for split in self.tasks[target].rows)
        found = {target: TargetScores() for target in chosen}
        for split in splits:
            self._score(chosen, split, found)
        return found

    def to_choose_by(self, chosen: Mapping[str, Chosen], metric: str) -> dict[str, NDArray[np.float64]]:
        """Return what a metric is of every C (C,) on the rows that choose it; NaN where it has no value."""
        found = {target: TargetScores() for target in chosen}
        by_folds = {target: each for target, each in chosen.items() if self.tasks[target].folds is not None}
        by_rows = {target: each for target, each in chosen.items() if target not in by_folds}
        for of_split, split in ((by_folds, "train"), (by_rows, VAL)):
            if of_split:
                self._score(of_split, split, {target: found[target] for target in of_split})
        return {target: measured(own, chosen[target].path, metric) for target, own in found.items()}

    def _score(self, chosen: Mapping[str, Chosen], split: str, found: Mapping[str, TargetScores]) -> None:
        tasks = {target: self.tasks[target] for target in chosen if split in self.tasks[target].rows}
        numbers = union(tasks, split)
        jobs = [
            job
            for target, task in tasks.items()
            for job in self._jobs(target, _codes(task, split, numbers), split, chosen[target], found[target])
        ]
        results = score_each(Rows(self.rows, numbers), [job.scored for job in jobs], self.backend)
        self._take(jobs, results, found)
        for target in tasks:
            self._complete(found[target], chosen[target], split)

    def _jobs(
        self, target: str, codes: NDArray[np.int64], split: str, chosen: Chosen, into: TargetScores
    ) -> Iterator[_Job]:
        """Yield what is scored of one target on the rows of a split."""
        task, outputs = self.tasks[target], len(self.tasks[target].classes)
        count = int(np.sum(codes != LEFT_OUT))
        recorder = None
        if self.settings.predictions == "all" or (self.settings.predictions and split != "train"):
            recorder = PredictionRecorder(count, outputs)
            into.predictions[target, split, None] = recorder.arrays
        if split == VAL:
            into.calibrations[chosen.index] = Calibration(count, outputs)
        calibration = into.calibrations.get(chosen.index) if split == VAL else None
        yield _Job(target, split, Scored(codes, chosen.fit.map, recorder, calibration))
        if task.folds is not None and split == "train":
            yield from self._jobs_of_folds(target, codes, chosen, into)
        elif self._is_of_path(split):
            for number, fits in enumerate(chosen.fits):
                for fitted in fits:
                    if fitted is not chosen.fit or self.settings.select_by == "roc_auc":
                        yield _Job(target, split, Scored(codes, fitted.map, self._ranked(split, count)), number)

    def _jobs_of_folds(
        self, target: str, codes: NDArray[np.int64], chosen: Chosen, into: TargetScores
    ) -> Iterator[_Job]:
        """Yield each fold's fit of each C, on the rows that it was fitted on and on those held out from it."""
        folds = np.full(len(codes), LEFT_OUT)
        folds[codes != LEFT_OUT] = self.tasks[target].folds
        held_out = int(np.sum(folds >= 0)), len(self.tasks[target].classes)
        every = range(int(folds.max()) + 1)
        trained = [np.where(folds == fold, LEFT_OUT, codes) for fold in every]
        held = [np.where(folds == fold, codes, LEFT_OUT) for fold in every]
        for number, fits in enumerate(chosen.fits):
            if number == chosen.index or self.settings.one_C:  # then it is chosen later, without the folds
                into.calibrations[number] = Calibration(*held_out)
            for fold, fitted in enumerate(fits):
                yield _Job(target, "train", Scored(trained[fold], fitted.map), number)
                recorder = self._ranked(VAL, int(np.sum(folds == fold)))
                held_out_of = Scored(held[fold], fitted.map, recorder, into.calibrations.get(number))
                yield _Job(target, VAL, held_out_of, number)

    def _is_of_path(self, split: str) -> bool:
        every = self.settings.protocol == TRAIN_ERRORS
        return every or split in ("train", VAL) or split in self.settings.score_path

    def _ranked(self, split: str, count: int) -> PredictionRecorder | None:
        """Return what takes down the logits that an area under the curve is of, where C is chosen by that."""
        return PredictionRecorder(count, 2) if split == VAL and self.settings.select_by == "roc_auc" else None

    def _take(self, jobs: list[_Job], results: list[SplitScore], found: Mapping[str, TargetScores]) -> None:
        """Keep the scores of a split; those of several folds are one number over all rows."""
        pooled: dict[tuple[str, int, str], list[tuple[SplitScore, float]]] = {}
        for job, result in zip(jobs, results, strict=True):
            if job.number is None:
                found[job.target].splits[job.split] = result
            else:
                pooled.setdefault((job.target, job.number, job.split), []).append((result, _area(job.scored)))
        for (target, number, split), parts in pooled.items():
            _put(found[target], number, split, parts)

    def _complete(self, own: TargetScores, chosen: Chosen, split: str) -> None:
        """Give the chosen C of a path without folds the scores of the probe, which is that fit."""
        fits = chosen.fits[chosen.index]
        known = split in own.path.get(chosen.index, {}).get("error", {})
        if len(fits) == 1 and self._is_of_path(split) and not known:
            _put(own, chosen.index, split, [(own.splits[split], float("nan"))])


def _put(own: TargetScores, number: int, split: str, parts: list[tuple[SplitScore, float]]) -> None:
    """Keep the scores of one C on a split: over the rows of all parts; an area is the mean over parts that have one."""
    scores = [score for score, _ in parts]
    at = own.path.setdefault(number, {})
    rows = np.array([score.rows for score in scores])
    at.setdefault("error", {})[split] = _mean([score.error for score in scores], rows)
    seen = rows - np.array([score.unseen for score in scores])
    at.setdefault("cross_entropy", {})[split] = _mean([score.cross_entropy for score in scores], seen)
    areas = np.array([area for _, area in parts])
    known = ~np.isnan(areas)
    if known.any():
        at.setdefault("roc_auc", {})[split] = _mean(areas[known].tolist(), rows[known])


def _mean(values: list[float], weights: NDArray[np.int64]) -> float:
    """The mean, where what has no weight says nothing; NaN where nothing has any."""
    counted = weights > 0
    if not counted.any():
        return float("nan")
    return float(np.average(np.array(values)[counted], weights=weights[counted]))


def _area(scored: Scored) -> float:
    """The area under the curve of the second of two classes, where the logits were taken down; else NaN."""
    if scored.predictions is None or "logits" not in scored.predictions.arrays:
        return float("nan")
    truth = scored.codes[scored.codes != LEFT_OUT]
    known, logits = truth >= 0, scored.predictions.arrays["logits"]
    return area_under_curve((logits[:, 1] - logits[:, 0])[known], truth[known] == 1)


def _codes(task: Task, split: str, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each of these rows, ``LEFT_OUT`` where the task has it not in this split."""
    mine = np.isin(numbers, task.rows.get(split, np.zeros(0, np.int64)), assume_unique=True)
    return np.where(mine, task.codes[numbers], LEFT_OUT)


def measured(own: TargetScores, path: tuple[Tried, ...], metric: str) -> NDArray[np.float64]:
    """What a metric is for every C of a path (C,) on the rows to choose by; NaN where it has no value."""
    at = [own.path.get(number, {}) for number in range(len(path))]
    return np.array([each.get(measured_as(metric), {}).get(VAL, np.nan) for each in at])
