"""The share of rows whose true class is among the five likeliest; scikit-learn's ``top_k_accuracy_score``, k = 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import MeanMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "Top5Accuracy"]


class Top5Accuracy(MeanMetric):
    """Rows of a class that training had none of count as wrong; of a tie, the class of the lower code is likelier."""

    name = "top5_accuracy"
    rate = True

    def refusal(self, answers: Answers) -> str:
        """Return that it says nothing of five classes or fewer; "" otherwise."""
        if answers.outputs > 5:
            return ""
        return f"top5_accuracy of {answers.outputs} classes is 1 whatever a probe says; choose accuracy"

    def of_rows(self, answers: Answers) -> NDArray[np.float64]:
        """Return 1 for a row whose true class is among the five likeliest, else 0."""
        return (answers.seen & (answers.rank < 5)).astype(np.float64)


METRIC = Top5Accuracy()
