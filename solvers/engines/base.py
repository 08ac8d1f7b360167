"""What an engine is: something that finds coefficients. The certificate, not the engine, says how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from solvers.backend import Backend
    from solvers.problem import Problem

__all__ = ["Engine", "Goal", "Prepared", "Solution"]


@dataclass(frozen=True)
class Goal:
    """What to solve: every C, from strong to weak penalty, to an estimated gap.

    ``start`` is the coefficients (classes, width + 1) of the first, in scaled coordinates; None for zero.
    ``double`` asks for products in float64 on the rows as they are stored.
    """

    C: tuple[float, ...]
    gap_nats: float
    start: NDArray[Any] | None = None
    double: bool = False
    max_evaluations: int = 10_000


@dataclass(frozen=True)
class Solution:
    """Coefficients (classes, width + 1) for one C in scaled coordinates, the last one the intercept at the mean.

    ``evaluations`` counts gradients; ``passes`` the readings of all rows while this C was in flight.
    """

    C: float
    coefficients: NDArray[Any]
    evaluations: int
    passes: int


class Prepared(Protocol):
    """An engine with a problem's rows at hand.

    ``backend`` is where the certificate's sums are made. ``finishes`` says whether a goal with ``double`` set can
    take coefficients closer to the optimum than they came.
    """

    backend: Backend
    finishes: bool

    @property
    def passes(self) -> int:
        """Readings of all rows so far."""
        ...

    def sweep(self, goal: Goal) -> Iterator[Solution]:
        """Solve every C of the goal, each yielded when it is as good as the engine can tell."""
        ...


class Engine(Protocol):
    """One way to fit. A file in this folder that defines ``ENGINE`` is found by its ``name``."""

    name: str

    def unavailable(self) -> str | None:
        """Why the engine does not work on this machine, in one line; None where it does."""
        ...

    def prepare(self, problem: Problem) -> Prepared:
        """Get a problem's rows ready, once for all the goals to come."""
        ...
