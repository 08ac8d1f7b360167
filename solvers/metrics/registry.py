"""Which metrics there are: a file of this folder each, and those of other packages (``actstore.metrics``)."""

from __future__ import annotations

import logging
import pkgutil
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np

import solvers.metrics as folder
from solvers.errors import ProblemError
from solvers.metrics.base import Metric

if TYPE_CHECKING:
    from solvers.scoring.answers import Answers

__all__ = ["default_names", "get", "names"]

_log = logging.getLogger("solvers")
_UNEVEN = 4
"""Where the largest class has more than so many times the rows of the smallest, balanced accuracy is shown, too."""


def names() -> list[str]:
    """Return the names of all metrics, ours first."""
    return list(_metrics())


def get(name: str) -> Metric:
    """Return the metric of a name.

    Raises:
        ProblemError: there is none; the message has the nearest.
    """
    if name not in _metrics():
        near = get_close_matches(name, names(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        msg = f"there is no metric {name!r}; expected one of {', '.join(names())}{hint}"
        raise ProblemError(msg)
    return _metrics()[name]


def default_names(answers: Answers) -> list[str]:
    """Return what is shown of these answers unless it is chosen."""
    shown = ["accuracy", "roc_auc", "error"] if answers.outputs == 2 else ["accuracy", "error", "cross_entropy"]
    counts = np.bincount(answers.truth[answers.seen])
    counts = counts[counts > 0]
    if len(counts) and counts.max() > _UNEVEN * counts.min():
        shown.append("balanced_accuracy")
    return shown


@cache
def _metrics() -> dict[str, Metric]:
    modules = [
        import_module(f"{folder.__name__}.{each.name}") for each in pkgutil.iter_modules(folder.__path__)
    ]
    inside = {module.METRIC.name: module.METRIC for module in modules if hasattr(module, "METRIC")}
    return inside | {metric.name: metric for metric in _of_other_packages() if metric.name not in inside}


def _of_other_packages() -> list[Any]:
    found = []
    for point in sorted(entry_points(group="actstore.metrics"), key=lambda point: point.name):
        try:
            metric = point.load()
        except Exception as error:  # noqa: BLE001 - another package's module, which may fail in any way; it is told
            why = f"it cannot be loaded ({type(error).__name__}: {error})"
        else:
            named = isinstance(getattr(metric, "name", None), str)
            why = (
                ""
                if isinstance(metric, Metric) and named
                else "it is no solvers.metrics.base.Metric with a name"
            )
        if why:
            _log.warning("metric %r of another package (%s) is left out: %s", point.name, point.value, why)
        else:
            found.append(metric)
    return found
