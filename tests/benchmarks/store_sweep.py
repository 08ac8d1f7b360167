"""`probe fit` of every layer and several targets of a store, beside a loop over scikit-learn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from solver_loops import kept, sklearn_loop
from solver_problems import HOUSE, MissingError, Problem, mnist, relu_features, unit_columns
from solver_runs import Runs
from timing import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LAYERS, LAYER_STRENGTHS, LOOSE_GAP_NATS = 7, np.geomspace(1e-4, 1e4, 9), 1e-3
"""`probe fit`'s own grid, and the gap it proves of points that are not selected."""


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
        kept(problem, given.folder / "problems")
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
        figures = f"{failed} | -" if failed else f"{seconds:.3g} | **{more}{total / seconds:.1f}**"
        say(f"| probe fit, {what} | {figures} |")
    say(
        f"| scikit-learn, a loop to {LOOSE_GAP_NATS:g} nats (from {sampled} of {fits} fits) | {more}{total:.3g} | 1 |"
    )
