"""A fitted probe on other rows of its layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.given import refuse_other_rows
from solvers.labels import place_labels, plain_labels
from solvers.rows import Rows, as_source
from solvers.scoring.split_score import SplitScore, score

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from solvers.probing.probe import Probe
    from solvers.rows import RowSource

__all__ = ["evaluate"]


def evaluate(probe: Probe, source: RowSource | ArrayLike, labels: ArrayLike) -> SplitScore:
    """Score a fitted probe on other rows of its layer; rows without a label (masked) are skipped.

    Raises:
        ProblemError: when the rows have other features, there are not as many labels as rows, no row has a
            label, the labels are of another kind than the probe's classes, or activations are NaN or infinite.
    """
    refuse_other_rows(source, {f"the labels of target {probe.target!r}": labels})
    source = as_source(source)
    values, missing = plain_labels(labels, probe.target)
    if values.shape != source.shape[:1]:
        msg = f"there are {source.shape[0]:,} rows but {len(values):,} labels; give one label per row"
        raise ProblemError(msg)
    labelled = np.flatnonzero(~missing)
    if not len(labelled):
        msg = (
            f"none of the {source.shape[0]:,} rows has a label for {probe.target!r}; give labels to evaluate on"
        )
        raise ProblemError(msg)
    codes = place_labels(values[labelled], probe.classes)
    result = score(probe.features(Rows(source, labelled)), codes, probe.used)
    if result.nonfinite:
        msg = (
            f"{result.nonfinite:,} of {result.rows:,} rows of layer {probe.layer!r} hold NaN or infinite "
            "values; leave those rows out, or dump them in a wider dtype"
        )
        raise ProblemError(msg)
    return result
