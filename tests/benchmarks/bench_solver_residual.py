"""Probes of residual streams: ours and scikit-learn's, to the same true gap, in CPU seconds on one core.

    python tests/benchmarks/bench_solver_residual.py [--only one|path|concepts|folds|layers|wide]...
        [--problem 2000x4096]...

Rows as `solver_problems.residual_stream` makes them, columns of unit deviation, float32 for everybody; what a solver
does to them (centring, conversion) is on its clock. The *true* gap is the loss over the least that anyone found, ours
taken to 1e-9 included. A peer is taken at its best: lbfgs in float32 and float64, newton-cholesky of up to 1,024
coefficients (its time grows with their cube: 7,680 take minutes), each at the loosest tolerance that reaches the gap.
liblinear is left out: it penalises the intercept. Figures are medians of three, taken in turn. CPU seconds, not the
clock's: other work on the machine changes them less.
`auto` is what `engine="auto"` takes once scikit-learn is imported.
"""

from __future__ import annotations

import argparse
import os
import warnings
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np
from solver_problems import residual_stream
from threadpoolctl import threadpool_limits
from timing import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PROBLEMS = {
    "1000x4096": (1000, 4096, 2),
    "2000x4096": (2000, 4096, 2),
    "5000x2048": (5000, 2048, 2),
    "10000x4096": (10_000, 4096, 2),
    "2000x1024": (2000, 1024, 2),
    "5000x768": (5000, 768, 10),
}
WIDE = {"15x32768": (15, 32_768, 2), "100x65536": (100, 65_536, 2)}
ONE_C, PATH_C = (1e-3, 1e-2, 1.0), tuple(np.geomspace(1e-3, 10, 9))
TARGETS = (1e-4, 1e-6)
TOLERANCES = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 1e-7)
CONCEPTS, SAMPLED, LAYERS = 50, 2, 32
NARROW = 1024


@dataclass(frozen=True)
class Found:
    """A probe (weights (width, classes) and bias), and the CPU seconds that it took."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    seconds: float


def ours(x: Any, y: Any, C: float, gap_nats: float, engine: str = "numpy") -> Found:
    import solvers

    start = process_time()
    fit = solvers.fit(x, y, C=C, engine=engine, gap_nats=gap_nats)
    return Found(fit.weights, fit.bias, process_time() - start)


def peer(x: Any, y: Any, C: float, tolerance: float, kind: tuple[str, str]) -> Found:
    from sklearn.linear_model import LogisticRegression

    solver, dtype = kind
    start = process_time()
    mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = (x - mean).astype(dtype, copy=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=C, tol=tolerance, solver=solver, max_iter=100_000).fit(rows, y)
    seconds = process_time() - start
    weights, bias = model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)
    if weights.shape[1] == 1:
        weights, bias = weights * [-0.5, 0.5], bias * [-0.5, 0.5]
    return Found(weights, bias - mean @ weights, seconds)


def loss(x: Any, y: Any, C: float, found: Found) -> float:
    z = x.astype(np.float64) @ found.weights + found.bias
    top = z.max(axis=1)
    nats = top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - z[np.arange(len(y)), y]
    effective = C / 2 if z.shape[1] == 2 else C
    return float(nats.mean() + np.sum(found.weights**2) / (2 * effective * len(y)))


def kinds(coefficients: int) -> list[tuple[str, str]]:
    found = [("lbfgs", "float32"), ("lbfgs", "float64")]
    return [*found, ("newton-cholesky", "float64")] if coefficients <= NARROW else found


@dataclass
class Rival:
    """The quickest peer to each gap on one problem at one C, and ours."""

    peers: dict[float, float]
    which: dict[float, str]
    ours: dict[float, float]
    auto: dict[float, float]


def rivals(x: Any, y: Any, C: float, repeats: int = 3) -> Rival:
    """Everybody on one problem at one C."""
    tried: dict[Any, Found] = {("reference",): ours(x, y, C, 1e-9)}
    classes = len(np.unique(y))
    for kind in kinds(x.shape[1] * (1 if classes == 2 else classes)):
        for tolerance in TOLERANCES:
            tried[kind, tolerance] = peer(x, y, C, tolerance, kind)
    losses = {key: loss(x, y, C, each) for key, each in tried.items()}
    least = min(losses.values())
    rival = Rival({}, {}, {}, {})
    for gap in TARGETS:
        able = [key for key in tried if len(key) == 2 and losses[key] - least <= gap]
        best = min(able, key=lambda key: tried[key].seconds, default=None)
        runs: dict[str, Callable[[], Found]] = {
            "ours": lambda gap=gap: ours(x, y, C, gap),
            "auto": lambda gap=gap: ours(x, y, C, gap, "auto"),
        }
        if best is not None:
            runs["peer"] = lambda best=best: peer(x, y, C, best[1], best[0])
        seconds = {who: [] for who in runs}
        for turn in range(repeats):
            for who in sorted(runs, reverse=bool(turn % 2)):
                seconds[who].append(runs[who]().seconds)
        rival.ours[gap], rival.auto[gap] = median(seconds["ours"]), median(seconds["auto"])
        rival.peers[gap] = median(seconds["peer"]) if best is not None else float("nan")
        rival.which[gap] = "none arrived" if best is None else f"{best[0][0]} {best[0][1]} tol {best[1]:g}"
    return rival


def one(names: dict[str, tuple[int, int, int]]) -> None:
    """One fit."""
    say("| rows × columns, classes | C | nats | numpy, s | auto, s | best peer, s | peer / numpy | which |")
    say("|---|--:|--:|--:|--:|--:|--:|---|")
    for name, (rows, width, classes) in names.items():
        x, (y,) = residual_stream(rows, width, classes)
        for C in ONE_C:
            found = rivals(x, y, C)
            for gap in TARGETS:
                mine, theirs = found.ours[gap], found.peers[gap]
                times = f"{mine:.3f} | {found.auto[gap]:.3f} | {theirs:.3f} | {theirs / mine:.2f}"
                say(f"| {name}, {classes} | {C:g} | {gap:g} | {times} | {found.which[gap]} |")


def path(names: dict[str, tuple[int, int, int]]) -> None:
    """Nine C: ours at once, the peer's loop with the best of its settings at each."""
    import solvers

    say("| rows × columns, classes | nats | our path of nine, s | best peer's loop, s | ratio |")
    say("|---|--:|--:|--:|--:|")
    for name, (rows, width, classes) in names.items():
        x, (y,) = residual_stream(rows, width, classes)
        each = [rivals(x, y, C, repeats=1) for C in PATH_C]
        for gap in TARGETS:
            seconds = []
            for _ in range(3):
                start = process_time()
                solvers.fit(x, y, C=PATH_C, engine="numpy", gap_nats=gap)
                seconds.append(process_time() - start)
            theirs = sum(found.peers[gap] for found in each)
            mine = median(seconds)
            say(f"| {name}, {classes} | {gap:g} | {mine:.2f} | {theirs:.2f} | {theirs / mine:.1f} |")


