"""What the rows of each class are taken for: the share of its rows that each class is predicted of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.metrics.base import Part
from solvers.metrics.error import Error
from solvers.scoring.class_names import class_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.scoring.answers import Answers

__all__ = ["METRIC", "Confusion"]

_FULL = 32
"""Up to so many classes the pairs without a row are parts, too."""


class Confusion(Error):  # noqa: N818 - no exception, but a metric
    """Has parts alone, ``true>predicted``: what stands in one row of a confusion matrix adds up to 1.

    The rows of a part are those of the true class, so that value times rows is the count.
    """

    name = "confusion"
    only_parts = True

    def parts(self, answers: Answers) -> Sequence[Part]:
        """Return a part for each class that has a row and each class that is predicted; of many, pairs that occur."""
        names = class_names(answers.predictions)
        found = []
        for true in np.unique(answers.truth).tolist():
            own = answers.truth == true
            said = np.unique(answers.predicted[own])
            codes = range(answers.outputs) if answers.outputs <= _FULL else said.tolist()
            found += [Part(f"{names[true]}>{names[code]}", own, answers.predicted == code) for code in codes]
        return found


METRIC = Confusion()
