"""One check of any metric, ours or another package's: what it says of itself holds on random predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.scoring.answers import Answers
from solvers.scoring.predictions import Predictions
from solvers.scoring.units import Units

if TYPE_CHECKING:
    from solvers.metrics.base import Metric

__all__ = ["check_metric", "random_predictions"]

_TOLERANCE = 1e-5
"""Draws are worked out in single precision, of numbers of order one."""


def check_metric(metric: Metric, seed: int = 0) -> None:
    """Check a metric, and raise AssertionError that names the first promise that is broken.

    It must be in its range; NaN without rows; the same whatever the order of the rows, and where a row of weight 2 is
    there twice; the draws of a bootstrap must be its values over the rows of each draw; the shares of its parts must be
    of rows that are there.
    """
    for classes in (2, 7):
        rows = Answers.of(random_predictions(2_400, classes, seed), positive=1 if classes > 2 else None)
        if not metric.only_parts:
            _check_number(metric, rows, np.random.default_rng(seed))
        _check_parts(metric, rows)
    wide = Answers.of(random_predictions(1_200, 40, seed), positive=1)
    _promise(
        metric.needs_logits == bool(metric.refusal(wide)), metric, "it refuses where it needs logits, only then"
    )


def random_predictions(rows: int, classes: int, seed: int = 0, group: bool = False) -> Predictions:
    """Return predictions of a probe that is right more often than not; above 32 classes without logits."""
    generator = np.random.default_rng([seed, rows, classes])
    truth = generator.integers(0, classes, rows)
    logits = generator.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[truth]
    groups = np.sort(generator.integers(0, max(1, rows // 4), rows)) if group else None
    said = Predictions(np.arange(classes), classes, truth, np.arange(rows), groups, logits.astype(np.float32))
    if classes <= 32:
        return said
    answers = Answers(said)
    return Predictions(
        said.classes,
        classes,
        truth,
        said.index,
        groups,
        predicted=answers.predicted,
        rank=answers.rank,
        nats=answers.nats.astype(np.float32),
        confidence=answers.confidence.astype(np.float32),
    )


def _check_number(metric: Metric, answers: Answers, generator: np.random.Generator) -> None:
    value = metric.value(answers)
    _promise(metric.lowest <= value <= metric.highest, metric, f"its value {value} is in its range")
    _promise(
        np.isnan(metric.value(answers.only(np.zeros(len(answers), dtype=bool)))), metric, "no rows give NaN"
    )
    shuffled = answers.only(generator.permutation(len(answers)))
    _promise(np.isclose(metric.value(shuffled), value), metric, "the order of the rows does not matter")
    twice = generator.integers(1, 3, len(answers))
    repeated = answers.only(np.repeat(np.arange(len(answers)), twice))
    _promise(
        np.isclose(metric.value(answers, twice), metric.value(repeated)),
        metric,
        "weight 2 is a row there twice",
    )
    units = Units(len(answers), draws=8)
    drawn = [metric.value(answers, weights) for weights in units.weights]
    same = np.allclose(metric.drawn(answers, units), drawn, atol=_TOLERANCE, rtol=_TOLERANCE)
    _promise(same, metric, "the draws are its values over the rows drawn")
    if metric.rate:
        _promise(np.isclose(metric.hits(answers).mean(), value), metric, "a rate is the share of its hits")
    sides = metric.pairs(answers)
    if sides is not None:
        means = [side.mean() for side in sides]
        _promise(np.allclose(means, value), metric, "the mean of either side of its pairs is its value")


def _check_parts(metric: Metric, answers: Answers) -> None:
    parts = metric.parts(answers)
    _promise(len({part.name for part in parts}) == len(parts), metric, "no two parts have one name")
    _promise(all(part.of.any() for part in parts), metric, "every part has rows")
    _promise(bool(parts) or not metric.only_parts, metric, "it has parts or a number of all rows")


def _promise(kept: bool | np.bool_, metric: Metric, promise: str) -> None:
    if not kept:
        msg = f"metric {metric.name!r} breaks a promise: {promise}"
        raise AssertionError(msg)
