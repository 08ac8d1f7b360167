"""Reading a store, beside np.memmap over the same bytes in a .npy and beside h5py: one table, in ratios.

    python tests/benchmarks/bench_reading.py [--mb 1024] [--repeats 5] [--folder TMP]

A block that was read is summed, rows of 4 KiB. "Cold" files are dropped from the page cache before each reading.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import h5py
import numpy as np
from timing import drop_cache, paired, read_bytes, say

import actstore

WIDTH = 1024
BLOCK_ROWS = 1024  # 4 MiB


class Bench:
    """The same rows in a store and in a .npy, and the ways to read them."""

    def __init__(self, folder: Path, mb: int) -> None:
        """Write random float32 rows, ``mb`` MiB of them."""
        self.rows = mb * 2**20 // (4 * WIDTH)
        self.store, self.npy = folder / "bench.h5", folder / "bench.npy"
        rng = np.random.default_rng(0)
        values = rng.normal(size=(BLOCK_ROWS, WIDTH)).astype(np.float32)
        copy = np.lib.format.open_memmap(self.npy, "w+", np.float32, (self.rows, WIDTH))
        with actstore.create(self.store) as store:
            for first in range(0, self.rows, BLOCK_ROWS):
                block = np.roll(values, first // BLOCK_ROWS, axis=1)[: self.rows - first]
                store.append({"layer": block})
                copy[first : first + BLOCK_ROWS] = block
        copy.flush()
        self.picked = np.sort(rng.choice(self.rows, max(1, self.rows // 100), replace=False))
        self.layer = actstore.open(self.store).layers["layer"]
        self.left_in_cache: list[float | None] = []

    def renew(self, *, checked: bool, cold: bool) -> None:
        """Open the store anew, so that nothing of it is mapped or checked; then check it, and drop it or read it."""
        self.layer = actstore.open(self.store).layers["layer"]
        if checked:
            self.store_copies()
        if cold:
            self.left_in_cache.append(drop_cache([self.store, self.npy]))
        else:
            self.memmap_copies()
            self.h5py_blocks()

    def store_blocks(self) -> None:
        for block in self.layer.blocks(BLOCK_ROWS):
            block.sum()

    def store_slices(self) -> None:
        for first in range(0, self.rows, BLOCK_ROWS):
            self.layer[first : first + BLOCK_ROWS].sum()

    def store_copies(self) -> None:
        out = np.empty((BLOCK_ROWS, WIDTH), np.float32)
        for first in range(0, self.rows, BLOCK_ROWS):
            self.layer.read_into(slice(first, first + BLOCK_ROWS), out[: self.rows - first])

    def store_picked(self) -> None:
        self.layer[self.picked]

    def memmap_blocks(self) -> None:
        array = np.load(self.npy, mmap_mode="r")
        for first in range(0, self.rows, BLOCK_ROWS):
            array[first : first + BLOCK_ROWS].sum()

    def memmap_copies(self) -> None:
        array = np.load(self.npy, mmap_mode="r")
        out = np.empty((BLOCK_ROWS, WIDTH), np.float32)
        for first in range(0, self.rows, BLOCK_ROWS):
            np.copyto(out[: self.rows - first], array[first : first + BLOCK_ROWS])

    def memmap_picked(self) -> None:
        np.load(self.npy, mmap_mode="r")[self.picked]

    def h5py_blocks(self) -> None:
        with h5py.File(self.store) as file:
            for first in range(0, self.rows, BLOCK_ROWS):
                file["layers/layer"][first : first + BLOCK_ROWS].sum()

    def h5py_picked(self) -> None:
        with h5py.File(self.store) as file:
            file["layers/layer"][self.picked]


def compare(bench: Bench, repeats: int) -> None:
    """Print the table."""
    say(f"{'':55} {'store s':>8} {'other s':>8}  {'ratio':>6}  {'least to most':>16}  aim")
    for what, ours, theirs, aim, checked, cold in (
        ("cold blocks, first pass with hashes / memmap", bench.store_blocks, bench.memmap_blocks, "0.95", False, True),
        ("cold blocks, later / memmap", bench.store_blocks, bench.memmap_blocks, "0.95", True, True),
        ("cold slices, first pass with hashes / memmap", bench.store_slices, bench.memmap_blocks, "", False, True),
        ("cold read_into, later / memmap copied", bench.store_copies, bench.memmap_copies, "0.95", True, True),
        ("warm blocks, first pass with hashes / memmap", bench.store_blocks, bench.memmap_blocks, "", False, False),
        ("warm blocks, later / memmap", bench.store_blocks, bench.memmap_blocks, "0.95", True, False),
        ("warm slices, later / memmap", bench.store_slices, bench.memmap_blocks, "0.95", True, False),
        ("warm read_into, later / memmap copied", bench.store_copies, bench.memmap_copies, "0.95", True, False),
        ("cold 1% of the rows, random / memmap[rows]", bench.store_picked, bench.memmap_picked, "10", False, True),
        ("cold 1% of the rows, random / all rows", bench.store_picked, bench.store_blocks, "1", True, True),
        ("warm 1% of the rows, random / h5py[rows]", bench.store_picked, bench.h5py_picked, "5", False, False),
        ("warm 1% of the rows, random / memmap[rows]", bench.store_picked, bench.memmap_picked, "", False, False),
    ):  # fmt: skip
        found = paired(ours, theirs, repeats, partial(bench.renew, checked=checked, cold=cold))
        seconds = f"{found.seconds[0]:8.4f} {found.seconds[1]:8.4f}"
        spread = f"{found.spread[0]:.2f} to {found.spread[1]:.2f}"
        say(f"{what:55} {seconds}  {found.ratio:6.2f}  {spread:>16}  {aim}")


def count(bench: Bench) -> None:
    """Print speeds, and the bytes that the disk gave for them."""
    mb = bench.rows * WIDTH * 4 / 2**20
    say()
    for what, reading, rows in (
        ("all rows of the store", bench.store_blocks, bench.rows),
        ("1% of the rows, store", bench.store_picked, len(bench.picked)),
        ("1% of the rows, memmap", bench.memmap_picked, len(bench.picked)),
    ):
        bench.renew(checked=False, cold=True)
        before, start = read_bytes(), perf_counter()
        reading()
        speed, after = rows / (perf_counter() - start), read_bytes()
        fetched = (
            "not counted here" if before is None or after is None else f"{(after - before) / 2**20:,.0f} MiB"
        )
        say(f"cold {what:24} {speed:12,.0f} rows/s   from the disk: {fetched} of {mb:,.0f} MiB")
    left = [share for share in bench.left_in_cache if share is not None]
    if len(left) < len(bench.left_in_cache):
        say("whether files were cold could not be checked (no mincore): take these figures for warm ones")
    else:
        say(f"of the files to be read cold, at most {max(left):.1%} was in memory (mincore)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1024, help="MiB of activations")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; a temporary one is made there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(Path(folder), options.mb)
        say(
            f"{bench.rows:,} rows of {4 * WIDTH:,} bytes, {options.mb:,} MiB; medians of {options.repeats} pairs"
        )
        compare(bench, options.repeats)
        count(bench)


if __name__ == "__main__":
    main()
