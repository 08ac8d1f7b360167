"""The probes of one layer, one for each target: every C fitted, one chosen, every split scored once."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING

from solvers.engines.choice import backend_of
from solvers.errors import ProblemError
from solvers.fitting.splits import VAL
from solvers.probing.layer.choosing import Chosen, LayerFit, by_metric, how_chosen
from solvers.probing.layer.scoring import LayerScores
from solvers.probing.layer.slices import LayerView
from solvers.probing.probe import Probe
from solvers.probing.probes import Probes
from solvers.probing.records import ProbeMap, Proof, Provenance, Scores, Where
from solvers.probing.row_table import Beside, RowTable
from solvers.probing.targets import bad_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from solvers.fitting.result import Fit, FitProgress
    from solvers.linear_map import LinearMap
    from solvers.probing.layer.scoring import TargetScores
    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.settings import LayerSettings
    from solvers.probing.task import Task
    from solvers.scoring.split_score import SplitScore

__all__ = ["Question", "fit_layer", "fit_layer_at"]


@dataclass(frozen=True)
class Question:
    """What is asked of every layer.

    Args:
        tasks: labels and splits, by target.
        settings: what to fit with.
        tables: the rows of each target and split, which predictions are of.
    """

    tasks: Mapping[str, Task]
    settings: LayerSettings
    tables: tuple[RowTable, ...] = ()


def fit_layer(
    layer: FitLayer,
    question: Question,
    starts: Mapping[str, LinearMap],
    progress: Callable[[FitProgress], None] | None,
) -> Probes:
    """Fit one layer for every target, in the same passes over its rows, and score the probes that were chosen.

    Args:
        layer: what to fit; with its seed its name decides the columns that are drawn.
        question: what is asked of it.
        starts: where to start from, by target; cold where there is none.
        progress: passed on to ``solvers.fit``.

    Returns:
        A probe for each target; where rows that a target needs hold NaN or infinite activations there is none,
        and the reason is in ``failures``.

    Raises:
        ProblemError: when the fit refuses what it was given.
        KeyboardInterrupt: when the fit was interrupted.
    """
    begun = time.perf_counter()
    work = _Work(layer, question, LayerView.of(layer, question.settings), starts, progress)
    chosen, reasons = work.choose_where_sound()
    scores = work.score(chosen)
    spoilt = [target for target, own in scores.items() if any(s.nonfinite for s in own.splits.values())]
    reasons |= bad_rows(work.view.rows, {target: question.tasks[target] for target in spoilt})
    seconds = time.perf_counter() - begun
    probes = [
        work.probe(target, found, scores[target], seconds)
        for target, found in chosen.items()
        if target not in reasons
    ]
    failures = (
        {
            layer.called or layer.name: _joined(
                {target: reasons[target] for target in question.tasks if target in reasons}, len(question.tasks)
            )
        }
        if reasons
        else {}
    )
    return Probes(probes, failures, beside=Beside(question.tables))


def fit_layer_at(
    layer: FitLayer,
    question: Question,
    before: Probes,
    strengths: Mapping[str, float],
    progress: Callable[[FitProgress], None] | None,
) -> Probes:
    """Return a layer's probes at the C of each target, fitted from where they are and scored, where that is another."""
    begun = time.perf_counter()
    by_target = {probe.target: probe for probe in before.values()}
    moved = {target: C for target, C in strengths.items() if target in by_target and by_target[target].C != C}
    view = LayerView.of(layer, question.settings)
    starts = {target: by_target[target].map for target in moved}
    work = _Work(layer, question, view, starts, progress)
    found = work.at(moved, by_target) if moved else {}
    scores = work.score(found)
    seconds = time.perf_counter() - begun
    refitted = {
        target: _of_path(work.probe(target, chosen, scores[target], seconds), by_target[target], chosen.index)
        for target, chosen in found.items()
    }
    probes = [refitted.get(probe.target, probe) for probe in before.values()]
    return Probes(probes, before.failures, beside=before.beside)


def _of_path(probe: Probe, before: Probe, index: int) -> Probe:
    """The probe at a C with the path that was scored before, and the temperature that its folds had there."""
    temperature = probe.scores.temperature
    if temperature is None:
        temperature = before.path[index].scores.get("temperature", {}).get(VAL)
    return replace(
        probe,
        proof=replace(probe.proof, path=before.path),
        scores=replace(probe.scores, temperature=temperature),
        provenance=replace(probe.provenance, seconds=probe.seconds + before.seconds),
    )


