"""Predictions: what one probe said of the rows of one target and split. Every metric is a function of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from solvers.arrays import Array

__all__ = ["MOST_LOGITS", "Predictions"]

MOST_LOGITS = 32
"""Up to so many classes the logits of a row are kept; beyond, four numbers."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one probe said of scored rows, and what is true of them.

    Either ``logits`` is there (up to ``MOST_LOGITS`` outputs) or the four arrays behind it are.

    Args:
        classes: (classes,) labels: first the probe's, in the order of its outputs, then those that training had none
            of.
        outputs: how many of ``classes`` the probe knows.
        truth: (rows,) int, the code in ``classes`` of each row; ``outputs`` or more where its class is unseen.
        index: (rows,) int64, the place of each row in the store, ascending.
        group: (rows,) int64, equal for rows that belong together; None without groups.
        logits: (rows, outputs) float32, natural logarithms up to a constant a row.
        predicted: (rows,) int, the code of the likeliest class, the lower one in a tie.
        rank: (rows,) int, how many classes are likelier than the truth; ``outputs`` where it is unseen.
        nats: (rows,) float32, −log of the probability of the truth; infinite where it is unseen.
        confidence: (rows,) float32, the probability of the likeliest class.
        temperature: what logits are divided by to be calibrated, fitted on ``val``; 1 where there was none.
    """

    classes: Array
    outputs: int
    truth: NDArray[np.integer]
    index: NDArray[np.int64]
    group: NDArray[np.int64] | None = None
    logits: NDArray[np.float32] | None = None
    predicted: NDArray[np.integer] | None = None
    rank: NDArray[np.integer] | None = None
    nats: NDArray[np.float32] | None = None
    confidence: NDArray[np.float32] | None = None
    temperature: float = 1.0

    def __len__(self) -> int:
        return len(self.truth)
