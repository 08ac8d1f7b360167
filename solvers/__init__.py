"""Certified linear probes: softmax regression on wide activations, fitted to a proven optimum.

Every fit carries an upper bound on how far its loss is from the optimum, whichever engine found it.
Importing this package loads no optional dependency; names are resolved when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solvers.certifying import certify
    from solvers.errors import EngineError, ProbeFileError, ProblemError, SolverError
    from solvers.estimators.logistic_probe import LogisticProbe
    from solvers.estimators.logistic_probe_path import LogisticProbePath
    from solvers.fitting.fit import fit
    from solvers.fitting.result import Fit, FitProgress, Path, Status
    from solvers.probing.fit_layers import fit_layers
    from solvers.probing.probe_file import Probe, Probes, evaluate, load
    from solvers.rows import Columns, Concat, Rows

_HOME = {
    "Columns": "solvers.rows",
    "Concat": "solvers.rows",
    "EngineError": "solvers.errors",
    "Fit": "solvers.fitting.result",
    "FitProgress": "solvers.fitting.result",
    "LogisticProbe": "solvers.estimators.logistic_probe",
    "LogisticProbePath": "solvers.estimators.logistic_probe_path",
    "Path": "solvers.fitting.result",
    "Probe": "solvers.probing.probe_file",
    "ProbeFileError": "solvers.errors",
    "Probes": "solvers.probing.probe_file",
    "ProblemError": "solvers.errors",
    "Rows": "solvers.rows",
    "SolverError": "solvers.errors",
    "Status": "solvers.fitting.result",
    "certify": "solvers.certifying",
    "evaluate": "solvers.probing.probe_file",
    "fit": "solvers.fitting.fit",
    "fit_layers": "solvers.probing.fit_layers",
    "load": "solvers.probing.probe_file",
}

__all__ = [
    "Columns",
    "Concat",
    "EngineError",
    "Fit",
    "FitProgress",
    "LogisticProbe",
    "LogisticProbePath",
    "Path",
    "Probe",
    "ProbeFileError",
    "Probes",
    "ProblemError",
    "Rows",
    "SolverError",
    "Status",
    "certify",
    "evaluate",
    "fit",
    "fit_layers",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module 'solvers' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
