"""The mean over rows of −log of the probability of the true class, in nats; scikit-learn's ``log_loss``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import MeanMetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "CrossEntropy"]


class CrossEntropy(MeanMetric):
    """Rows of a class that training had none of are left out: over them it is infinite."""

    name = "cross_entropy"
    unit = "nats"
    higher_is_better = False
    highest = np.inf

    def of_rows(self, answers: Answers) -> NDArray[np.float64]:
        """Return the nats of each row, NaN where its class is unseen."""
        return np.where(answers.seen, answers.nats, np.nan)


METRIC = CrossEntropy()
