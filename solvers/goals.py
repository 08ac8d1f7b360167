"""What an engine is: something that finds coefficients. The certificate, not the engine, says how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Backend
    from solvers.problem import Problem

__all__ = ["Engine", "Goal", "Prepared", "Readings", "Solution"]


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Goal:
    """What to solve: every C of one problem (by its number), from strong to weak penalty, to an estimated gap.

    ``start`` is the coefficients (classes, width + 1) of the first, in scaled coordinates; None for zero. ``double``
    asks for products in float64 on the rows as they are stored. ``stopped`` is asked before a C is begun: once true,
    this problem wants no more.
    """

    C: tuple[float, ...]
    gap_nats: float
    problem: int = 0
    start: NDArray[Any] | None = None
    double: bool = False
    max_evaluations: int = 10_000
    stopped: Callable[[], bool] = _never


@dataclass(frozen=True)
class Solution:
    """Coefficients (classes, width + 1) for one C in scaled coordinates, the last one the intercept at the mean.

    ``evaluations`` counts gradients; ``passes`` the readings of all rows while this C was in flight.
    """

    C: float
    coefficients: NDArray[Any]
    evaluations: int
    passes: int
    problem: int = 0


class Readings(Protocol):
    """Rows that count how often, and how many bytes, they were read."""

    passes: int
    bytes_read: int


class Prepared(Protocol):
    """An engine with the rows of its problems at hand.

    ``backend`` is where the certificate's sums are made. ``finishes`` says whether a goal with ``double`` set can
    take coefficients closer to the optimum than they came.
    """

    backend: Backend
    finishes: bool

    @property
    def readings(self) -> Sequence[Readings]:
        """What was read so far."""
        ...

    def sweep(self, goals: Sequence[Goal]) -> Iterator[list[Solution]]:
        """Solve every C of the goals, each yielded when it is as good as the engine can tell."""
        ...


class Engine(Protocol):
    """One way to fit. A file in this folder that defines ``ENGINE`` is found by its ``name``."""

    name: str

    def unavailable(self) -> str | None:
        """Why the engine does not work on this machine, in one line; None where it does."""
        ...

    def prepare(self, problems: Sequence[Problem], memory_bytes: int | None = None) -> Prepared:
        """Get the rows that problems share ready, once for all the goals to come, within so much memory."""
        ...
