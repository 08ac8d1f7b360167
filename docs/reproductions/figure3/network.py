"""The networks and data sets of Figure 3 of Alain & Bengio (2016): nobody trains them; each gets certified probes.

    python network.py --data-sets 100 --rows 10000 --weights glorot --every 1 -o glorot

Each data set has points x ~ N(0, I) in 128 dimensions, a hyperplane that labels them, and a network of 32 layers. It
is dumped, every layer gets a probe, and OUTPUT/SEED.h5 keeps the probes; the store is removed. ``--rmsprop N`` fits
probes as the paper did as well, by N steps of RMSProp, and OUTPUT/SEED.csv has their errors, and the mean norm of the
activations, as a table of scores. Called again, it goes on with the next data set.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import actstore
import solvers

LAYERS, UNITS, TEST_ROWS = 32, 128, 10_000
PENALTIES = (1.0, 1_000.0)  # the paper has none; without any, separable layers (the input) have no optimum
Net = Callable[[np.ndarray], dict[str, np.ndarray]]


def network(generator: np.random.Generator, weights: str, every: int) -> Net:
    """A function from inputs (rows, 128) to every so many of 32 layers with LeakyReLU(0.5), the input as ``0``."""
    matrices = [generator.normal(scale=UNITS**-0.5, size=(UNITS, UNITS)) for _ in range(LAYERS)]
    if weights == "orthogonal":
        matrices = [np.linalg.qr(matrix)[0] for matrix in matrices]

    def layers(inputs: np.ndarray) -> dict[str, np.ndarray]:
        found, hidden = {"0": inputs}, inputs
        for depth, matrix in enumerate(matrices, 1):
            linear = hidden @ matrix.astype(np.float32)
            hidden = np.maximum(linear, 0.5 * linear)
            if depth % every == 0:
                found[str(depth)] = hidden
        return found

    return layers


def rmsprop(
    activations: np.ndarray, labels: np.ndarray, steps: int, rate: float = 1e-3, rows: int = 128
) -> np.ndarray:
    """The weights (129,), the last one the intercept, after steps on a few rows each from zero: the paper's way."""
    generator = np.random.default_rng(0)
    features = np.column_stack([activations, np.ones(len(activations), np.float32)]).astype(np.float64)
    weights, mean_square = np.zeros(UNITS + 1), np.zeros(UNITS + 1)
    for _ in range(steps):
        batch = generator.integers(0, len(features), rows)
        probability = 1 / (1 + np.exp(-features[batch] @ weights))
        gradient = (probability - labels[batch]) @ features[batch] / rows
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        weights -= rate * gradient / (np.sqrt(mean_square) + 1e-10)
    return weights


def beside(store: actstore.Store, side: np.ndarray, steps: int, name: str) -> list[dict[str, Any]]:
    """Rows of a table of scores: of RMSProp's probes on the training rows, and the norm of the activations."""
    rows = store.rows_of("train")
    train = slice(int(rows[0]), int(rows[-1]) + 1)
    found = []
    for layer, source in store.layers.items():
        activations = source[train]
        weights = rmsprop(activations, side, steps)
        wrong = np.mean((activations @ weights[:-1] + weights[-1] > 0) != side)
        norm = np.linalg.norm(activations, axis=1).mean()
        score = {
            "store": name,
            "layer": layer,
            "step": 0,
            "target": "side",
            "kind": "task",
            "method": "rmsprop",
        }
        score |= {"seed": 0, "split": "train", "role": "fit", "rows": len(side), "status": "by RMSProp"}
        numbers = (("error", "share", wrong), ("activation_norm", "length", norm))
        found += [score | {"metric": m, "unit": unit, "value": float(value)} for m, unit, value in numbers]
    return found


def save(scores: list[dict[str, Any]], path: Path) -> None:
    columns = (
        "store,layer,step,target,kind,method,part,C,seed,fold,split,role,metric,unit,value,low,high,interval"
    )
    names = [*columns.split(","), "rows", "groups", "status", "features", "fitted_on"]
    unfinished = path.with_suffix(".new")
    with unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(scores)
    os.replace(unfinished, path)


def probe_data_set(seed: int, given: argparse.Namespace) -> None:
    """Draw, dump and probe one data set with its network."""
    generator = np.random.default_rng(seed)
    net = network(generator, given.weights, given.every)
    sizes = {"test": TEST_ROWS, "train": given.rows}
    normal = generator.normal(size=UNITS)
    points = {split: generator.normal(size=(rows, UNITS)).astype(np.float32) for split, rows in sizes.items()}
    sides = {split: each @ normal > 0 for split, each in points.items()}
    path = given.output / f"{seed}.acts"
    shutil.rmtree(path, ignore_errors=True)
    actstore.dump(net, points, str(path), layers="*", targets={"side": sides}, selfcheck=False)
    with actstore.open(path) as store:
        probes = solvers.fit_layers(
            store.layers,
            store.targets["side"],
            splits=store.splits,
            target="side",
            C=PENALTIES,
            protocol="train",
            score_path="test",
            predictions=False,
            fingerprint=store.fingerprint,
        )
        if given.rmsprop:
            scores = beside(store, sides["train"], given.rmsprop, f"{given.output.name}/{seed}")
            save(scores, given.output / f"{seed}.csv")
    probes.save(given.output / f"{seed}.h5", overwrite=True)
    shutil.rmtree(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write to")
    parser.add_argument(
        "--data-sets", type=int, default=100, help="networks and data sets: the seeds from 0 on"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--rows", type=int, default=10_000, help="training rows")
    parser.add_argument("--weights", choices=("glorot", "orthogonal"), default="glorot")
    parser.add_argument("--every", type=int, default=1, help="probe the input and every so many layers")
    parser.add_argument(
        "--rmsprop", type=int, default=0, metavar="STEPS", help="steps of RMSProp, beside the optimum"
    )
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    for seed in range(given.first, given.data_sets):
        if not (given.output / f"{seed}.h5").exists():
            probe_data_set(seed, given)
            print(f"{given.output}: data set {seed} of {given.data_sets}", flush=True)


if __name__ == "__main__":
    main()
