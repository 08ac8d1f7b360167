"""What goes wrong in a fit, in one line each: what was given, what is needed, what to do."""

from __future__ import annotations

__all__ = ["EngineError", "FigureError", "ProbeFileError", "ProblemError", "SolverError", "UnknownNameError"]


class SolverError(Exception):
    """The family of every error that ``solvers`` raises on purpose."""


class ProblemError(SolverError, ValueError):
    """The rows, labels, weights or settings do not make a problem that can be fitted.

    A ValueError too, which is what scikit-learn's tools expect of an estimator that refuses its input.
    """


class UnknownNameError(SolverError, KeyError):
    """A probe, a split or a class that is not there. A KeyError too, so that ``get`` and ``in`` work."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class EngineError(SolverError):
    """An engine asked for by name is unknown, or does not work on this machine."""


class ProbeFileError(SolverError):
    """A file of probes is missing, damaged, or in the way."""


class FigureError(SolverError):
    """A figure cannot be drawn: nothing to draw, an unknown kind of file, or a package that is missing."""
