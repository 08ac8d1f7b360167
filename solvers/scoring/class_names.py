"""Classes as texts: how parts of a score, messages and options name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from solvers.scoring.predictions import Predictions

__all__ = ["class_name", "class_names"]


def class_names(predictions: Predictions) -> list[str]:
    """Return the name of each class by its code; codes beyond ``classes`` are called ``(unseen)``."""
    most = int(np.max(predictions.truth, initial=0)) + 1
    names = [class_name(each) for each in predictions.classes.tolist()]
    return names + ["(unseen)"] * max(0, most - len(names))


def class_name(label: object) -> str:
    """Return a label as text, bytes as Latin-1."""
    return label.decode("latin-1") if isinstance(label, bytes) else str(label)
