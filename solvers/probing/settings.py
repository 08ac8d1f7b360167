"""What every layer of one call is fitted with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.selection import METRICS
from solvers.fitting.settings import FitSettings
from solvers.problem.problem import read_strengths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["TRAIN_ERRORS", "LayerSettings", "penalties"]

C_GRID = tuple(np.logspace(-4, 4, 9))
"""The values of C that are tried when none are given."""
TRAIN_ERRORS = "train"
"""The protocol of train errors at stated weak penalties, no rows set aside."""
WEAK_PENALTIES = (1.0, 1e3, 1e5)
"""The values of C of that protocol when none are given."""


@dataclass(frozen=True, kw_only=True)
class LayerSettings(FitSettings):
    """The settings of a fit, its values of C, and what is kept with the probes, in the words of ``fit_layers``.

    Raises:
        ProblemError: a value of another kind or out of range, or two that exclude each other.
    """

    C: tuple[float, ...]
    command: str = ""
    random_projection: int | None = None
    seeds: int = 1
    protocol: str | None = None
    one_C: bool = False  # noqa: N815 - C is the field's name for it
    select_by: str = "cross_entropy"
    score_path: tuple[str, ...] = ()
    predictions: bool | str = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for problem in (self._of_draws(), self._of_choice(), self._of_predictions()):
            if problem:
                raise ProblemError(problem)

    def _of_draws(self) -> str | None:
        if self.random_projection is not None and not _at_least_one(self.random_projection):
            return (
                f"random_projection is {self.random_projection!r}; expected a number of directions, 1 or more"
            )
        if not _at_least_one(self.seeds):
            return f"seeds is {self.seeds!r}; expected a number of draws, 1 or more"
        if self.random_projection is not None and self.feature_subset is not None:
            return "feature_subset and random_projection were both given; give one: columns that are there, or new ones"
        if self.seeds > 1 and self.random_projection is None and self.feature_subset is None:
            return (
                f"seeds is {self.seeds}, but nothing is drawn: every seed would give the same probe; give "
                "feature_subset or random_projection (--feature-subset, --random-projection) too"
            )
        return None

    def _of_choice(self) -> str | None:
        if self.select_by not in METRICS:
            return f"select_by is {self.select_by!r}; expected {', '.join(METRICS)}"
        if self.one_C not in (True, False):
            return f"one_C is {self.one_C!r}; expected True or False"
        if self.protocol not in (None, TRAIN_ERRORS):
            return f"protocol is {self.protocol!r}; expected {TRAIN_ERRORS!r}, or none"
        chooses = len(self.C) > 1 and self.protocol is None
        if not chooses and self.select_by != "cross_entropy":
            return "select_by is for choosing C, but there is none to choose; give several C, or leave it out"
        if self.protocol is not None and self.one_C:
            return "the protocol 'train' chooses no C, so one_C says nothing; leave one of them out"
        return None

    def _of_predictions(self) -> str | None:
        if self.predictions not in (True, False, "all"):
            return (
                f"predictions is {self.predictions!r}; expected True, False, or 'all' for those of train, too"
            )
        return None

    @property
    def chooses(self) -> bool:
        """Whether there is a C to choose."""
        return len(self.C) > 1 and self.protocol is None

    @property
    def whole_path(self) -> bool:
        """Whether every C is to be fitted: a path that ends where cross-entropy rises may end before another's best."""
        return bool(self.full_path or self.one_C or self.select_by != "cross_entropy" or self.protocol)

    def fit_options(self) -> dict[str, Any]:
        """Return what ``solvers.fit`` takes of them for one layer, whose columns are drawn already."""
        options = {each.name: getattr(self, each.name) for each in fields(FitSettings)}
        return options | {"feature_subset": None, "full_path": self.whole_path}

    def asked(self) -> dict[str, Any]:
        """Return what decides the answer, as JSON values."""
        names = ("random_projection", "seeds", "protocol", "one_C", "select_by", "predictions")
        own = {name: getattr(self, name) for name in names}
        return super().asked() | own | {"score_path": list(self.score_path)}


def _at_least_one(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


def penalties(
    C: float | Sequence[float] | NDArray[np.float64] | None, protocol: str | None = None
) -> tuple[float, ...]:
    """Return the values of C to try; None tries 1e-4 to 1e4, or of the protocol ``train`` 1, 1e3 and 1e5.

    Raises:
        ProblemError: not a number or several, or none of them.
    """
    if C is None:
        return WEAK_PENALTIES if protocol == TRAIN_ERRORS else C_GRID
    found = read_strengths(C)
    if found.ndim > 1:
        msg = f"C has shape {found.shape}; expected a positive number, or several in a row"
        raise ProblemError(msg)
    given = tuple(found.tolist())
    if not given:
        msg = "C is an empty list; give one penalty or several, or leave it out for 1e-4 to 1e4"
        raise ProblemError(msg)
    return given