@dataclass(frozen=True)
class _Work:
    """One layer and what is asked of it."""

    layer: FitLayer
    question: Question
    view: LayerView
    starts: Mapping[str, LinearMap]
    progress: Callable[[FitProgress], None] | None

    @property
    def settings(self) -> LayerSettings:
        return self.question.settings

    def choose_where_sound(self) -> tuple[dict[str, Chosen], dict[str, str]]:
        """Return what is chosen for the targets whose rows are finite, and why the others have nothing."""
        tasks = self.question.tasks
        try:
            return self._choose(tasks), {}
        except ProblemError:
            reasons = bad_rows(self.view.rows, tasks)
            if not reasons:
                raise
        sound = {target: task for target, task in tasks.items() if target not in reasons}
        return self._choose(sound) if sound else {}, reasons

    def _choose(self, tasks: Mapping[str, Task]) -> dict[str, Chosen]:
        """Every C fitted, and the best by the metric asked for chosen.

        What is compared is fitted roughly, and the best is then fitted further, by which another may come to be better:
        so it is compared again, as it is recorded.
        """
        fits, metric = self._fits(self._started()), self.settings.select_by
        chosen = fits.choose(tasks)
        if metric == "cross_entropy":
            return chosen
        for _ in range(2 * len(self.settings.C)):  # each is fitted further once, and may be come back to
            values = self._scores().to_choose_by(chosen, metric)
            best = {target: by_metric(found, values[target], metric) for target, found in chosen.items()}
            moved = {target: C for target, C in best.items() if C != chosen[target].fit.C}
            if not moved:
                break
            starts = {target: chosen[target].start_at(C) for target, C in moved.items()}
            fitted = self._fits(starts).fit_at({target: tasks[target] for target in moved}, moved)
            chosen = chosen | {target: chosen[target].at(found) for target, found in fitted.items()}
        return chosen

    def at(self, strengths: Mapping[str, float], before: Mapping[str, Probe]) -> dict[str, Chosen]:
        """Return the fits of targets at these C, beside the paths that they have, whose other fits are gone."""
        tasks = {target: self.question.tasks[target] for target in strengths}
        fitted = self._fits(self._started()).fit_at(tasks, strengths)
        paths = {target: before[target].path for target in fitted}
        return {
            target: Chosen(found, paths[target], ((),) * len(paths[target])) for target, found in fitted.items()
        }

    def score(self, chosen: Mapping[str, Chosen]) -> dict[str, TargetScores]:
        """Score what was chosen, where the engine that fitted it computes."""
        engines = {found.fit.engine for found in chosen.values()}
        return self._scores(engines.pop() if len(engines) == 1 else "").of(chosen) if chosen else {}

    def _scores(self, engine: str = "") -> LayerScores:
        question = self.question
        backend = backend_of(engine, self.settings.device)
        return LayerScores(self.view.rows, question.tasks, self.settings, backend)

    def _started(self) -> dict[str, LinearMap | None]:
        return {target: self.view.start(self.starts.get(target)) for target in self.question.tasks}

    def _fits(self, starts: Mapping[str, LinearMap | None]) -> LayerFit:
        return LayerFit(self.view.rows, self.settings, starts, self.progress)

    def probe(self, target: str, chosen: Chosen, scores: TargetScores, seconds: float) -> Probe:
        """Return the probe of a target."""
        task = self.question.tasks[target]
        kept = {
            name: getattr(chosen.fit, name) for name in ("C", "gap_nats", "loss", "engine", "engine_reason")
        }
        return Probe(
            where=self._where(target),
            map=self._map(chosen.fit, task),
            proof=Proof(
                status=str(chosen.fit.status),
                path=scores.of_path(chosen.path),
                chosen=how_chosen(self.settings, task, chosen),
                **kept,
            ),
            scores=_scores(scores.splits, task, scores.temperature(chosen.index)),
            provenance=Provenance(
                fingerprint=self.layer.fingerprint,
                rows_fingerprint=task.fingerprint,
                command=self.settings.command,
                version=_version(),
                seconds=seconds,
            ),
            predictions=scores.predictions,
        )

    def _where(self, target: str) -> Where:
        layer, view = self.layer, self.view
        return Where(
            layers=layer.stored_layers,
            target=target,
            shape=layer.shape,
            step=layer.step,
            seed=layer.seed,
            slice=layer.head,
            order=layer.order,
            draws=layer.draws,
            projection=None if view.matrix is None else view.matrix.shape[1],
        )

    def _map(self, chosen: Fit, task: Task) -> ProbeMap:
        """The map of a fit on all columns of the layer; those that were not looked at get weight 0."""
        full = self.view.full(chosen.map)
        return ProbeMap(
            weights=full.weights,
            intercept=full.intercept,
            mean=full.mean,
            classes=task.classes,
            scale=self.view.full_scale(chosen.scale),
            scaled=self.settings.scale and self.view.matrix is None,
            columns=self.view.columns,
        )


def _scores(scores: Mapping[str, SplitScore], task: Task, temperature: float | None) -> Scores:
    by_split = {
        name: {split: getattr(found, name) for split, found in scores.items()}
        for name in ("error", "cross_entropy", "rows", "unseen")
    }
    majority = {split: task.chance(split) for split in scores}
    return Scores(majority=majority, unlabelled=task.unlabelled, temperature=temperature, **by_split)


def _joined(reasons: Mapping[str, str], targets: int) -> str:
    """The reasons of a layer in one line."""
    if targets == 1:
        (reason,) = reasons.values()
        return reason
    return "; ".join(f"target {target!r}: {reason}" for target, reason in reasons.items())


def _version() -> str:
    """The version of the package that fitted."""
    try:
        return metadata.version("actstore")
    except metadata.PackageNotFoundError:
        return "not installed"
