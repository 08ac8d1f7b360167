"""One measurement of one solver: in a process of its own, under a cap, certified by us whoever solved it.

A fork server imports every package once and computes nothing; each measurement is a fresh child of it.
"""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from solver_peers import VARIANTS, Variant, variant
from solver_problems import Problem, load

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext
    from pathlib import Path

    Timed = Generator[None, None, Any]

PRELOADED = ("numpy", "scipy.optimize", "sklearn.linear_model", "torch", "solvers.fitting.fit")
AROUND_SECONDS = 900.0
"""What loading rows, and certifying, may each take: neither is measured, and neither should hang a run."""


@dataclass(frozen=True)
class Asked:
    """What is measured: a problem, C, a variant and its effort; ``repeat`` counts measurements of the same."""

    problem: str
    C: float
    family: str
    setting: str
    effort: float | None
    repeat: int = 0


@dataclass(frozen=True)
class Measured:
    """What came of it. ``seconds`` are of the fit alone; capped, they are the cap, and the rest is unknown.

    ``loss`` and ``gap_nats`` are the certificate's, at the best intercept for the weights found. ``peak_bytes`` is
    memory above what the process had with the rows loaded.
    """

    asked: Asked
    seconds: float
    capped: bool = False
    failed: str | None = None
    evaluations: int = 0
    peak_bytes: int = 0
    gap_nats: float = float("inf")
    loss: float = float("inf")


@dataclass
class Runs:
    """Every measurement, a line each in ``path``; what is there already is not measured again."""

    path: Path
    problems: Path
    known: dict[Asked, Measured] = field(default_factory=dict)

    @classmethod
    def continued(cls, path: Path, problems: Path) -> Runs:
        """With the measurements that an earlier run wrote."""
        runs = cls(path, problems)
        if path.exists():
            for line in path.read_text().splitlines():
                found = json.loads(line)
                measured = Measured(**{**found, "asked": Asked(**found["asked"])})
                runs.known[measured.asked] = measured
        return runs

    def measure(self, asked: Asked, cap_seconds: float) -> Measured:
        """Fit once, in a process of its own, or look up what was measured before under no smaller a cap."""
        before = self.known.get(asked)
        if before is not None and not (before.capped and before.seconds < cap_seconds):
            return before
        outcome = in_a_child(cap_seconds, _fit, self.problems / asked.problem, asked)
        found = outcome.value or Measured(asked, 0.0, capped=outcome.capped, failed=outcome.failed)
        measured = replace(found, seconds=outcome.seconds, peak_bytes=outcome.peak_bytes)
        self.known[asked] = measured
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as lines:
            lines.write(json.dumps(asdict(measured)) + "\n")
        return measured

    def of(self, problem: str, C: float) -> list[Measured]:
        """All that was measured on a problem at a C."""
        return [each for each in self.known.values() if (each.asked.problem, each.asked.C) == (problem, C)]


@cache
def server() -> ForkServerContext:
    """Where children come from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in PRELOADED if find_spec(name.split(".")[0])])
    return context


@dataclass(frozen=True)
class Outcome:
    """What came of something that ran in a process of its own: its value, or why there is none."""

    seconds: float
    capped: bool = False
    failed: str | None = None
    peak_bytes: int = 0
    value: Any = None


def in_a_child(cap_seconds: float, function: Callable[..., Timed], *args: Any) -> Outcome:
    """Run a generator in a process of its own; between its first and its second yield the clock runs, and the cap.

    Its return value is the outcome's. It is killed where the cap is over.
    """
    ours, theirs = server().Pipe(duplex=False)
    child = server().Process(target=_child, args=(theirs, function, args))
    child.start()
    theirs.close()
    try:
        if not ours.poll(AROUND_SECONDS):
            return Outcome(0.0, failed="did not begin in time")
        ours.recv()
        if not ours.poll(cap_seconds):
            return Outcome(cap_seconds, capped=True)
        measured = ours.recv()
        if measured.failed:
            return measured
        return replace(measured, value=ours.recv()) if ours.poll(AROUND_SECONDS) else _UNCERTIFIED
    except EOFError:
        child.join()
        return Outcome(0.0, failed=f"the process ended with {child.exitcode}")
    finally:
        ours.close()
        child.kill()
        child.join()


_UNCERTIFIED = Outcome(0.0, failed="could not be certified in time")


def _child(results: Connection, function: Callable[..., Timed], args: tuple[Any, ...]) -> None:
    from peak_memory import peak_bytes

    steps = function(*args)
    next(steps)
    before = peak_bytes()
    results.send("begun")
    start = perf_counter()
    try:
        next(steps)
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is its result
        results.send(Outcome(0.0, failed=f"{type(error).__name__}: {str(error).splitlines()[0]}"))
        return
    seconds = perf_counter() - start
    results.send(Outcome(seconds, peak_bytes=peak_bytes() - before))
    try:
        next(steps)
    except StopIteration as end:
        results.send(end.value)


def _fit(path: Path, asked: Asked) -> Timed:
    """One fit, certified: an evaluation count, gap and loss, or why they are not known."""
    problem, method = load(path), variant(asked.family, asked.setting)
    method.fit(tiny(), 1.0, None)  # so that nothing is imported, and no thread started, on the clock
    yield
    fitted = method.fit(problem, asked.C, asked.effort)
    yield
    return certified(problem, Measured(asked, 0.0, evaluations=fitted.evaluations), fitted)


def certified(problem: Problem, measured: Measured, fitted: Any) -> Measured:
    """The measurement with the gap and the loss of the probe that was found."""
    import solvers

    if not np.isfinite(fitted.weights).all() or not np.isfinite(fitted.bias).all():
        return replace(measured, failed="coefficients are not finite")
    proof = solvers.certify(
        problem.activations, problem.labels, fitted.weights, fitted.bias, C=measured.asked.C
    )
    return replace(measured, gap_nats=proof.gap_nats, loss=proof.loss)


def tiny() -> Problem:
    """A problem of a few rows."""
    rng = np.random.default_rng(0)
    return Problem("tiny", rng.standard_normal((30, 4), np.float32), np.arange(30) % 3)


def families(width: int, classes: int, thorough: bool = True) -> dict[str, list[Variant]]:
    """The variants that can be tried on a problem of that size, by family; the likeliest alone if not thorough."""
    found: dict[str, list[Variant]] = {}
    for each in VARIANTS:
        if each.refuses(width, classes) is None and (thorough or each.likely):
            found.setdefault(each.family, []).append(each)
    return found
