"""A study: every decoder that was asked for, scored, each kept as soon as it is done, and gone on from.

For each layer and seed: a decoder for each α, and the reference. A finished one lies in ``parts`` under the digest of
all that decides it; a training that was cut off goes on from its last epoch.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.decoders.decoder import LAYER, REFERENCE, Decoder, Decoders
from solvers.decoders.decoder_file import load_decoders, save_decoders
from solvers.decoders.linear import fit_linear, linear_backend
from solvers.decoders.pictures import class_means, mean_picture
from solvers.decoders.plan import Job, Network, Plan, Study, jobs_of
from solvers.decoders.scoring import LESS_REFERENCE, MEAN_PICTURE, Judges, Place, measure, over_seeds, scores_of
from solvers.decoders.settings import alpha_per_value
from solvers.errors import ProblemError
from solvers.rows import as_source, take

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.decoders.settings import DecoderSettings, TrainingProgress
    from solvers.scoring.score import Score

__all__ = ["decode_layers"]


def decode_layers(
    study: Study,
    plan: Plan,
    network: Network | None = None,
    parts: Path | None = None,
    progress: Callable[[Job, TrainingProgress | None], None] | None = None,
) -> Decoders:
    """Fit or train every decoder of a plan, and score it.

    Args:
        study: the rows.
        plan: which decoders.
        network: the live classifier; needed where the plan needs one.
        parts: a folder that keeps finished decoders and the last epoch of trainings; None keeps nothing.
        progress: told of each job and each step of its training.

    Raises:
        ProblemError: what cannot be decoded, or a plan that needs a network and has none.
        EngineError: torch is not installed.
    """
    if plan.needs_network and (network is None or study.examples.labels is None):
        msg = "alpha above 0, a reference and an evaluation need the model and its target; give --model and --target"
        raise ProblemError(msg)
    if not len(study.scored):
        msg = "there are no rows to score decoders on; expected some of a split `test` or `val`"
        raise ProblemError(msg)
    work = _Work(study, plan, network, parts, progress or (lambda *_: None))
    jobs = jobs_of(study, plan)
    made = [work.done(replace(job, number=place, total=len(jobs))) for place, job in enumerate(jobs, start=1)]
    decoders = [replace(each, seen=_kept(each, jobs[0].seed)) for each in made]
    scores = [*work.of_pictures(), *work.less_reference(made)]
    scores += over_seeds([*(score for each in decoders for score in each.scores), *scores])
    return Decoders(tuple(decoders), study.scored, study.split, study.provenance, tuple(scores))


_ROWS = ("squared_error", "pictures")
"""What a file keeps of each scored row; metrics of rows live only while a study runs and in its parts."""


def _kept(decoder: Decoder, first_seed: int) -> dict[str, Array]:
    """What the file keeps: the error of each row, and a reference's pictures of the first seed."""
    wanted = _ROWS if decoder.seed == first_seed else _ROWS[:1]
    return {name: array for name, array in decoder.seen.items() if name in wanted}


