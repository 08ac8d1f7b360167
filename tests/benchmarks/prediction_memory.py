"""Fit, save, load and show a probe whose `val` and `test` have ROWS rows each; print the peak memory above the data.

python tests/benchmarks/prediction_memory.py FOLDER ROWS CLASSES
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from timing import say

import solvers

WIDTH = 8


def status(name: str) -> int:
    """A number of bytes that Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    folder, rows, classes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = np.random.default_rng(0)
    sizes = (4 * classes, rows, rows)
    activations = rng.standard_normal((sum(sizes), WIDTH), np.float32)
    labels = np.concatenate([np.arange(sizes[0]) % classes, rng.integers(0, classes, 2 * rows)])
    splits = np.repeat(["train", "val", "test"], sizes)
    few = np.concatenate([np.arange(sizes[0] + 1000), np.arange(len(labels) - 1000, len(labels))])

    def fit(part: slice | np.ndarray) -> solvers.Probes:
        layers = {"h": activations[part]}
        return solvers.fit_layers(layers, labels[part], splits=splits[part], C=[0.1, 1], gap_nats=1e-2)

    def peak(name: str) -> None:
        say(f"{name} {status('VmHWM') - before} {time.process_time() - began:.1f}")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

    list(fit(few).scores())  # so that all modules are loaded
    Path("/proc/self/clear_refs").write_text("5")
    before, began = status("VmRSS"), time.process_time()
    probes = fit(slice(None))
    probes.save(folder / "probes.h5", overwrite=True)
    peak("fit")
    del probes
    list(solvers.load(folder / "probes.h5").scores())
    peak("show")


if __name__ == "__main__":
    main()
