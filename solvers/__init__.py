"""Certified linear probes: softmax regression on wide activations, fitted to a proven optimum.

Every fit carries an upper bound on how far its loss is from the optimum, whichever engine found it.
Importing this package loads no optional dependency; names are resolved when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.errors import (
        EngineError,
        FigureError,
        ProbeFileError,
        ProblemError,
        SolverError,
        UnknownNameError,
    )
    from solvers.estimators.logistic_probe import LogisticProbe
    from solvers.estimators.logistic_probe_path import LogisticProbePath
    from solvers.fitting.fit import fit
    from solvers.fitting.result import Fit, FitInterrupted, FitPath, FitProgress, Status
    from solvers.fitting.settings import FitSettings
    from solvers.probing.evaluate import evaluate
    from solvers.probing.fit_layers import fit_layers
    from solvers.probing.probe import Probe
    from solvers.probing.probe_file import load
    from solvers.probing.probes import Probes
    from solvers.probing.scores.over_runs import compare_over_runs
    from solvers.proof.certifying import certify
    from solvers.rows import Columns, Concat, ConcatFeatures, ConcatRows, Project, Rows
    from solvers.scoring.predictions import Predictions
    from solvers.scoring.runs import over_runs
    from solvers.scoring.spread import Spread, spread_over_seeds

__version__: str
"""Of the package ``actstore``, which this one belongs to, as it is installed."""

_HOME = {
    "Columns": "solvers.rows",
    "Concat": "solvers.rows",
    "ConcatFeatures": "solvers.rows",
    "ConcatRows": "solvers.rows",
    "EngineError": "solvers.errors",
    "FigureError": "solvers.errors",
    "Fit": "solvers.fitting.result",
    "FitInterrupted": "solvers.fitting.result",
    "FitProgress": "solvers.fitting.result",
    "FitSettings": "solvers.fitting.settings",
    "LogisticProbe": "solvers.estimators.logistic_probe",
    "LogisticProbePath": "solvers.estimators.logistic_probe_path",
    "FitPath": "solvers.fitting.result",
    "Predictions": "solvers.scoring.predictions",
    "Probe": "solvers.probing.probe",
    "ProbeFileError": "solvers.errors",
    "Probes": "solvers.probing.probes",
    "ProblemError": "solvers.errors",
    "Project": "solvers.rows",
    "Rows": "solvers.rows",
    "SolverError": "solvers.errors",
    "Spread": "solvers.scoring.spread",
    "Status": "solvers.fitting.result",
    "UnknownNameError": "solvers.errors",
    "certify": "solvers.proof.certifying",
    "evaluate": "solvers.probing.evaluate",
    "fit": "solvers.fitting.fit",
    "fit_layers": "solvers.probing.fit_layers",
    "load": "solvers.probing.probe_file",
    "compare_over_runs": "solvers.probing.scores.over_runs",
    "over_runs": "solvers.scoring.runs",
    "spread_over_seeds": "solvers.scoring.spread",
}

__all__ = [
    "Columns",
    "Concat",
    "ConcatFeatures",
    "ConcatRows",
    "EngineError",
    "FigureError",
    "Fit",
    "FitInterrupted",
    "FitPath",
    "FitProgress",
    "FitSettings",
    "LogisticProbe",
    "LogisticProbePath",
    "Predictions",
    "Probe",
    "ProbeFileError",
    "Probes",
    "ProblemError",
    "Project",
    "Rows",
    "SolverError",
    "Spread",
    "Status",
    "UnknownNameError",
    "certify",
    "compare_over_runs",
    "evaluate",
    "fit",
    "fit_layers",
    "load",
    "over_runs",
    "spread_over_seeds",
]


_FORMER = {"Path": "FitPath"}  # names before 0.2, still understood


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("actstore")
    name = _FORMER.get(name, name)
    if name not in _HOME:
        from difflib import get_close_matches

        near = get_close_matches(name, _HOME, 1)
        msg = f"module 'solvers' has no attribute {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        raise AttributeError(msg)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
