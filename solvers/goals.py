"""What an engine is: something that finds coefficients. The certificate, not the engine, says how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from solvers.arrays import Array, Backend
    from solvers.problem.problem import Problem

__all__ = ["Bid", "Engine", "Goal", "Prepared", "Readings", "Solution"]


@dataclass(frozen=True)
class Goal:
    """What to solve: every C of one problem (by its number), from strong to weak penalty, to an estimated gap.

    ``start`` is the coefficients (classes, width + 1) of the first, in scaled coordinates; None for zero. ``double``
    asks for products in float64 on the rows as they are stored. ``stopped`` is asked before a C is begun: once true,
    this problem wants no more; None where it wants every C.
    """

    C: tuple[float, ...]
    gap_nats: float
    problem: int = 0
    start: Array | None = None
    double: bool = False
    max_evaluations: int = 10_000
    stopped: Callable[[], bool] | None = None

    @property
    def ended(self) -> bool:
        """Whether this problem wants no more."""
        return self.stopped is not None and self.stopped()


@dataclass(frozen=True)
class Solution:
    """Coefficients (classes, width + 1) for one C in scaled coordinates, the last one the intercept at the mean.

    ``evaluations`` counts gradients; ``passes`` the readings of all rows while this C was in flight.
    """

    C: float
    coefficients: Array
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
        """Return what was read so far."""
        ...

    def sweep(self, goals: Sequence[Goal]) -> Iterator[list[Solution]]:
        """Solve every C of the goals, each yielded when it is as good as the engine can tell."""
        ...

    def in_flight(self) -> list[Solution]:
        """Return the C that were begun and not yielded when a sweep was left, as far as they had come."""
        ...


@dataclass(frozen=True)
class Bid:
    """Whether, and how eagerly, an engine would take a problem under ``auto``.

    ``speed`` is how many times as fast as the engine ``numpy`` it expects whole fits to be, certificate and start-up
    included; 0 where it would leave the problem to others. ``why`` says so in a few words, either way.
    """

    speed: float
    why: str


class Engine(Protocol):
    """One way to fit. A file in the folder ``engines`` that defines ``ENGINE`` is found by its ``name``.

    ``finishes`` says whether it can take coefficients that another engine left short of the gap any closer. An engine
    may have ``backend(device)``, the :class:`Backend` that it computes on: what it fitted is then scored there too.
    """

    name: str
    finishes: bool

    def unavailable(self) -> str | None:
        """Why the engine does not work on this machine, in one line; None where it does."""
        ...

    def devices(self) -> Sequence[str]:
        """Return the names of the devices it can run on, the one it prefers first: "cpu", or "cuda:0" and "cuda:1"."""
        ...

    def bid(self, problem: Problem, fits: int, memory_bytes: int | None = None) -> Bid:
        """Say whether it would take ``fits`` columns (C times targets) on a problem, if it works here.

        ``memory_bytes`` is what it may take, if that was said. Asked of every engine before anything is loaded, so it
        loads nothing.
        """
        ...

    def prepare(
        self, problems: Sequence[Problem], memory_bytes: int | None = None, device: str | None = None
    ) -> Prepared:
        """Get the rows that problems share ready, once for all the goals to come, within so much memory.

        ``device`` is one of ``devices()``; None takes the first.
        """
        ...
