"""Many fits: 45 values of C on one problem, and layers x targets x C from one store.

    python tests/benchmarks/bench_sweep.py [--full] [--only sweep|layers] [--folder build/bench]

The first table has every point certified to 1e-5 nats, the second stops for all alike where the cross-entropy on held-out
rows (every tenth) has risen for two points; the third is `probe fit STORE` with four targets. Loops over scikit-learn are
estimated from a sample of their fits, which is stated: each fit is the quickest of lbfgs and newton-cg, float32 and
float64, centred, at the loosest tolerance that reaches the gap. A fit that outlasted the cap counts as the cap, and the
estimate is then shown as ">".
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from solver_contest import Contest
from solver_peers import LBFGS, NEWTON_CG, Variant, first_tolerance, two_columns
from solver_problems import HOUSE, MissingError, Problem, load, mnist, relu_features, saved, unit_columns
from solver_runs import Outcome, Runs, families, in_a_child
from solver_tables import machine
from timing import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from solver_runs import Timed

GAP_NATS = 1e-5
STRENGTHS = np.geomspace(1e-6, 1e5, 45)
SAMPLE = 5
"""Every so many of a loop's fits are measured."""
LAYERS, LAYER_STRENGTHS, LOOSE_GAP_NATS = 7, np.geomspace(1e-4, 1e4, 9), 1e-3
"""`probe fit`'s own grid, and the gap it proves of points that are not selected."""


