"""What dumping adds to the bare forward pass, on the CPU, where the disk is faster than the model."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

from timing import paired, say

import actstore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

SIDE, BATCH_ROWS = 112, 8
CHOICES = (("layer4",), ("layer1", "layer2", "layer3", "layer4"))


def report(folder: Path, rows: int, repeats: int) -> None:
    """Print the table."""
    import torch
    from networks import forward, images, network, weights

    model, batches = network(), images(rows, SIDE, BATCH_ROWS)
    forward(model, batches[:1])
    dump(folder / "overhead.acts", model, CHOICES[0], batches[:1])  # so that all modules are loaded
    say(
        f"{rows:,} rows of 3 × {SIDE} × {SIDE} through ResNet-50, {weights(model) / 1e6:.1f} million "
        f"weights, batches of {BATCH_ROWS}, torch {torch.__version__} on {torch.get_num_threads()} threads; "
        f"medians of {repeats} pairs. The dump's seconds are those of `actstore.create(...).dump(...)`, from "
        "planning to the last sync, without the self-check. MiB/s are what the bare model gives of these layers; "
        "what a dump adds whatever its rows is the extra of one batch."
    )
    say()
    say(
        "| layers dumped | KiB a row | forward, s | dump, s | MiB/s | for one batch, s | overhead | least to most |"
    )
    say("|---|--:|--:|--:|--:|--:|--:|--:|")
    for layers in CHOICES:
        path = folder / "overhead.acts"
        single, found = (
            paired(
                partial(forward, model, some),
                partial(dump, path, model, layers, some),
                repeats,
                partial(shutil.rmtree, path, ignore_errors=True),
            )
            for some in (batches[:1], batches)
        )
        row_bytes = actstore_row_bytes(path)
        (bare, dumped), (least, most) = found.seconds, (ratio - 1 for ratio in found.spread)
        say(
            f"| {', '.join(layers)} | {row_bytes / 2**10:,.0f} | {bare:.2f} | {dumped:.2f} | "
            f"{rows * row_bytes / bare / 2**20:,.0f} | {single.seconds[1] - single.seconds[0]:.2f} | "
            f"**{found.ratio - 1:+.1%}** | {least:+.1%} to {most:+.1%} |"
        )
        shutil.rmtree(path)


def dump(path: Path, model: torch.nn.Module, layers: Sequence[str], batches: Sequence[torch.Tensor]) -> None:
    """All batches into a store."""
    with actstore.create(path, layers, selfcheck=False) as store:
        store.dump(model, batches)


def actstore_row_bytes(path: Path) -> int:
    """Bytes that a row of a store's layers takes."""
    with actstore.open(path) as store:
        return sum(layer.info.row_bytes for layer in store.layers.values())
