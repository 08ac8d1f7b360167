"""A small network in the manner of Inception, with an auxiliary head: train it on MNIST, dump its boxes at some steps.

    python network.py --mnist mnist.npz --steps 0,50,1000 -o inception.acts

Four blocks of four branches that join by concatenation. The auxiliary head looks at the second block, and its loss
counts 0.4, as in Inception v3; it is computed in evaluation mode, too, so that it can be dumped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import actstore

LAYERS = ["input", "stem*", "mixed*", "aux.*", "pooled", "logits"]


def unit(channels: int, out: int, side: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, side, stride, side // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )


class Mixed(nn.Module):
    """Four branches side by side: 1 × 1; 1 × 1 and 3 × 3; 1 × 1 and 5 × 5; pooling and 1 × 1."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        quarter = out // 4
        self.one = unit(channels, quarter, 1)
        self.three = nn.Sequential(unit(channels, quarter, 1), unit(quarter, quarter, 3))
        self.five = nn.Sequential(unit(channels, quarter // 2, 1), unit(quarter // 2, quarter, 5))
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), unit(channels, quarter, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], dim=1)


class Auxiliary(nn.Module):
    """A second classifier, in the middle of the network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.AvgPool2d(5, 3), unit(channels, 32, 1))
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU())
        self.logits = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.hidden(self.conv(x)))


class Inception(nn.Module):
    """Ten logits from images (n, 28, 28) within -0.5 and 0.5; in training those of the auxiliary head, too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem1 = unit(1, 16, 3)
        self.stem2 = nn.Sequential(unit(16, 32, 3), nn.MaxPool2d(2))
        self.mixed1, self.mixed2 = Mixed(32, 48), Mixed(48, 64)
        self.aux = Auxiliary(64)
        self.mixed3, self.mixed4 = nn.Sequential(nn.MaxPool2d(2), Mixed(64, 96)), Mixed(96, 96)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.logits = nn.Linear(96, 10)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        middle = self.mixed2(self.mixed1(self.stem2(self.stem1(images[:, None]))))
        auxiliary = self.aux(middle)
        logits = self.logits(self.pooled(self.mixed4(self.mixed3(middle))))
        return (logits, auxiliary) if self.training else logits


def read(mnist: Path, rows: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return `train` to train on, and the rows to dump: the first of it, and `test`."""
    with np.load(mnist) as file:
        images = {split: (file[f"x_{split}"], file[f"y_{split}"]) for split in ("train", "test")}
    ready = {
        split: (torch.from_numpy(x / np.float32(255) - np.float32(0.5)), torch.from_numpy(y).long())
        for split, (x, y) in images.items()
    }
    dumped = {f"dumped {split}": (x[:rows], y[:rows]) for split, (x, y) in ready.items()}
    return {"train": ready["train"], **dumped}


def train(
    model: Inception,
    optimiser: torch.optim.Optimizer,
    images: tuple[Tensor, Tensor],
    steps: int,
    draw: np.random.Generator,
) -> None:
    """Take so many steps of 64 images on the loss of both heads."""
    model.train()
    for _ in range(steps):
        rows = torch.from_numpy(draw.integers(len(images[1]), size=64))
        optimiser.zero_grad()
        logits, auxiliary = model(images[0][rows])
        digits = images[1][rows]
        loss = nn.functional.cross_entropy(logits, digits)
        (loss + 0.4 * nn.functional.cross_entropy(auxiliary, digits)).backward()
        optimiser.step()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--mnist", type=Path, required=True, help="x_train, y_train, x_test, y_test")
    arguments.add_argument("--steps", default="0,50,1000", help="which to dump")
    arguments.add_argument("--rows", type=int, default=5_000, help="rows dumped of train, and of test")
    arguments.add_argument("--random-features", type=int, default=1_000)
    arguments.add_argument("-o", "--output", required=True, help="the store to write, NAME.acts")
    given = arguments.parse_args()
    images = read(given.mnist, given.rows)
    torch.manual_seed(0)
    model, draw, done = Inception(), np.random.default_rng(0), 0
    optimiser = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    rows = {split: [images[f"dumped {split}"]] for split in ("train", "test")}
    kept = {"random_features": given.random_features, "overwrite": True}
    with actstore.create(given.output, layers=LAYERS, **kept) as store:
        for step in map(int, given.steps.split(",")):
            train(model, optimiser, images["train"], step - done, draw)
            store.dump(model.eval(), rows, target="digit", step=step)
            print(f"step {step} is dumped", flush=True)
            done = step


if __name__ == "__main__":
    main()