def split(problem: Problem) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows to train on, and the held-out tenth."""
    held_out = np.arange(len(problem.labels)) % 10 == 9
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def ours(path: Path, strengths: Sequence[float], stopped: bool) -> Timed:
    """Our path or, of one C, our fit: how many were fitted, the worst gap."""
    import solvers

    problem = load(path)
    train, validation = split(problem)
    x, y = problem.activations[train], problem.labels[train]
    held_out = (problem.activations[validation], problem.labels[validation]) if stopped else None
    solvers.fit(x[:60], y[:60], C=[1.0], engine="numpy", gap_nats=1e-2)
    yield
    path_found = solvers.fit(
        x, y, C=list(strengths), engine="numpy", gap_nats=GAP_NATS, validation=held_out, full_path=not stopped
    )
    yield
    fitted = [fit for fit in path_found if np.isfinite(fit.gap_nats)]
    return len(fitted), max(fit.gap_nats for fit in fitted)


def cross_validated(path: Path, strengths: Sequence[float], tolerance: float | None) -> Timed:
    """LogisticRegressionCV with one fold: how many were fitted, the worst gap of the sample."""
    from sklearn.linear_model import LogisticRegressionCV

    import solvers

    problem = load(path)
    fold = split(problem)
    harder = {} if tolerance is None else {"tol": tolerance, "max_iter": 1_000_000}
    model = LogisticRegressionCV(
        Cs=list(strengths),
        cv=[fold],
        scoring="neg_log_loss",
        refit=False,
        l1_ratios=(0.0,),
        use_legacy_attributes=True,
        **harder,
    )
    rows = problem.activations if tolerance is None else problem.activations.astype(np.float64)
    rows = rows if tolerance is None else rows - rows.mean(axis=0)
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows, problem.labels)
    yield
    found = np.stack([model.coefs_paths_[label][0] for label in model.classes_[-len(model.coefs_paths_) :]])
    found = found.reshape(len(found), len(strengths), -1)
    x, y = rows[fold[0]], problem.labels[fold[0]]
    gaps = []
    for index in range(0, len(strengths), SAMPLE):
        weights, bias = two_columns(found[:, index, :-1], found[:, index, -1])
        gaps.append(solvers.certify(x, y, weights, bias, C=strengths[index]).gap_nats)
    return len(strengths), max(gaps)


@dataclass(frozen=True)
class Loop:
    """Fits by scikit-learn, one for each C, estimated from a sample: ``more`` where some outlasted the cap."""

    seconds: float
    fits: int
    sampled: int
    more: bool


def sklearn_loop(runs: Runs, problem: Problem, strengths: Sequence[float], gap: float, cap: float) -> Loop:
    """The loop at its best: to a gap, with the quickest of its solvers at every C."""
    sample = list(strengths)[:: SAMPLE if len(strengths) > SAMPLE else 1]
    entrants = families(problem.activations.shape[1], problem.classes, thorough=False)
    variants: list[Variant] = [*entrants[NEWTON_CG], *entrants[LBFGS]]
    seconds, more = 0.0, False
    for C in sample:
        contest = Contest(
            runs, problem.name, float(C), *problem.activations.shape, problem.classes, cap, thorough=False
        )
        best = contest.best(variants, gap)
        seconds += cap if best is None else best.seconds
        more = more or best is None
    return Loop(seconds / len(sample) * len(strengths), len(strengths), len(sample), more)


def sweep(name: str, given: argparse.Namespace) -> None:
    """Both tables of a problem."""
    problems = given.folder / "problems"
    try:
        whole = load(saved(name, not given.full, problems))
    except MissingError as missing:
        say(f"{name}: not measured: {missing}")
        return
    train = split(whole)[0]
    trained = replace(
        whole, name=f"{whole.name}-train", activations=whole.activations[train], labels=whole.labels[train]
    )
    folder = problems / trained.name
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "activations.npy", trained.activations)
    np.save(folder / "labels.npy", trained.labels)
    runs = Runs.continued(given.folder / f"sweep{'' if given.full else '-short'}.jsonl", problems)
    single = in_a_child(given.cap_seconds, ours, problems / whole.name, [1.0], False)
    for stopped in (False, True):
        path = in_a_child(given.cap_seconds, ours, problems / whole.name, list(STRENGTHS), stopped)
        if single.value is None or path.value is None:
            say(f"{name}: not measured: {single.failed or path.failed or 'over the cap'}")
            return
        tried = STRENGTHS[: path.value[0]]
        print_sweep(trained, runs, (single, path), tried, given)


def print_sweep(
    trained: Problem, runs: Runs, found: tuple[Outcome, Outcome], tried: NDArray[Any], given: argparse.Namespace
) -> None:
    """The table of one way of ending; ``found`` are our single fit and our path."""
    single, path = found
    whole = given.folder / "problems" / trained.name.removesuffix("-train")
    loop = sklearn_loop(runs, trained, tried, GAP_NATS, given.cap_seconds)
    tight = first_tolerance(GAP_NATS, float(tried[-1]), *trained.activations.shape, trained.classes)
    default = in_a_child(given.cap_seconds, cross_validated, whole, list(tried), None)
    best = in_a_child(given.cap_seconds, cross_validated, whole, list(tried), tight)
    what = "every point certified" if len(tried) == len(STRENGTHS) else "stopped on validation, for all alike"
    say()
    say(
        f"{trained.name}, {len(trained.labels):,} x {trained.activations.shape[1]}, {trained.classes} classes: "
        f"{what}, {len(tried)} of {len(STRENGTHS)} C from {tried[0]:g} to {tried[-1]:g}."
    )
    say()
    say("| who | s | of our path | of our fit at C=1 | worst gap, nats |")
    say("|---|--:|--:|--:|--:|")
    _line("ours, C=1 alone", single, path, single)
    _line(f"ours, {len(tried)} C", path, path, single)
    estimate = Outcome(loop.seconds, loop.more, value=(loop.fits, GAP_NATS))
    _line(
        f"scikit-learn, a loop to {GAP_NATS:g} nats (from {loop.sampled} of {loop.fits} C)",
        estimate,
        path,
        single,
    )
    _line("LogisticRegressionCV, one fold, its default", default, path, single)
    _line(f"LogisticRegressionCV, one fold, float64 centred, tol={tight:.1e}", best, path, single)


def _line(who: str, found: Outcome, path: Outcome, single: Outcome) -> None:
    if found.failed:
        say(f"| {who} | {found.failed} | - | - | - |")
        return
    more = "> " if found.capped else ""
    ratios = f"{more}{found.seconds / path.seconds:.1f} | {more}{found.seconds / single.seconds:.1f}"
    say(
        f"| {who} | {more}{found.seconds:.3g} | {ratios} | {'-' if found.value is None else f'{found.value[1]:.1e}'} |"
    )


def targets(digits: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Four questions to an image of a digit."""
    return {
        "digit": digits,
        "odd": digits % 2,
        "at_least_5": (digits >= 5).astype(np.int64),
        "loops": np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])[digits],
    }


