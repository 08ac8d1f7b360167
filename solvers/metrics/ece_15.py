"""The expected calibration error: how far accuracy is from confidence, over 15 bins of equal width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import Part, SumsMetric, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["BINS", "METRIC", "Ece15", "bin_name", "bin_of"]

BINS = 15


class Ece15(SumsMetric):
    """The sum over bins of the confidence of the likeliest class of |rows that are right − their confidence| / rows.

    Bins are (0, 1/15], (1/15, 2/15], ..., (14/15, 1]. Nothing is divided by the temperature: it is the probe's own
    probabilities that are judged. It has no interval: chance alone makes it larger, and resampled rows more so. Its
    parts are the bins that have rows: the accuracy in each, called by its bounds.
    """

    name = "ece_15"
    higher_is_better = False
    resampled = False

    def columns(self, answers: Answers) -> NDArray[np.float64]:
        """Return for each bin that has rows how far each is from its confidence, and a column of ones."""
        where = bin_of(answers.confidence)
        beside = answers.right - answers.confidence
        own = where[:, None] == np.unique(where)
        return np.column_stack([np.where(own, beside[:, None], 0.0), np.ones(len(answers))])

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the bins' distances per row."""
        return ratio(np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1])

    def parts(self, answers: Answers) -> Sequence[Part]:
        """Return a part for each bin that has rows."""
        where = bin_of(answers.confidence)
        return [Part(bin_name(each), where == each, answers.right) for each in np.unique(where).tolist()]


def bin_of(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each confidence, from 0."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def bin_name(number: int) -> str:
    """Return the bounds of a bin, rounded."""
    return f"{number / BINS:.3f}-{(number + 1) / BINS:.3f}"


METRIC = Ece15()