def concepts(names: dict[str, tuple[int, int, int]]) -> None:
    """Fifty two-class targets of nine C on one layer; the peer's loop estimated from two of them."""
    import solvers

    for name, (rows, width, _) in names.items():
        x, labels = residual_stream(rows, width, targets=CONCEPTS)
        each = [rivals(x, y, C, repeats=1) for y in labels[:SAMPLED] for C in PATH_C]
        for gap in TARGETS:
            start = process_time()
            found = solvers.fit(x, dict(enumerate(labels)), C=PATH_C, engine="numpy", gap_nats=gap)
            mine = process_time() - start
            theirs = sum(rival.peers[gap] for rival in each) / SAMPLED * CONCEPTS
            worst = max(fit.gap_nats for fits in found.values() for fit in fits)
            say(
                f"{name}, {CONCEPTS} concepts of nine C to {gap:g}: {mine:.1f} s (worst gap {worst:.1e}); a loop of "
                f"the best peer {theirs:.1f} s (from {SAMPLED} concepts), {theirs / mine:.1f} times"
            )


def folds(names: dict[str, tuple[int, int, int]]) -> None:
    """Nine C chosen by five folds and fitted, beside the path of nine alone."""
    import solvers

    for name, (rows, width, classes) in names.items():
        x, (y,) = residual_stream(rows, width, classes)
        start = process_time()
        solvers.fit(x, y, C=PATH_C, engine="numpy", scale=True)
        alone = process_time() - start
        start = process_time()
        solvers.fit_layers({name: x}, y, C=list(PATH_C), engine="numpy")
        chosen = process_time() - start
        say(
            f"{name}: path of nine {alone:.2f} s, five folds and the fit {chosen:.2f} s: {chosen / alone:.1f} times"
        )


def layers(names: dict[str, tuple[int, int, int]]) -> None:
    """Nine C of one concept on many layers in one call, beside as many calls of one layer."""
    import solvers

    for name, (rows, width, classes) in names.items():
        x, (y,) = residual_stream(rows, width, classes)
        seconds = []
        for count in (1, LAYERS):
            found = []
            for _ in range(3 if count == 1 else 1):
                start = process_time()
                solvers.fit_layers(
                    {f"layer{number}": x for number in range(count)}, y, C=list(PATH_C), engine="numpy"
                )
                found.append(process_time() - start)
            seconds.append(median(found))
        say(
            f"{name}: one layer {seconds[0]:.2f} s, {LAYERS} layers {seconds[1]:.1f} s: "
            f"{seconds[1] / seconds[0] / LAYERS:.2f} of {LAYERS} times one"
        )


def main() -> None:
    parts = {"one": one, "path": path, "concepts": concepts, "folds": folds, "layers": layers, "wide": one}
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--only", action="append", choices=list(parts), help="a part; may be repeated")
    arguments.add_argument("--problem", action="append", choices=[*PROBLEMS, *WIDE], help="may be repeated")
    given = arguments.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before solvers counts its cores
    import sklearn.linear_model  # noqa: F401 - so that auto may take it, and nobody imports it on the clock

    with threadpool_limits(1):
        for name in given.only or parts:
            few = {"2000x4096": PROBLEMS["2000x4096"]}
            known = {"wide": WIDE, "concepts": few, "folds": few, "layers": few}.get(name, PROBLEMS)
            wanted = {key: value for key, value in known.items() if not given.problem or key in given.problem}
            say()
            say(f"{name}:")
            parts[name](wanted)


if __name__ == "__main__":
    main()