def make_store(path: Path, full: bool) -> dict[str, NDArray[np.float32]]:
    """A store of seven random layers, each on top of the last, with four targets; and the layers."""
    import actstore

    x, digits = mnist()
    rows, width = (20_000, 512) if full else (3_000, 128)
    x, digits = x[:rows], digits[:rows]
    layers = {}
    for depth in range(LAYERS):
        x = relu_features(x, width, seed=depth)
        layers[f"layer{depth}"] = x
    splits = np.where(np.arange(rows) % 10 == 9, "val", "train")
    shutil.rmtree(path, ignore_errors=True)
    with actstore.create(path) as recording:
        recording.append(layers, targets=targets(digits), splits=splits.tolist())
    return {name: unit_columns(layer[splits == "train"]) for name, layer in layers.items()}


def probe_fit(store: Path, names: Sequence[str], *options: str) -> tuple[float, str | None]:
    """Seconds of one `probe fit` of several targets, start of the program included; or what it said instead."""
    asked = [option for name in names for option in ("--target", name)]
    program = "from cli.main import probe; probe()"
    begun = perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            "fit",
            store,
            *asked,
            *options,
            "-o",
            store.parent / "sweep-probes.h5",
            "--overwrite",
        ],
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = perf_counter() - begun
    lines = done.stderr.strip().splitlines()
    return seconds, None if done.returncode == 0 else (lines[-1] if lines else f"exit {done.returncode}")


def layers_targets_strengths(given: argparse.Namespace) -> None:
    """`probe fit` of a whole store beside the loop over its layers, targets and C."""
    store = given.folder / "sweep.acts"
    try:
        layers = make_store(store, given.full)
    except MissingError as missing:
        say(f"layers: not measured: {missing}")
        return
    names = list(targets(np.arange(10)))
    digits = mnist()[1][: 20_000 if given.full else 3_000]
    labels = targets(digits[np.arange(len(digits)) % 10 != 9])
    runs = Runs.continued(
        given.folder / f"layers{'' if given.full else '-short'}.jsonl", given.folder / "problems"
    )
    rng = np.random.default_rng(0)
    loops = []
    for layer, name in [(layer, names[rng.integers(4)]) for layer in list(layers)[:: 2 if given.full else 3]]:
        problem = Problem(f"{layer}-{name}{'' if given.full else '-short'}", layers[layer], labels[name])
        folder = given.folder / "problems" / problem.name
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "activations.npy", problem.activations)
        np.save(folder / "labels.npy", problem.labels)
        loops.append(sklearn_loop(runs, problem, LAYER_STRENGTHS, LOOSE_GAP_NATS, given.cap_seconds))
    total = sum(loop.seconds for loop in loops) / len(loops) * LAYERS * len(names)
    sampled = sum(loop.sampled for loop in loops)
    more = "> " if any(loop.more for loop in loops) else ""
    fits = LAYERS * len(names) * len(LAYER_STRENGTHS)
    say()
    say(
        f"{LAYERS} layers x {len(names)} targets x {len(LAYER_STRENGTHS)} C of one store, {len(digits):,} rows."
    )
    say()
    say("| who | s | loop over scikit-learn / this |")
    say("|---|--:|--:|")
    for what, options in (("stopped on validation", ()), ("--full-path", ("--full-path",))):
        seconds, failed = probe_fit(store, names, *options)
        say(
            f"| probe fit, {what} | {failed or f'{seconds:.3g}'} | {'-' if failed else f'**{more}{total / seconds:.1f}**'} |"
        )
    say(
        f"| scikit-learn, a loop to {LOOSE_GAP_NATS:g} nats (from {sampled} of {fits} fits) | {more}{total:.3g} | 1 |"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--full", action="store_true", help="problems of full size; hours")
    arguments.add_argument("--only", choices=["sweep", "layers"])
    arguments.add_argument("--cap-seconds", type=float, help="of one fit; 60, with --full 600")
    arguments.add_argument("--folder", type=Path, default=Path("build/bench"))
    given = arguments.parse_args()
    given.cap_seconds = given.cap_seconds or (600.0 if given.full else 60.0)
    given.folder.mkdir(parents=True, exist_ok=True)
    say(machine())
    if given.only != "layers":
        for name in ("mnist-relu-512", "ewt-upos") if given.full else ("mnist-relu-512",):
            sweep(name, given)
    if given.only != "sweep":
        layers_targets_strengths(given)


if __name__ == "__main__":
    main()
