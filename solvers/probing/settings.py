"""What every layer of one call is fitted with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.settings import FitSettings
from solvers.problem.problem import read_strengths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LayerSettings", "penalties"]

C_GRID = tuple(np.logspace(-4, 4, 9))
"""The values of C that are tried when none are given."""


@dataclass(frozen=True, kw_only=True)
class LayerSettings(FitSettings):
    """The settings of a fit, its values of C, and what is kept with the probes, in the words of ``fit_layers``."""

    C: tuple[float, ...]
    step: int = 0
    fingerprint: str = ""
    command: str = ""

    def fit_options(self) -> dict[str, Any]:
        """Return what ``solvers.fit`` takes of them for one layer, whose random features are drawn already."""
        options = {each.name: getattr(self, each.name) for each in fields(FitSettings)}
        return options | {"random_features": None}


def penalties(C: float | Sequence[float] | NDArray[np.float64] | None) -> tuple[float, ...]:
    """Return the values of C to try; None tries 1e-4 to 1e4.

    Raises:
        ProblemError: not a number or several, or none of them.
    """
    if C is None:
        return C_GRID
    found = read_strengths(C)
    if found.ndim > 1:
        msg = f"C has shape {found.shape}; expected a positive number, or several in a row"
        raise ProblemError(msg)
    given = tuple(found.tolist())
    if not given:
        msg = "C is an empty list; give one penalty or several, or leave it out for 1e-4 to 1e4"
        raise ProblemError(msg)
    return given
