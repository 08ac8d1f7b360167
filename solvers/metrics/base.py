"""What a metric is: a number of predictions, what it needs of them, and the same number over resampled rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from solvers.scoring.predictions import MOST_LOGITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers
    from solvers.scoring.units import Units

__all__ = ["MeanMetric", "Metric", "Part", "RankMetric", "SumsMetric", "mean_of_known", "ratio"]


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a metric: the share of the rows ``of`` that ``hit``. Both are (rows,) bool."""

    name: str
    of: NDArray[np.bool_]
    hit: NDArray[np.bool_]


class Metric(ABC):
    """A number of predictions. A subclass says what it is in the attributes, and how it is worked out."""

    name: ClassVar[str]
    """What it is called, by scikit-learn's name where it has one."""
    unit: ClassVar[str] = "share"
    higher_is_better: ClassVar[bool] = True
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = 1.0
    """The range of its values, which no interval leaves."""
    mean: ClassVar[bool] = False
    """Whether it is a mean over rows, so that two probes may be compared by flipping signs of rows."""
    rate: ClassVar[bool] = False
    """Whether it is a mean of zeros and ones."""
    needs_logits: ClassVar[bool] = False
    needs_positive: ClassVar[bool] = False
    """Whether it is of one class against the rest, and has no mean over classes."""
    resampled: ClassVar[bool] = True
    """Whether resampled rows show how far it may be off; not where it is biased by being of few rows."""
    only_parts: ClassVar[bool] = False
    """Whether it has parts alone, and no number of all rows."""

    def refusal(self, answers: Answers) -> str:
        """Return why there is no such number of these answers, in one line; "" where there is."""
        if self.needs_logits and answers.predictions.logits is None:
            return (
                f"{self.name} needs the logits, which are kept up to {MOST_LOGITS} classes, but the probe has "
                f"{answers.outputs:,}; choose accuracy, top5_accuracy, error, cross_entropy or ece_15"
            )
        if self.needs_positive and answers.positive is None:
            return (
                f"{self.name} is of one class against the rest, but the probe has {answers.outputs:,} classes; "
                "name the positive one with --positive, in Python positive="
            )
        return ""

    @abstractmethod
    def value(self, answers: Answers, weights: NDArray[Any] | None = None) -> float:
        """Return the number over rows of these weights (rows,), all 1 by default; NaN where there is none."""

    @abstractmethod
    def drawn(self, answers: Answers, units: Units) -> NDArray[np.float64]:
        """Return the number over the rows of every draw, (draws,)."""

    def limiting(self, answers: Answers) -> NDArray[np.bool_]:
        """Return the rows (rows,) that limit what is known at an end of the range: all by default."""
        return np.ones(len(answers), dtype=bool)

    def of_rows(self, answers: Answers) -> NDArray[np.float64]:
        """Return what a mean is over, (rows,); NaN for a row that is left out."""
        msg = f"{self.name} is no mean over rows"
        raise NotImplementedError(msg)

    def hits(self, answers: Answers) -> NDArray[np.bool_]:
        """Return which rows a rate counts, (rows,)."""
        msg = f"{self.name} is no rate, so it counts no rows"
        raise NotImplementedError(msg)

    def pairs(self, answers: Answers) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return of each row of two sides how much of the other it stands right to, where the number is their mean."""
        return None

    def parts(self, answers: Answers) -> Sequence[Part]:
        """Return its parts: by class, by true and predicted class, by bin."""
        return ()


class SumsMetric(Metric):
    """A function of weighted sums over rows, so that all draws of a bootstrap are one matrix product."""

    @abstractmethod
    def columns(self, answers: Answers) -> NDArray[np.float64]:
        """Return what is summed, (rows, columns)."""

    @abstractmethod
    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the number (...) of the weighted sums (..., columns)."""

    def value(self, answers: Answers, weights: NDArray[Any] | None = None) -> float:
        """Return the number over rows of these weights (rows,); NaN where there is none."""
        columns = self.columns(answers)
        sums = columns.sum(axis=0) if weights is None else np.asarray(weights, dtype=np.float64) @ columns
        return float(self.of_sums(sums))

    def drawn(self, answers: Answers, units: Units) -> NDArray[np.float64]:
        """Return the number over the rows of every draw, (draws,)."""
        return self.of_sums(units.products(self.columns(answers)))


class MeanMetric(SumsMetric):
    """A mean over rows."""

    mean = True

    @abstractmethod
    def of_rows(self, answers: Answers) -> NDArray[np.float64]:
        """Return what the mean is over, (rows,); NaN for a row that is left out."""

    def hits(self, answers: Answers) -> NDArray[np.bool_]:
        """Return which rows a rate counts, (rows,)."""
        return self.of_rows(answers) > 0

    def columns(self, answers: Answers) -> NDArray[np.float64]:
        """Return which rows count, and their values, (rows, 2)."""
        values = self.of_rows(answers)
        counted = ~np.isnan(values)
        return np.column_stack([np.where(counted, values, 0.0), counted])

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean."""
        return ratio(sums[..., 0], sums[..., 1])


class RankMetric(Metric):
    """A number of the order of rows, which each draw has to go through."""

    @abstractmethod
    def ranked(self, answers: Answers) -> Sequence[Ranked]:
        """Return the orders whose mean it is, one for each class that is set against the rest."""

    def value(self, answers: Answers, weights: NDArray[Any] | None = None) -> float:
        """Return the number over rows of these weights (rows,); NaN where there is none."""
        weights = np.ones(len(answers)) if weights is None else np.asarray(weights, dtype=np.float64)
        found = [each.of(weights[None, each.rows]) for each in self.ranked(answers)]
        return float(mean_of_known(np.ravel(found)))

    def drawn(self, answers: Answers, units: Units) -> NDArray[np.float64]:
        """Return the number over the rows of every draw, (draws,)."""
        found = [
            np.concatenate([each.of(weights) for weights in units.row_weights(each.rows)])
            for each in self.ranked(answers)
        ]
        return mean_of_known(np.transpose(found)) if found else np.full(len(units.weights), np.nan)


class Ranked(ABC):
    """Rows in the order of a score, whose weights change from draw to draw."""

    rows: NDArray[np.int64]
    """Which rows, in the order that ``of`` has their weights in."""

    @abstractmethod
    def of(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the number of each draw, (draws,), of the weights (draws, rows); NaN where there is none."""


def ratio(part: NDArray[np.floating], whole: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return part / whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean along the last axis of what is not NaN; NaN where all is."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))
