"""The proof of a probe that someone else found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.arrays import NUMPY
from solvers.errors import ProblemError
from solvers.problem.problem import check_strength, pose
from solvers.proof.certificate import Certifier, Claim

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from solvers.arrays import Array
    from solvers.proof.certificate import Certificate
    from solvers.rows import RowSource

__all__ = ["certify"]


def certify(
    activations: RowSource | ArrayLike,
    labels: ArrayLike,
    weights: Array,
    bias: Array,
    *,
    C: float = 1.0,
    sample_weight: ArrayLike | None = None,
    scale: bool = False,
) -> Certificate:
    """Bound how far a probe of anyone's is from the optimum of :func:`solvers.fit`'s objective.

    Args:
        activations: as :func:`solvers.fit` takes them; so are ``labels``, ``C``, ``sample_weight`` and ``scale``.
        labels: (rows,).
        weights: (width, classes), for raw activations, classes in sorted order. Of scikit-learn's one vector v for two
            classes they are (-v/2, v/2).
        bias: (classes,).
        C: of the penalty.
        sample_weight: (rows,).
        scale: whether the penalty is taken in columns of unit standard deviation.

    Returns:
        The :class:`Certificate`, at the best intercept for these weights.

    Raises:
        ProblemError: as :func:`solvers.fit` does, and where the weights do not fit the rows and classes.
    """
    problem = pose(activations, labels, sample_weight, scale=scale)
    expected = (problem.width, len(problem.classes))
    if np.shape(weights) != expected or np.shape(bias) != expected[1:]:
        msg = f"weights {np.shape(weights)} and bias {np.shape(bias)}; expected {expected} and {expected[1:]}"
        raise ProblemError(msg)
    (certificate,) = Certifier([problem], NUMPY).certify(
        [Claim(0, problem.coefficients(weights, bias), check_strength(C))]
    )
    return certificate
