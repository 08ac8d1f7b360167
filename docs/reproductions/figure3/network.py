"""Probes on an untrained network, each at its certified optimum.

Figure 3 of Alain & Bengio, "Understanding intermediate layers using linear classifier probes", section 3.3.

    python docs/reproductions/figure3/network.py -o docs/reproductions/figure3

writes figure3.csv, figure3.svg and figure3.png. No framework is needed; the figure needs altair and vl-convert.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import solvers
from solvers.figures.asked import asked
from solvers.figures.chart import save_figure
from solvers.figures.figure import description
from solvers.figures.rows import Shown
from solvers.scoring.score import Score

LAYERS = 32
UNITS = 128
TEST_ROWS = 10_000
C = 1_000.0  # the paper has no penalty; without any, separable layers (the input) have no optimum to reach
PROCESSES = 2
TRAIN, TEST, RMSPROP = "train", "test", "train, by RMSProp"
KINDS = (TRAIN, TEST, RMSPROP)

Record = dict[str, Any]


def untrained_layers(inputs: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """The inputs, and what each of 32 Glorot-normal layers with LeakyReLU(0.5) makes of them."""
    activations = [inputs]
    for _ in range(LAYERS):
        weights = generator.normal(scale=np.sqrt(2 / (UNITS + UNITS)), size=(UNITS, UNITS))
        linear = activations[-1] @ weights
        activations.append(np.maximum(linear, 0.5 * linear))
    return activations


def rmsprop_error(
    activations: np.ndarray,
    labels: np.ndarray,
    steps: int,
    rate: float = 1e-3,
    rows: int = 128,
    decay: float = 0.9,
) -> float:
    """The training error after steps of RMSProp on a few rows each, from zero weights: the paper's way."""
    generator = np.random.default_rng(0)
    features = np.column_stack([activations, np.ones(len(activations))])
    weights, mean_square = np.zeros(UNITS + 1), np.zeros(UNITS + 1)
    for _ in range(steps):
        batch = generator.integers(0, len(features), rows)
        probability = 1 / (1 + np.exp(-features[batch] @ weights))
        gradient = (probability - labels[batch]) @ features[batch] / rows
        mean_square = decay * mean_square + (1 - decay) * gradient**2
        weights -= rate * gradient / (np.sqrt(mean_square) + 1e-10)
    return float(np.mean((features @ weights > 0) != labels))


def probe_data_set(task: tuple[int, list[int], int]) -> list[Record]:
    """One network and one data set: a record for each number of training rows, layer and kind of error."""
    seed, sizes, steps = task
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(TEST_ROWS + max(sizes), UNITS))
    labels = inputs @ generator.normal(size=UNITS) > 0
    layers = {str(depth): rows for depth, rows in enumerate(untrained_layers(inputs, generator))}
    records: list[Record] = []
    for size in sizes:
        train = slice(TEST_ROWS, TEST_ROWS + size)
        splits = {"test": range(TEST_ROWS), "train": range(train.start, train.stop)}
        for probe in solvers.fit_layers(layers, labels, splits=splits, C=C).values():
            by_rmsprop = rmsprop_error(layers[probe.layer][train], labels[train], steps)
            found = {TRAIN: probe.error["train"], TEST: probe.error["test"], RMSPROP: by_rmsprop}
            place = {"training_rows": size, "layer": probe.order, "gap_nats": probe.gap_nats}
            records += [place | {"kind": kind, "error": error} for kind, error in found.items()]
    return records


def summarise(records: list[Record]) -> list[Record]:
    """Mean, 10th and 90th percentile and worst gap over the data sets, by training rows, layer and kind."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault((record["training_rows"], record["layer"], record["kind"]), []).append(record)
    lines = []
    for (rows, layer, kind), group in groups.items():
        errors = [record["error"] for record in group]
        low, high = np.percentile(errors, [10, 90])
        summary = {"error": np.mean(errors), "error_p10": low, "error_p90": high}
        line: Record = {"training_rows": rows, "layer": layer, "kind": kind, "data_sets": len(group)}
        line |= {name: round(float(value), 5) for name, value in summary.items()}
        worst = "" if kind == RMSPROP else f"{max(record['gap_nats'] for record in group):.1e}"
        lines.append(line | {"worst_gap_nats": worst})
    return lines


def figure_of(lines: list[Record]) -> dict[str, Any]:
    """Error by layer, a panel for each number of training rows: mean, 10th to 90th percentile, chance dotted."""
    common = {
        "store": "",
        "step": 0,
        "target": "side of a hyperplane",
        "kind": "task",
        "part": "",
        "C": C,
        "seed": 0,
    }
    common |= {
        "fold": None,
        "split": "",
        "role": "held_out",
        "metric": "error",
        "unit": "share",
        "groups": None,
    }
    common |= {"interval": "10th to 90th percentile over data sets"}
    shown = []
    for line in lines:
        named = {"layer": str(line["layer"]), "method": str(line["kind"]), "rows": 0}
        numbers = {"value": "error", "low": "error_p10", "high": "error_p90"}
        named["status"] = (
            "by RMSProp" if line["kind"] == RMSPROP else "converged"
        )  # whose gap is in figure3.csv
        values = {name: float(line[key]) for name, key in numbers.items()}
        shown.append(Shown(Score(**common, **named, **values), f"{int(line['training_rows']):,} training rows"))
    title = "Prediction error by layer of an untrained network"
    return description(shown, asked("depth", overlay="method", references=(0.5, "chance"), title=title))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-sets", type=int, default=100, help="networks and data sets to average over (100)"
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000], help="numbers of training rows")
    parser.add_argument("--steps", type=int, default=2_000, help="steps of RMSProp, for comparison (2000)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write to")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)

    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # for the processes to be started, one to a core
    begun = time.perf_counter()
    tasks = [(seed, given.rows, given.steps) for seed in range(given.data_sets)]
    records = []
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for done, found in enumerate(pool.imap(probe_data_set, tasks), start=1):
            records += found
            print(
                f"{done} of {given.data_sets} data sets, {time.perf_counter() - begun:.0f} s",
                end="\r",
                flush=True,
            )
    print()

    lines = summarise(records)
    with (given.output / "figure3.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    for suffix in ("svg", "png"):
        save_figure(figure_of(lines), given.output / f"figure3.{suffix}", overwrite=True)
    worst = max(record["gap_nats"] for record in records)
    print(f"{len(records) // len(KINDS):,} probes, the worst certified gap {worst:.1e} nats")
    for line in lines:
        if line["layer"] in (0, LAYERS):
            print("{training_rows:>6,} rows, layer {layer:>2}, {kind}: {error:.3f}".format(**line))


if __name__ == "__main__":
    main()
