"""What each row weighs: its sample weight times the weight of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.given import numbers
from solvers.labels import encode

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array

__all__ = ["row_weights"]

_SHOWN_CLASSES = 5
"""Classes that a message names before it only counts them."""


def row_weights(
    labels: ArrayLike,
    class_weight: Mapping[Any, float] | str | None,
    sample_weight: ArrayLike | None = None,
) -> NDArray[np.float64] | None:
    """Weights s_i of rows, ``sample_weight`` times the weight of each row's class, as scikit-learn has them.

    "balanced" gives class k the weight ``S / (K S_k)``, S_k the sum of the sample weights of its rows, S of all S_k and
    K the number of classes with S_k > 0: all classes then weigh the same together, and S stays what it was.

    Args:
        labels: (rows,) of any type that sorts; rows without one (:mod:`solvers.labels`) weigh 0 and count nowhere.
        class_weight: None, "balanced", or weights by label; a class that is not named weighs 1.
        sample_weight: (rows,). Whether they are finite and not negative is for ``problem.pose`` to say.

    Returns:
        (rows,), or None where all rows weigh 1.

    Raises:
        ProblemError: a class weight that is negative, not finite, or of a label that no row has; labels that
            cannot be sorted; another number of sample weights than of labels.
    """
    if class_weight is None:
        return None if sample_weight is None else numbers(sample_weight)
    rows = np.size(labels)
    codes, classes = encode(labels, rows)
    weights = np.ones(rows) if sample_weight is None else numbers(sample_weight)
    if weights.shape != (rows,):
        msg = f"sample weights have shape {weights.shape} for {rows:,} rows; expected one weight per row"
        raise ProblemError(msg)
    if isinstance(class_weight, Mapping):
        by_class = _named(class_weight, classes)
    elif isinstance(class_weight, str) and class_weight == "balanced":
        known = codes >= 0
        by_class = _balanced(np.bincount(codes[known], weights[known], minlength=len(classes)))
    else:
        msg = f"class_weight is {class_weight!r}; expected None, 'balanced' or a dict from label to weight"
        raise ProblemError(msg)
    with np.errstate(over="ignore"):  # what overflows is for the problem to refuse
        return weights * np.append(by_class, 0.0)[codes]


def _balanced(sums: Array) -> NDArray[np.float64]:
    """Weights of classes (classes,) whose rows' sample weights have these sums.

    A class without weight stays without: rows of weight 0 are rows that are not there. Weights that are
    not finite come through unchanged, for the problem to count and refuse.
    """
    weighty = np.isfinite(sums) & (sums > 0)
    balanced = np.ones(len(sums))
    with np.errstate(over="ignore"):
        balanced[weighty] = sums[weighty].sum() / (np.count_nonzero(weighty) * sums[weighty])
    return balanced


def _named(class_weight: Mapping[Any, Any], classes: Array) -> NDArray[np.float64]:
    """Weights by label as weights of classes (classes,)."""
    place = {label: code for code, label in enumerate(classes.tolist())}
    by_class = np.ones(len(classes))
    for label, weight in class_weight.items():
        if label not in place:
            shown = ", ".join(repr(each) for each in list(place)[:_SHOWN_CLASSES])
            more = f" and {len(place) - _SHOWN_CLASSES:,} more" if len(place) > _SHOWN_CLASSES else ""
            msg = f"class_weight names {label!r}, which no row has as its label; expected some of {shown}{more}"
            raise ProblemError(msg)
        if not (
            isinstance(weight, int | float | np.integer | np.floating) and np.isfinite(weight) and weight >= 0
        ):
            msg = f"class {label!r} has the weight {weight}; expected a finite number of 0 or more"
            raise ProblemError(msg)
        by_class[place[label]] = weight
    return by_class
