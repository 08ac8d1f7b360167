"""Memory does not grow with the dump."""

from __future__ import annotations

import subprocess
import sys

import pytest

DUMP = """
import resource, sys
import numpy as np
from actstore import Captured, RowBatch, Writer
with Writer(sys.argv[1], shard_bytes=4 * 2**20) as writer:
    layers = {"a": Captured(np.zeros((64, 4096), np.float32), "float32", ("f",))}  # a MiB
    for first in range(0, 64 * int(sys.argv[2]), 64):
        writer.append(RowBatch(layers, [f"{first + row}" for row in range(64)], [""] * 64))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak_bytes(path, mebibytes):
    command = [sys.executable, "-c", DUMP, str(path), str(mebibytes)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_the_peak_is_the_same_for_twenty_times_the_rows(tmp_path, name):
    """Beside a shard and a batch: 8 bytes per id, and, in packing, the row table; some MiB for 12,800 rows."""
    short = peak_bytes(tmp_path / f"short-{name}", 10)
    long = peak_bytes(tmp_path / f"long-{name}", 200)
    assert long - short < 16 * 2**20
