"""A forward pass against reading its activations back: the argument of Alain & Bengio (arXiv 1610.01644, appendix B).

    python tests/benchmarks/bench_forward.py [--rows 256] [--repeats 5] [--folder TMP]

They had 100 rows/s through ResNet-50 and 6,000 rows/s of pooled features from the disk. Here a network of that size,
its weights random, runs over random images of 3 × 224 × 224 on the CPU. Cold files are dropped from the page cache
first.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from timing import drop_cache, say

import actstore
from actstore.reductions import ReductionSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

BATCH_ROWS, READ_ROWS = 32, 256
POOLED = ("maxpool", "layer1", "layer2", "layer3", "layer4")
WHOLE = ("layer4",)


def read(path: Path) -> None:
    """Open a store and sum every row of every layer, hashes checked on the way."""
    with actstore.open(path) as store:
        for layer in store.layers.values():
            for block in layer.blocks(READ_ROWS):
                block.sum()


def dump(
    path: Path, model: torch.nn.Module, layers: tuple[str, ...], batches: list[torch.Tensor], pool: str
) -> None:
    with actstore.create(path, layers, reductions=ReductionSettings(pool=(pool,)), selfcheck=False) as store:
        store.dump(model, batches)


def files(path: Path) -> list[Path]:
    """The files of a store that have bytes."""
    return [one for one in path.rglob("*") if one.is_file() and one.stat().st_size]


def seconds(
    work: Callable[[], object], repeats: int, before: Callable[[], object] = lambda: None
) -> list[float]:
    """Seconds of each run, ascending."""
    found = []
    for _ in range(repeats):
        before()
        start = perf_counter()
        work()
        found.append(perf_counter() - start)
    return sorted(found)


def report(folder: Path, side: int, rows: int, repeats: int) -> None:
    """Print the table."""
    import torch
    from networks import forward, images, network, weights

    model, batches = network(), images(rows, side, BATCH_ROWS)
    forward(model, batches[:1])
    say(
        f"{rows:,} rows of 3 × {side} × {side}; {weights(model) / 1e6:.1f} million weights; torch {torch.__version__} "
        f"on the CPU, {torch.get_num_threads()} threads, batches of {BATCH_ROWS}; medians of {repeats}."
    )
    say()
    say("| | KiB a row | rows/s | least to most | over the forward pass |")
    say("|---|--:|--:|--:|--:|")
    bare = seconds(partial(forward, model, batches), repeats)
    line("forward pass", None, rows, bare, bare)
    left: list[float | None] = []
    for what, layers, pool in (
        (f"pooled by the mean, {len(POOLED)} layers", POOLED, "mean"),
        (f"whole, {', '.join(WHOLE)}", WHOLE, "none"),
    ):
        path = folder / f"{pool}.acts"
        dumped = seconds(partial(dump, path, model, layers, batches, pool), 1)
        with actstore.open(path) as store:
            row_bytes = sum(layer.info.row_bytes for layer in store.layers.values())
        line(f"dumped once, {what}", row_bytes, rows, dumped, bare)
        cold = seconds(partial(read, path), repeats, lambda path=path: left.append(drop_cache(files(path))))
        line(f"read back cold, {what}", row_bytes, rows, cold, bare)
        line(f"read back warm, {what}", row_bytes, rows, seconds(partial(read, path), repeats), bare)
    known = [share for share in left if share is not None]
    say()
    say(
        f"Of the files to be read cold, at most {max(known):.1%} was in memory (mincore)."
        if len(known) == len(left)
        else "Whether files were cold could not be checked (no mincore): take these figures for warm ones."
    )


def line(what: str, row_bytes: int | None, rows: int, found: list[float], bare: list[float]) -> None:
    size = "" if row_bytes is None else f"{row_bytes / 2**10:,.0f}"
    least, middle, most = (rows / second for second in (found[-1], median(found), found[0]))
    ratio = median(bare) / median(found)
    say(f"| {what} | {size} | {brief(middle)} | {brief(least)} to {brief(most)} | {brief(ratio)} |")


def brief(value: float) -> str:
    """Three figures of a small number, all whole ones of a large one."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--side", type=int, default=224, help="of an image, in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; a temporary one is made there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report(Path(folder), options.side, options.rows, options.repeats)


if __name__ == "__main__":
    main()
