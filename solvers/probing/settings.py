"""What every layer of one call is fitted with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.settings import FitSettings

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
    try:
        given = tuple(float(value) for value in np.atleast_1d(np.asarray(C, dtype=np.float64)))
    except (TypeError, ValueError):
        msg = f"C is {C!r}; expected a positive number (the inverse of the penalty's strength), or several"
        raise ProblemError(msg) from None
    if not given:
        msg = "C is an empty list; give one penalty or several, or leave it out for 1e-4 to 1e4"
        raise ProblemError(msg)
    return given
