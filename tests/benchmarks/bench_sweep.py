"""Many fits: 45 values of C on one problem, and layers x targets x C from one store.

    python tests/benchmarks/bench_sweep.py [--full] [--only sweep|layers] [--folder build/bench]

The first table has every point certified to 1e-5 nats, the second stops for all alike where the cross-entropy on
held-out rows (every tenth) has risen for two points; the third is `probe fit STORE` with four targets. Loops over
scikit-learn are estimated from a sample of their fits, which is stated: each is the quickest of lbfgs and newton-cg,
float32 and float64, centred, at the loosest tolerance that reaches the gap. A fit that outlasted the cap counts as the
cap, and the estimate is then shown as ">".
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from solver_loops import SAMPLE, Loop, kept, sklearn_loop
from solver_peers import first_tolerance, two_columns
from solver_problems import MissingError, Problem, load, saved
from solver_runs import Outcome, Runs, in_a_child
from solver_tables import machine
from store_sweep import layers_targets_strengths
from threadpoolctl import threadpool_limits
from timing import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from solver_runs import Timed

GAP_NATS = 1e-5
LOOSE_GAP_NATS = 1e-3
"""What a path that validation stops must prove of the C that are not chosen, and what its peers are then asked for."""
OUR_CAP_SECONDS, LEAST_CV_CAP_SECONDS = 3600.0, 60.0
STRENGTHS = np.geomspace(1e-6, 1e5, 45)


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


def cross_validated(path: Path, strengths: Sequence[float], tolerance: float | None, one_thread: bool) -> Timed:
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
    with warnings.catch_warnings(), threadpool_limits(1 if one_thread else None):
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
    kept(trained, problems)
    runs = Runs.continued(given.folder / f"sweep{'' if given.full else '-short'}.jsonl", problems)
    single = in_a_child(OUR_CAP_SECONDS, ours, problems / whole.name, [1.0], False)
    for stopped in (False, True):
        path = in_a_child(OUR_CAP_SECONDS, ours, problems / whole.name, list(STRENGTHS), stopped)
        if single.value is None or path.value is None:
            say(f"{name}: not measured: {single.failed or path.failed or 'over the cap'}")
            return
        tried = STRENGTHS[: path.value[0]]
        loop = sklearn_loop(runs, trained, tried, LOOSE_GAP_NATS if stopped else GAP_NATS, given.cap_seconds)
        say()
        say(
            f"{trained.name}, {len(trained.labels):,} x {trained.activations.shape[1]}, {trained.classes} classes:"
        )
        say("stopped on validation, for all alike," if stopped else "every point certified,")
        say(f"{len(tried)} of {len(STRENGTHS)} C from {tried[0]:g} to {tried[-1]:g}.")
        print_sweep((single, path), loop, cross_validations(problems / whole.name, trained, loop, given))


def cross_validations(
    path: Path, trained: Problem, loop: Loop, given: argparse.Namespace
) -> dict[str, Outcome]:
    """LogisticRegressionCV as it comes, and with one BLAS thread or all at a tolerance that does for every C."""
    tried = [float(C) for C in STRENGTHS[: loop.fits]]
    tight = first_tolerance(loop.gap_nats, tried[-1], *trained.activations.shape, trained.classes)
    cap = max(given.cap_seconds, LEAST_CV_CAP_SECONDS)
    found = {"its default": in_a_child(cap, cross_validated, path, tried, None, False)}
    for threads in ("one BLAS thread", "all threads"):
        what = f"float64 centred, {threads}, tol={tight:.1e}"
        found[what] = in_a_child(cap, cross_validated, path, tried, tight, threads == "one BLAS thread")
    return found


def print_sweep(found: tuple[Outcome, Outcome], loop: Loop, peers: dict[str, Outcome]) -> None:
    """The table of one way of ending; ``found`` are our single fit and our path."""
    single, path = found
    say()
    say("| who | s | of our path | of our fit at C=1 | worst gap, nats |")
    say("|---|--:|--:|--:|--:|")
    _line("ours, C=1 alone", single, path, single)
    _line(f"ours, {loop.fits} C", path, path, single)
    estimate = Outcome(loop.seconds, loop.more, value=(loop.fits, loop.gap_nats))
    name = f"scikit-learn, a loop to {loop.gap_nats:g} nats (from {loop.sampled} of {loop.fits} C)"
    _line(name, estimate, path, single)
    for what, outcome in peers.items():
        _line(f"LogisticRegressionCV, one fold, {what}", outcome, path, single)


def _line(who: str, found: Outcome, path: Outcome, single: Outcome) -> None:
    if found.failed:
        say(f"| {who} | {found.failed} | - | - | - |")
        return
    more = "> " if found.capped else ""
    ratios = f"{more}{found.seconds / path.seconds:.1f} | {more}{found.seconds / single.seconds:.1f}"
    say(
        f"| {who} | {more}{found.seconds:.3g} | {ratios} | {'-' if found.value is None else f'{found.value[1]:.1e}'} |"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--full", action="store_true", help="problems of full size; hours")
    arguments.add_argument("--only", choices=["sweep", "layers"])
    arguments.add_argument("--cap-seconds", type=float, help="of one fit of a peer; 10, with --full 600")
    arguments.add_argument(
        "--continue", dest="continued", action="store_true", help="keep the loops' measured fits"
    )
    arguments.add_argument("--folder", type=Path, default=Path("build/bench"))
    given = arguments.parse_args()
    given.cap_seconds = given.cap_seconds or (600.0 if given.full else 10.0)
    given.folder.mkdir(parents=True, exist_ok=True)
    if not given.continued:
        for name in ("sweep", "layers"):
            (given.folder / f"{name}{'' if given.full else '-short'}.jsonl").unlink(missing_ok=True)
    say(machine())
    if given.only != "layers":
        for name in ("mnist-relu-512", "ewt-upos") if given.full else ("mnist-relu-512",):
            sweep(name, given)
    if given.only != "sweep":
        layers_targets_strengths(given)


if __name__ == "__main__":
    main()
