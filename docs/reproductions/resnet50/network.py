"""A ResNet of sixteen bottlenecks, small enough for MNIST: train it, and dump the mean over pixels of its sums.

    python network.py --mnist mnist.npz -o resnet.acts

It is the network of imagenet.py with a sixteenth of its channels, and a stem that halves the image once, not twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from imagenet import ResNet
from torch import Tensor, nn

import actstore

WIDTH = 4
LAYERS, AXES = ["input", "**.add"], ("channel", "height", "width")


def small() -> ResNet:
    """Ten logits from images (n, 1, 28, 28)."""
    torch.manual_seed(0)
    stem = {
        "conv1": nn.Conv2d(1, WIDTH, 3, 2, 1, bias=False),
        "bn1": nn.BatchNorm2d(WIDTH),
        "relu": nn.ReLU(),
    }
    return ResNet(stem, WIDTH, 10)


def read(mnist: Path, rows: list[int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return images and digits of `train` (the first 50,000), `val` (of the 10,000 behind) and `test`."""
    with np.load(mnist) as file:
        pixels = torch.from_numpy(
            np.concatenate([file["x_train"], file["x_test"]])[:, None] / np.float32(255) - np.float32(0.5)
        )
        digits = torch.from_numpy(np.concatenate([file["y_train"], file["y_test"]])).long()
    own = {
        "train": slice(0, 50_000),
        "val": slice(50_000, 50_000 + rows[1]),
        "test": slice(60_000, 60_000 + rows[2]),
    }
    return {split: (pixels[rows], digits[rows]) for split, rows in own.items()}


def train(model: nn.Module, images: Tensor, digits: Tensor, steps: int) -> None:
    """Take so many steps of Adam on batches of 64; the rate falls from 3e-3 to nothing."""
    draw = np.random.default_rng(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, max(steps, 1))
    model.train()
    for _ in range(steps):
        rows = torch.from_numpy(draw.integers(len(digits), size=64))
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[rows]), digits[rows]).backward()
        optimiser.step()
        falling.step()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--mnist", type=Path, required=True, help="x_train, y_train, x_test, y_test")
    arguments.add_argument("--steps", type=int, default=600)
    arguments.add_argument("--rows", default="5000,5000,5000", help="rows dumped of train, val and test")
    arguments.add_argument("-o", "--output", required=True, help="the store to write")
    given = arguments.parse_args()
    rows = [int(each) for each in given.rows.split(",")]
    images = read(given.mnist, rows)
    model = small()
    train(model, *images["train"], given.steps)
    batches = {
        split: [(x[: rows[place]], y[: rows[place]])] for place, (split, (x, y)) in enumerate(images.items())
    }
    pooled = {"pool": "mean", "axes": dict.fromkeys(LAYERS, AXES), "overwrite": True}
    with actstore.create(given.output, layers=LAYERS, **pooled) as store:
        store.dump(model.eval(), batches, target="digit")


if __name__ == "__main__":
    main()
