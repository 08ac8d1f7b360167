"""Writing a store, beside a raw write of the same bytes and other formats; the memory and the time that dumping takes.

    python tests/benchmarks/bench_writing.py [--mb 1024] [--repeats 5] [--folder TMP]

Every way writes the same batches of 256 rows of eight layers, and ends with all of it synced. Each is timed in turn
with the raw write, so that a disk whose speed drifts does as much to the one as to the other. Tables are markdown.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import overhead
from timing import paired, say
from writing_ways import WAYS, Batch, Way, installed, raw

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH_ROWS = 256
WIDTHS = (4096, 4096, 2048, 2048, 1024, 1024, 1024, 1024)  # 64 KiB a row, 16 MiB a batch
SHARDS = (1, 10, 100)


def make_batches(mb: int) -> list[Batch]:
    """Random batches of eight layers, ``mb`` MiB, at least two."""
    rng = np.random.default_rng(0)
    count = max(2, mb * 2**20 // (4 * BATCH_ROWS * sum(WIDTHS)))
    return [
        {
            f"layer{number}": rng.standard_normal((BATCH_ROWS, width), np.float32)
            for number, width in enumerate(WIDTHS)
        }
        for _ in range(count)
    ]


def emptied(folder: Path) -> Path:
    """The folder, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def used_bytes(folder: Path) -> int:
    """Bytes that the files under a folder take on the disk, holes left out."""
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*"))


def compare(folder: Path, batches: Sequence[Batch], repeats: int) -> None:
    """Print the table of throughputs."""
    mib = sum(array.nbytes for batch in batches for array in batch.values()) / 2**20
    rows = BATCH_ROWS * len(batches)
    say(
        f"{rows:,} rows of {len(WIDTHS)} float32 layers, {mib:,.0f} MiB; medians of {repeats} pairs with the raw write."
    )
    say()
    say(
        "| way of writing, synced at the end | s | MiB/s | raw, s | of the raw speed | least to most | MiB on disk |"
    )
    say("|---|--:|--:|--:|--:|--:|--:|")
    for way in WAYS:
        say(f"| {way.what} | {measured(way, folder, batches, repeats, mib)} |")
    say()
    versions = {
        name: installed(name) or "not installed" for name in ("numpy", "h5py", "safetensors", "zarr", "xxhash")
    }
    say(f"With {', '.join(f'{name} {found}' for name, found in versions.items())}.")


def measured(way: Way, folder: Path, batches: Sequence[Batch], repeats: int, mib: float) -> str:
    """The cells of one way's line."""
    if way.missing:
        return f"not installed: {way.package} | | | | |"
    here, base = folder / "way", folder / "base"
    sizes = []

    def renew() -> None:
        if here.exists() and any(here.iterdir()):
            sizes.append(used_bytes(here))
        emptied(here)
        emptied(base)

    found = paired(partial(way.write, here, batches), partial(raw, base, batches), repeats, renew)
    renew()
    (seconds, raw_seconds), (least, most) = found.seconds, found.spread
    return (
        f"{seconds:.2f} | {mib / seconds:,.0f} | {raw_seconds:.2f} | **{found.ratio:.2f}** | "
        f"{least:.2f} to {most:.2f} | {max(sizes) / 2**20:,.0f}"
    )


def memory(folder: Path, shard_mb: int) -> None:
    """Print the table of peaks: each in a process of its own."""
    say(f"Peak memory of a process that writes shards of {shard_mb} MiB, above what it had before it began.")
    say()
    say("| shards | MiB written | peak, MiB | of the data | of a shard |")
    say("|--:|--:|--:|--:|--:|")
    script = Path(__file__).with_name("peak_memory.py")
    for shards in SHARDS:
        command = [sys.executable, str(script), str(emptied(folder / "memory")), str(shards), str(shard_mb)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, written = (int(word) / 2**20 for word in done.stdout.split())
        say(f"| {shards} | {written:,.0f} | {peak:.1f} | {peak / written:.1%} | {peak / shard_mb:.1f} |")
    emptied(folder / "memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1024, help="MiB of activations")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shard-mb", type=int, default=8, help="MiB of a shard where memory is measured")
    parser.add_argument("--overhead-rows", type=int, default=512, help="that go through a network")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; a temporary one is made there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        say("### Throughput")
        say()
        compare(folder, make_batches(options.mb), options.repeats)
        say()
        say("### Memory")
        say()
        memory(folder, options.shard_mb)
        say()
        say("### Overhead over the bare forward pass")
        say()
        if installed("torch") is None:
            say("not measured: torch is not installed")
        else:
            overhead.report(folder, options.overhead_rows, options.repeats)


if __name__ == "__main__":
    main()
