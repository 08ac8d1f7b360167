"""The mean over classes of F1 = 2 TP / (2 TP + FP + FN); scikit-learn's ``f1_score(average="macro")``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import SumsMetric, mean_of_known, ratio
from solvers.scoring.positives import smallest_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "F1Macro"]


class F1Macro(SumsMetric):
    """The mean is over the classes that are true or predicted of a row, unseen ones, whose F1 is 0, among them."""

    name = "f1_macro"

    def columns(self, answers: Answers) -> NDArray[np.float64]:
        """Return for each class which rows are truly of it and said to be, and how often it is one of the two."""
        classes = np.unique(np.concatenate([answers.truth, answers.predicted]))
        true, said = (codes[:, None] == classes for codes in (answers.truth, answers.predicted))
        return np.column_stack([true & said, true.astype(np.float64) + said])

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean over the classes that have weight."""
        both, either = np.split(sums, 2, axis=-1)
        return mean_of_known(ratio(2 * both, either))

    def limiting(self, answers: Answers) -> NDArray[np.bool_]:
        """Return the rows of the smallest class."""
        return smallest_class(answers)


METRIC = F1Macro()
