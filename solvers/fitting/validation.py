"""Rows to choose C by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.labels import UNSEEN, place_labels, read_labels
from solvers.problem.moments import not_finite
from solvers.rows import as_source, blocks, flat_width
from solvers.scoring.split_score import row_nats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from solvers.problem.problem import Problem
    from solvers.rows import RowSource

__all__ = ["Validation"]

_BLOCK_ELEMENTS = 1 << 20  # of a block of rows, and of its logits: 8 MB in float64, and a few copies


@dataclass(frozen=True)
class Validation:
    """Rows to choose C by: those whose label is a class of the problem."""

    source: RowSource
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, activations: RowSource | ArrayLike, labels: ArrayLike, problem: Problem) -> Validation:
        """Match validation rows to a problem; rows without a label, or of a class it never saw, do not count.

        Raises:
            ProblemError: another width, another number of labels, or no row that counts.
        """
        source = as_source(activations)
        if flat_width(source) != problem.width:
            msg = f"validation rows have {flat_width(source):,} features; expected {problem.width:,}, as in training"
            raise ProblemError(msg)
        values, missing = read_labels(labels)
        if values.shape != source.shape[:1]:
            given = f"validation labels have shape {values.shape} for {source.shape[0]:,} rows"
            msg = f"{given}; expected one label per row"
            raise ProblemError(msg)
        codes = np.full(len(values), UNSEEN)
        codes[~missing] = place_labels(values[~missing], problem.classes)
        if not np.any(codes >= 0):
            msg = "no validation row has a label that occurs in training, so C cannot be chosen by them"
            raise ProblemError(msg)
        return cls(source, codes)

    def cross_entropy(self, problem: Problem, coefficients: NDArray[np.float64]) -> float:
        """Mean cross-entropy (nats) of coefficients (classes, width + 1) in scaled coordinates.

        Raises:
            ProblemError: activations that are not finite.
        """
        weights = (coefficients[:, :-1] / problem.scale).T
        total, bad = 0.0, 0
        for rows, block in blocks(self.source, max(1, _BLOCK_ELEMENTS // max(1, *weights.shape))):
            index = np.flatnonzero(self.codes[rows] >= 0)
            codes, used = self.codes[rows][index], block[index]
            bad += not_finite(used)
            if not bad:
                z = (used - problem.mean) @ weights + coefficients[:, -1]
                total += float(np.sum(row_nats(z, codes)))
        if bad:
            msg = f"{bad:,} validation rows hold NaN or infinite activations; expected finite numbers: leave those out"
            raise ProblemError(msg)
        return total / np.count_nonzero(self.codes >= 0)
