"""The mean squared distance of the probabilities from the truth; scikit-learn's ``brier_score_loss``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import MeanMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "Brier"]


class Brier(MeanMetric):
    """Summed over the classes; of two, half of that, as scikit-learn has it: (p − y)² of either.

    A class that training had none of has probability 0, so its rows count as wrong.
    """

    name = "brier"
    unit = "squared_probability"
    higher_is_better = False
    highest = 2.0
    needs_logits = True

    def of_rows(self, answers: Answers) -> NDArray[np.float64]:
        """Return the squared distance of each row."""
        chances = answers.probabilities
        of_truth = np.where(
            answers.seen, chances[np.arange(len(answers)), np.where(answers.seen, answers.truth, 0)], 0.0
        )
        distance = (chances**2).sum(axis=1) - 2 * of_truth + 1
        return np.maximum(distance, 0.0) / (2 if answers.outputs == 2 else 1)


METRIC = Brier()
