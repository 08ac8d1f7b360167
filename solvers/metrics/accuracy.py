"""The share of rows whose likeliest class is the true one; scikit-learn's ``accuracy_score``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import MeanMetric, Part
from solvers.scoring.class_names import class_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "Accuracy"]


class Accuracy(MeanMetric):
    """Rows of a class that training had none of count as wrong. Its parts are the classes: the recall of each."""

    name = "accuracy"
    rate = True

    def of_rows(self, answers: Answers) -> NDArray[np.float64]:
        """Return 1 for a row that is right, 0 for one that is wrong."""
        return answers.right.astype(np.float64)

    def parts(self, answers: Answers) -> Sequence[Part]:
        """Return a part for each class that has a row."""
        names = class_names(answers.predictions)
        return [
            Part(names[code], answers.truth == code, answers.right)
            for code in np.unique(answers.truth).tolist()
        ]


METRIC = Accuracy()