class _Work:
    """The jobs of one study."""

    def __init__(
        self,
        study: Study,
        plan: Plan,
        network: Network | None,
        parts: Path | None,
        progress: Callable[[Job, TrainingProgress | None], None],
    ) -> None:
        self.study, self.plan, self.network, self.parts, self.progress = study, plan, network, parts, progress
        self.groups = None if study.groups is None else study.groups[study.scored]
        self.means = class_means(study.examples, study.classes)

    def done(self, job: Job) -> Decoder:
        """Return the decoder of a job, from the parts where it is there."""
        digest = self._digest(job)
        path = None if self.parts is None else self.parts / f"{digest}.decoder.h5"
        if path is not None and path.exists():
            return load_decoders(path).decoders[0]
        self.progress(job, None)
        decoder = self._linear(job) if self.plan.method == "linear" else self._conv(job, digest)
        if path is not None:
            save_decoders(Decoders((decoder,), self.study.scored, self.study.split), path)
            for epochs in path.parent.glob(f"{digest}.*.epoch.h5"):
                epochs.unlink()
        return decoder

    def _digest(self, job: Job) -> str:
        """What decides a decoder, digested: the name of its part."""
        study, plan = self.study, self.plan
        rows = {"train": study.examples.train, "select": study.examples.select, "scored": study.scored}
        asked = {
            "begins": "brightness",
            "job": [job.layer, job.role, job.alpha, job.seed],
            "plan": [plan.method, plan.evaluate, plan.penalties, plan.engine, plan.settings.to_json()],
            "units": study.examples.units.to_json(),
            "axes": list(study.axes.get(job.layer, ())),
            "store": [study.store, study.step, study.target],
            "rows": {name: _hash(values) for name, values in rows.items()},
            "labels": _hash(study.examples.labels),
            "groups": _hash(study.groups),
            "network": {} if self.network is None else dict(self.network.identity),
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]

    def _linear(self, job: Job) -> Decoder:
        source = as_source(self.study.codes[job.layer])
        backend = linear_backend(self.plan.engine)
        fit = fit_linear(source, self.study.examples, self.plan.penalties, backend, self.plan.memory_bytes)
        weights = {"weights": fit.decoder.weights, "mean": fit.decoder.mean, "intercept": fit.decoder.intercept}
        training = {
            "penalty": fit.penalty,
            "path": [[penalty, error] for penalty, error in fit.path],
            "residual": fit.residual,
            "gap": fit.gap,
            "status": fit.status,
            "engine": backend.xp.__name__,
        }
        made = self._decoder(job, {"kind": "linear", "code": list(source.shape[1:])}, weights, training)

        def decode(rows: NDArray[np.int64]) -> NDArray[np.float64]:
            return fit.decoder.reconstruct(take(source, rows))

        return self._scored(job, made, decode)

    def _conv(self, job: Job, digest: str) -> Decoder:
        from solvers.decoders.by_torch.fit import fit_conv, fit_reference

        study, settings = self.study, self._settings(job)
        training = self._training(job, digest)
        axes = study.axes.get(job.layer, ())
        source = as_source(study.codes[job.layer])
        if job.role == REFERENCE and self.network is not None:
            fit = fit_reference(self.network.make, job.layer, study.examples, training, axes)
            if fit.decoder.architecture.code != source.shape[1:]:
                whole = fit.decoder.architecture.code
                msg = f"layer {job.layer!r} is {whole} in the network and {source.shape[1:]} here: no reference fits"
                raise ProblemError(msg)
        else:
            judge = self.network.classifier if self.network is not None and job.alpha > 0 else None
            fit = fit_conv(source, study.examples, training, axes, judge)
        told = {**settings.to_json(), "losses": list(fit.losses), "normalisation": "squared error per image"}
        told["alpha_per_value"] = alpha_per_value(job.alpha, study.examples.units.values)
        made = self._decoder(job, fit.decoder.architecture.to_json(), fit.decoder.arrays, told)
        pictures = fit.pictures(source, study.examples, settings.device)
        return self._scored(job, made, pictures)

    def _decoder(
        self, job: Job, architecture: dict[str, Any], arrays: Mapping[str, Array], training: dict[str, Any]
    ) -> Decoder:
        return Decoder(
            job.layer,
            self.study.step,
            self.plan.method,
            job.role,
            job.alpha,
            job.seed,
            self.study.examples.units,
            architecture,
            arrays,
            training,
        )

    def _settings(self, job: Job) -> DecoderSettings:
        return replace(self.plan.settings, alpha=job.alpha, seed=job.seed)

    def _training(self, job: Job, digest: str) -> Any:
        """How a job's decoder or judge is trained, with the file that keeps its last epoch."""
        from solvers.decoders.by_torch.training import EpochFile, Training

        keep = None
        if self.parts is not None:
            keep = EpochFile(
                self.parts / f"{digest}.{job.doing}.epoch.h5", {"part": digest, "doing": job.doing}
            )
        return Training(self._settings(job), keep, lambda step: self.progress(job, step))

    def _scored(
        self, job: Job, decoder: Decoder, decode: Callable[[NDArray[np.int64]], NDArray[np.float64]]
    ) -> Decoder:
        """The decoder with what it made of the scored rows, and its scores."""
        rows = measure(decode, self.study.examples, self.study.scored, self._judges(job, decode))
        seen: dict[str, Array] = {name: values.astype(np.float64) for name, values in rows.items()}
        if decoder.role == REFERENCE:
            seen["pictures"] = _in_blocks(decode, self.study.scored)
        return replace(decoder, seen=seen, scores=scores_of(self._place(decoder), rows, self.groups))

    def _judges(self, job: Job, decode: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> Judges:
        if self.network is None:
            return Judges(means=self.means)
        from functools import partial

        from solvers.decoders.by_torch.classifier import answers
        from solvers.decoders.by_torch.fit import fit_evaluation

        device = self.plan.settings.device
        classifier = self.network.classifier
        evaluation = None
        if self.plan.evaluate:
            job = replace(job, doing="evaluation")
            training = self._training(job, self._digest(job))
            judge = fit_evaluation(self.network.make, classifier, decode, self.study.examples, training)
            evaluation = partial(answers, judge.log_odds, device=device)
        return Judges(partial(answers, classifier.log_odds, device=device), evaluation, self.means)

    def _place(self, decoder: Decoder) -> Place:
        study = self.study
        penalty = decoder.training.get("penalty")
        return Place(
            study.store,
            decoder.layer,
            decoder.step,
            study.target,
            "reference" if decoder.role == REFERENCE else "decoder",
            "ridge" if decoder.method == "linear" else "conv",
            decoder.part,
            math.nan if penalty is None else 1 / penalty,
            decoder.seed,
            study.split,
            str(decoder.training.get("status", "trained")),
        )

    def of_pictures(self) -> list[Score]:
        """Scores of the true pictures themselves: what the classifier makes of them, how smooth they are."""
        from solvers.decoders.by_torch.classifier import answers

        judges = Judges(means=self.means)
        if self.network is not None:
            classifier, device = self.network.classifier, self.plan.settings.device
            judges = replace(
                judges,
                classifier=lambda pictures, labels: answers(classifier.log_odds, pictures, labels, device),
            )
        rows = measure(self.study.examples.pictures, self.study.examples, self.study.scored, judges)
        rows = {name: values for name, values in rows.items() if name not in ("squared_error", "agreement")}
        rows.pop("squared_error_image")
        rows.pop("nearer_to_class_mean", None)
        study = self.study
        place = Place(
            study.store, "input", study.step, study.target, "input", "", "", math.nan, 0, study.split, ""
        )
        mean = mean_picture(study.examples)
        constant = measure(
            lambda wanted: np.broadcast_to(mean, (len(wanted), *mean.shape)),
            study.examples,
            study.scored,
            Judges(),
        )
        errors = {name: constant[name] for name in ("squared_error", "squared_error_image")}
        found = scores_of(place, rows, self.groups)
        return [*found, *scores_of(replace(place, kind=MEAN_PICTURE), errors, self.groups)]

    def less_reference(self, decoders: Sequence[Decoder]) -> list[Score]:
        """Paired scores: a decoder's less those of the reference of its layer and seed, row by row."""
        references = {(each.layer, each.seed): each for each in decoders if each.role == REFERENCE}
        found: list[Score] = []
        for each in decoders:
            other = references.get((each.layer, each.seed))
            if each.role == LAYER and other is not None:
                rows = {
                    name: np.asarray(values) - np.asarray(other.seen[name])
                    for name, values in each.seen.items()
                    if name in other.seen and name != "pictures"
                }
                found += scores_of(replace(self._place(each), kind=LESS_REFERENCE), rows, self.groups)
        return found


def _in_blocks(
    decode: Callable[[NDArray[np.int64]], NDArray[np.float64]], rows: NDArray[np.int64]
) -> NDArray[np.float16]:
    blocks = [decode(rows[start : start + 256]).astype(np.float16) for start in range(0, len(rows), 256)]
    return np.concatenate(blocks)


def _hash(values: Any) -> str:
    return "" if values is None else hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
