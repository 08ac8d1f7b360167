"""A layer of a store fitted in blocks, read again on every pass, against the same layer resident in memory.

    python tests/benchmarks/bench_streaming.py [--mb 512] [--memory-mb 64] [--repeats 3] [--folder build/bench]
    python tests/benchmarks/bench_streaming.py --huge [--folder build/bench]

The disk cache is warm: the layer is read once before the clock starts. Both end at the same gap, and the largest
difference between the two probes is printed. `--huge` makes a layer of 20 GB once, and fits it in 2 GB; it prints the
peak memory of the process, and takes as much disk.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from peak_memory import peak_bytes
from solver_tables import machine
from timing import paired, say

import actstore
import solvers

WIDTH, CLASSES, BATCH_ROWS = 1024, 10, 4096
HUGE_MB, HUGE_MEMORY_MB = 20_000, 2_000
GAP_NATS = 1e-5


def make(path: Path, mb: int) -> None:
    """A store of one layer (rows, 1024) float32 of correlated columns, with a target that a linear teacher drew."""
    rng = np.random.default_rng(0)
    mixing = (
        rng.standard_normal((WIDTH, WIDTH), np.float32)
        * np.geomspace(1, 0.03, WIDTH, dtype=np.float32)[:, None]
    )
    teacher = rng.standard_normal((WIDTH, CLASSES), np.float32) / 16
    shutil.rmtree(path, ignore_errors=True)
    with actstore.create(path) as recording:
        for _ in range(mb * 2**20 // (4 * WIDTH * BATCH_ROWS)):
            white = rng.standard_normal((BATCH_ROWS, WIDTH), np.float32)
            labels = (white @ teacher + rng.gumbel(size=(BATCH_ROWS, CLASSES))).argmax(axis=1)
            rows = np.maximum(white @ mixing / 8, 0)
            recording.append({"layer": rows}, targets={"class": labels}, splits="train")


def fit(layer: Any, labels: Any, memory_bytes: int | None) -> solvers.Fit:
    """One fit, at a penalty that leaves the optimum well inside."""
    return solvers.fit(layer, labels, C=0.01, engine="numpy", gap_nats=GAP_NATS, memory_bytes=memory_bytes)


def compare(given: argparse.Namespace) -> None:
    """Print the table of resident against streamed."""
    path = given.folder / "streaming.acts"
    make(path, given.mb)
    found: dict[str, solvers.Fit] = {}
    with actstore.open(path) as store:
        layer, labels = store.layers["layer"], store.targets["class"]
        for start in range(0, layer.shape[0], BATCH_ROWS):
            layer[start : start + BATCH_ROWS]

        def run(name: str, memory_bytes: int | None) -> None:
            found[name] = fit(layer, labels, memory_bytes)

        times = paired(
            lambda: run("streamed", given.memory_mb * 2**20), lambda: run("resident", None), given.repeats
        )
    shutil.rmtree(path)
    ratios = sorted(1 / ratio for ratio in (times.ratio, *times.spread))
    say()
    size = f"{given.mb:,} MB, {layer.shape[0]:,} x {WIDTH}"
    say(f"One layer of {size}, C=0.01 to {GAP_NATS:g} nats; {given.repeats} pairs.")
    say()
    say("| rows | s | passes | gap, nats |")
    say("|---|--:|--:|--:|")
    for name, seconds in zip(("streamed", "resident"), times.seconds, strict=True):
        say(f"| {name} | {seconds:.3g} | {found[name].passes} | {found[name].gap_nats:.1e} |")
    difference = np.abs(found["streamed"].weights - found["resident"].weights).max()
    say()
    say(
        f"Streamed in {given.memory_mb:,} MB takes **{ratios[1]:.2f}** of the resident time ({ratios[0]:.2f} to "
        f"{ratios[2]:.2f}); no weight differs by more than {difference:.1e}."
    )


def huge(folder: Path) -> None:
    """Fit 20 GB in 2 GB, and print the peak."""
    path = folder / "huge.acts"
    if not path.exists():
        say(f"making a layer of {HUGE_MB / 1000:g} GB, once; remove {path} when done")
        make(path, HUGE_MB)
    with actstore.open(path) as store:
        layer, labels = store.layers["layer"], store.targets["class"]
        begun, before = perf_counter(), peak_bytes()
        found = fit(layer, labels, HUGE_MEMORY_MB * 10**6)
        seconds, peak = perf_counter() - begun, peak_bytes()
    size = f"{layer.shape[0]:,} x {WIDTH}, {layer.shape[0] * WIDTH * 4 / 1e9:.1f} GB"
    say(f"{size}, in {HUGE_MEMORY_MB / 1000:g} GB: {seconds:.0f} s, {found.passes} passes, {found.status}.")
    say(
        f"Gap {found.gap_nats:.1e} nats; peak memory {peak / 1e9:.2f} GB, {before / 1e9:.2f} GB of it before the fit."
    )


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--mb", type=int, default=512)
    arguments.add_argument("--memory-mb", type=int, default=64)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--huge", action="store_true")
    arguments.add_argument("--folder", type=Path, default=Path("build/bench"))
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    say(machine())
    if given.huge:
        huge(given.folder)
    else:
        compare(given)


if __name__ == "__main__":
    main()
