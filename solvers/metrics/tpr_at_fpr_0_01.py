"""The share of positive rows above the threshold that at most one negative row in a hundred is above."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import Ranked, RankMetric, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["FEWEST_ABOVE", "METRIC", "RATE", "TprAtFpr"]

RATE = 0.01
FEWEST_ABOVE = 10
"""Fewer negatives above the threshold than this do not tell where it lies, so there is no number."""


class TprAtFpr(RankMetric):
    """Of the negatives of a named split where there is one (the threshold is fixed then), else of the same rows.

    Empty where negatives times 0.01 is below 10. Negatives are all rows of other classes, unseen ones among them.
    """

    name = "tpr_at_fpr_0.01"
    needs_logits = True
    needs_positive = True

    def ranked(self, answers: Answers) -> Sequence[Ranked]:
        """Return the rows in their order, if there are enough."""
        others, code = answers.of_negatives(), answers.positive
        if code is None:
            return []
        negative = others.truth != code
        positive = np.flatnonzero(answers.truth == code)
        if np.sum(negative) * RATE < FEWEST_ABOVE or not len(positive):
            return []
        scores, against = answers.odds(code), others.odds(code)[negative]
        if answers.negatives is not None:
            return [_Above(positive, scores[positive] > _threshold(against))]
        return [_Order(scores, positive, np.flatnonzero(negative))]

    def limiting(self, answers: Answers) -> NDArray[np.bool_]:
        """Return the positive rows."""
        return answers.truth == answers.positive


def _threshold(negatives: NDArray[np.float64]) -> float:
    """Return the lowest score that at most the share ``RATE`` of the negatives is above."""
    above = int(np.floor(len(negatives) * RATE * (1 + 1e-12)))
    return float(np.sort(negatives)[len(negatives) - 1 - above])


class _Above(Ranked):
    """Positive rows, and which of them are above a threshold that is fixed."""

    def __init__(self, rows: NDArray[np.int64], above: NDArray[np.bool_]) -> None:
        self.rows, self._above = rows, above

    def of(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the share above of each draw."""
        return ratio((weights * self._above).sum(axis=1), weights.sum(axis=1))


class _Order(Ranked):
    """Positive rows, and negative ones from the highest score down, by whose weights the threshold moves."""

    def __init__(
        self, scores: NDArray[np.float64], positive: NDArray[np.int64], negative: NDArray[np.int64]
    ) -> None:
        negative = negative[np.argsort(-scores[negative], kind="stable")]
        positive = positive[np.argsort(-scores[positive], kind="stable")]
        self.rows = np.concatenate([negative, positive])
        self._negatives = len(negative)
        # of how many positive rows the score is above that of each negative row
        self._above = np.searchsorted(-scores[positive], -scores[negative], "left")

    def of(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the share of the positive rows above the threshold of each draw."""
        negative, positive = weights[:, : self._negatives], weights[:, self._negatives :]
        upto = np.cumsum(negative, axis=1, dtype=np.float64)
        allowed = upto[:, -1:] * RATE * (1 + 1e-12)
        # The threshold is the first negative row that would be one too many; what is tied with it is not above it.
        first = np.minimum((upto <= allowed).sum(axis=1), self._negatives - 1)
        found = np.zeros((len(weights), positive.shape[1] + 1))
        np.cumsum(positive, axis=1, out=found[:, 1:])
        return ratio(found[np.arange(len(weights)), self._above[first]], found[:, -1])


METRIC = TprAtFpr()
