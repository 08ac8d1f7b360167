"""The mean over classes of the share of their rows that is right; scikit-learn's ``balanced_accuracy_score``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import SumsMetric, mean_of_known, ratio
from solvers.scoring.positives import smallest_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "BalancedAccuracy"]


class BalancedAccuracy(SumsMetric):
    """The mean is over the classes that have rows. One that training had none of counts, with 0."""

    name = "balanced_accuracy"

    def columns(self, answers: Answers) -> NDArray[np.float64]:
        """Return for each class which rows are its own, and then which of them are right."""
        own = answers.truth[:, None] == np.unique(answers.truth)
        return np.column_stack([own, own & answers.right[:, None]]).astype(np.float64)

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean over the classes that have weight."""
        rows, right = np.split(sums, 2, axis=-1)
        return mean_of_known(ratio(right, rows))

    def limiting(self, answers: Answers) -> NDArray[np.bool_]:
        """Return the rows of the smallest class."""
        return smallest_class(answers)


METRIC = BalancedAccuracy()
