"""Probes as the authors trained them: RMSProp from zero, stopped where the validation rows are told best.

    python early.py seed0.acts seed0.h5 -o early.csv

For each layer and step of the probe file: the same columns, scaled alike, the same rows. The table is one of scores, as
`probe show --csv` prints them, with the method `rmsprop`. What is printed beside it is how far the probe that RMSProp
stopped at is from the optimum at the certified probe's C: a bound by `solvers.certify`.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import actstore
import solvers
from solvers.scoring.score import COLUMNS, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers import Probe

RATE, DECAY, BATCH, EVERY = 1e-3, 0.9, 128, 50


@dataclass(frozen=True)
class Stopped:
    """Where RMSProp was best on `val`: weights (columns + 1, classes), the bias last, and after how many steps."""

    weights: NDArray[np.float32]
    steps: int


def wrong(rows: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float32]) -> float:
    return float(np.mean((rows @ weights).argmax(axis=1) != labels))


def rmsprop(
    rows: dict[str, NDArray[np.float32]], labels: dict[str, NDArray[np.int64]], classes: int, steps: int
) -> Stopped:
    """Descend on the cross-entropy of `train`, without a penalty; every fifty steps look at `val`."""
    draw = np.random.default_rng(0)
    weights = np.zeros((rows["train"].shape[1], classes), np.float32)
    square, best, least = np.zeros_like(weights), Stopped(weights, 0), 1.0
    for step in range(1, steps + 1):
        batch = draw.integers(len(rows["train"]), size=BATCH)
        logits = rows["train"][batch] @ weights
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        odds[np.arange(BATCH), labels["train"][batch]] -= 1
        gradient = rows["train"][batch].T @ odds / BATCH
        square = DECAY * square + (1 - DECAY) * gradient**2
        weights = weights - np.float32(RATE) * gradient / (np.sqrt(square) + np.float32(1e-8))
        if step % EVERY == 0 and (error := wrong(rows["val"], labels["val"], weights)) < least:
            best, least = Stopped(weights, step), error
    return best


def scores_of(store: actstore.Store, probe: Probe, steps: int) -> list[Score]:
    """Return the errors of one layer at one step, and print where RMSProp stopped."""
    layer, digits = store.layers[probe.layer, probe.step], np.asarray(store.targets[probe.target])
    scale, mean = probe.scale, probe.map.mean
    kept = np.flatnonzero(np.isfinite(scale))
    rows, labels = {}, {}
    for split in ("train", "val", "test"):
        own = store.rows_of(split)
        taken = layer[own.min() : own.max() + 1].reshape(len(own), -1)[:, kept].astype(np.float64)
        scaled = (taken - mean[kept]) / scale[kept]
        rows[split] = np.column_stack([scaled, np.ones(len(own))]).astype(np.float32)
        labels[split] = digits[own]
    found = rmsprop(rows, labels, len(probe.classes), steps)
    weights = found.weights.astype(np.float64)
    gap = solvers.certify(rows["train"][:, :-1], labels["train"], weights[:-1], weights[-1], C=probe.C).gap_nats
    errors = {split: wrong(rows[split], labels[split], found.weights) for split in rows}
    print(
        f"{probe.layer:6} step {probe.step}: {found.steps:5} iterations, error on val {errors['val']:.4f}, "
        f"test {errors['test']:.4f} (certified {probe.error['test']:.4f}); "
        f"at C = {probe.C:g} within {gap:.2g} nats of the optimum",
        flush=True,
    )
    roles = {"train": "fit", "val": "select", "test": "held_out"}
    nothing = float("nan")
    return [
        Score(
            store=store.fingerprint, layer=probe.layer, step=probe.step, target=probe.target, kind="task",
            method="rmsprop", part="", C=nothing, seed=0, fold=None, split=split, role=roles[split],
            metric="error", unit="share", value=error, low=nothing, high=nothing, interval="",
            rows=len(labels[split]), groups=None, status="gap_missed", features=len(kept),
        )
        for split, error in errors.items()
    ]  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("store")
    arguments.add_argument("probes")
    arguments.add_argument("--target", default="digit")
    arguments.add_argument("--iterations", type=int, default=4000)
    arguments.add_argument("-o", "--output", type=Path, required=True, help="a table of scores, NAME.csv")
    given = arguments.parse_args()
    probes = [probe for probe in solvers.load(given.probes).values() if probe.target == given.target]
    with actstore.open(given.store) as store, given.output.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for probe in probes:
            table.writerows(map(asdict, scores_of(store, probe, given.iterations)))


if __name__ == "__main__":
    main()
