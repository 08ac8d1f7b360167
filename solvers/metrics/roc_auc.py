"""The share of pairs of a positive and a negative row whose positive one scores higher; ``roc_auc_score``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import Ranked, RankMetric, ratio
from solvers.scoring.positives import against_the_rest, smallest_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "RocAuc"]


class RocAuc(RankMetric):
    """A tied pair counts half. Of more than two classes: each against the rest, and the mean over those that have rows.

    A row of a class that training had none of belongs to the rest.
    """

    name = "roc_auc"
    needs_logits = True

    def ranked(self, answers: Answers) -> Sequence[Ranked]:
        """Return the pairs of each class that has rows and is not all there is."""
        found = []
        for code in against_the_rest(answers):
            scores, positive = answers.odds(code), answers.truth == code
            found.append(_Pairs(scores, np.flatnonzero(positive), np.flatnonzero(~positive)))
        return found

    def pairs(self, answers: Answers) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return the share of negatives that each positive is above, and of positives that each negative is below."""
        if answers.positive is None:
            return None
        scores, positive = answers.odds(answers.positive), answers.truth == answers.positive
        above, below = np.sort(scores[positive]), np.sort(scores[~positive])
        return _share_below(below, scores[positive]), 1 - _share_below(above, scores[~positive])

    def limiting(self, answers: Answers) -> NDArray[np.bool_]:
        """Return the rows of the smallest side of a pair."""
        return smallest_side(answers)


def _share_below(ordered: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of ordered scores below each of others, ties by half."""
    sides = [np.searchsorted(ordered, scores, side) for side in ("left", "right")]
    return (sides[0] + sides[1]) / (2 * len(ordered))


class _Pairs(Ranked):
    """Positive rows and, in the order of their scores, negative ones."""

    def __init__(
        self, scores: NDArray[np.float64], positive: NDArray[np.int64], negative: NDArray[np.int64]
    ) -> None:
        negative = negative[np.argsort(scores[negative], kind="stable")]
        self.rows = np.concatenate([negative, positive])
        self._negatives = len(negative)
        below = np.searchsorted(scores[negative], scores[positive], "left")
        upto = np.searchsorted(scores[negative], scores[positive], "right")
        self._places = [below] if np.array_equal(below, upto) else [below, upto]

    def of(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the share of the pairs of each draw; NaN where it has none."""
        negative, positive = weights[:, : self._negatives], weights[:, self._negatives :]
        below = np.zeros((len(weights), self._negatives + 1), dtype=weights.dtype)
        np.cumsum(negative, axis=1, out=below[:, 1:])
        pairs = sum(
            np.einsum("ij,ij->i", positive, np.take(below, places, axis=1)) for places in self._places
        ) / len(self._places)
        return ratio(pairs, below[:, -1].astype(np.float64) * positive.sum(axis=1))


METRIC = RocAuc()
