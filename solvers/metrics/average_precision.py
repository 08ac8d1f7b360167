"""The mean precision over the positive rows, in the order of their scores; ``average_precision_score``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import Ranked, RankMetric, ratio
from solvers.scoring.positives import against_the_rest, smallest_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "AveragePrecision"]


class AveragePrecision(RankMetric):
    """Rows of one score are one step. Of more than two classes: each against the rest, and their mean."""

    name = "average_precision"
    needs_logits = True

    def ranked(self, answers: Answers) -> Sequence[Ranked]:
        """Return the steps of each class that has rows and is not all there is."""
        return [_Steps(answers.odds(code), answers.truth == code) for code in against_the_rest(answers)]

    def limiting(self, answers: Answers) -> NDArray[np.bool_]:
        """Return the rows of the smallest side of a pair."""
        return smallest_side(answers)


class _Steps(Ranked):
    """Rows from the highest score down."""

    def __init__(self, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> None:
        self.rows = np.argsort(-scores, kind="stable")
        self._positive = positive[self.rows]
        ordered = scores[self.rows]
        self._ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))

    def of(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the mean precision of each draw; NaN where it has no positive row."""
        found = np.cumsum(weights * self._positive, axis=1, dtype=np.float64)[:, self._ends]
        shown = np.cumsum(weights, axis=1, dtype=np.float64)[:, self._ends]
        gained = np.diff(found, axis=1, prepend=0.0)
        precision = np.divide(found, shown, out=np.zeros_like(found), where=shown > 0)
        return ratio((gained * precision).sum(axis=1), found[:, -1])


METRIC = AveragePrecision()
