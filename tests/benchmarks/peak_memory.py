"""Write a store of SHARDS shards of MIB into FOLDER; print its peak memory and bytes of activations.

python tests/benchmarks/peak_memory.py FOLDER SHARDS MIB
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
from timing import say

import actstore

WIDTH = 256  # four layers of it: 4 KiB a row
BATCH_ROWS = 128


def peak_bytes() -> int:
    """The most memory that this process has had.

    Where /proc tells, it is that: ``ru_maxrss`` begins with what the parent had when it started us.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def write(path: Path, rows: int, shard_bytes: int) -> None:
    """A store of so many rows, every batch an array of its own."""
    rng = np.random.default_rng(0)
    with actstore.Writer(path, shard_bytes=shard_bytes) as writer:
        for first in range(0, rows, BATCH_ROWS):
            count = min(BATCH_ROWS, rows - first)
            layers = {
                f"layer{number}": actstore.Captured(
                    rng.standard_normal((count, WIDTH), np.float32), "float32", ("features",)
                )
                for number in range(4)
            }
            ids = [f"/{index}" for index in range(first, first + count)]
            writer.append(actstore.RowBatch(layers, ids, [""] * count))


def main() -> None:
    folder, shards, shard_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) * 2**20
    write(folder / "first.acts", BATCH_ROWS, shard_bytes)  # so that all modules are loaded
    before = peak_bytes()
    nbytes = shards * shard_bytes
    write(folder / "store.acts", nbytes // (4 * 4 * WIDTH), shard_bytes)
    say(f"{peak_bytes() - before} {nbytes}")


if __name__ == "__main__":
    main()
