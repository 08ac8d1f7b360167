"""A network that forks and joins again: train it on MNIST, and dump its branches.

    python network.py --mnist mnist.npz --seed 0 -o seed0.acts

`trunk` feeds three branches, and `join` has their channels side by side. `skip` is the trunk as it is; `linear` are
linear combinations of its channels, so that a linear classifier beside `skip` cannot gain by it; `deep` are two more
convolutions with ReLU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import actstore

LAYERS = ["trunk", "skip", "linear", "deep", "join"]


class Forked(nn.Module):
    """Ten digit logits from images (n, 28, 28) within -0.5 and 0.5."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, channels, 5, 2, 2), nn.ReLU(), nn.MaxPool2d(2))
        self.skip = nn.Identity()
        self.linear = nn.Conv2d(channels, channels // 2, 1)
        self.deep = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            nn.ReLU(),
        )
        self.join = nn.Identity()
        self.logits = nn.Linear(7 * 7 * (2 * channels + channels // 2), 10)

    def forward(self, images: Tensor) -> Tensor:
        trunk = self.trunk(images[:, None])
        joined = self.join(torch.cat([self.skip(trunk), self.linear(trunk), self.deep(trunk)], dim=1))
        return self.logits(joined.flatten(1))


def read(mnist: Path, seed: int, sizes: list[int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return images and digits of `train`, `val` and `test`, drawn by the seed; no image is in two of them."""
    draw = np.random.default_rng(seed)
    with np.load(mnist) as file:
        order, test = draw.permutation(60_000), draw.permutation(10_000)[: sizes[2]]
        own = {"train": order[: sizes[0]], "val": order[len(order) - sizes[1] :]}
        rows = {split: (file["x_train"][rows], file["y_train"][rows]) for split, rows in own.items()}
        rows["test"] = file["x_test"][test], file["y_test"][test]
    return {
        split: (torch.from_numpy(images / np.float32(255) - np.float32(0.5)), torch.from_numpy(digits).long())
        for split, (images, digits) in rows.items()
    }


def train(model: nn.Module, images: Tensor, digits: Tensor, epochs: int, seed: int) -> None:
    """Adam at 1e-3 on batches of 64, in an order drawn by the seed."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(digits), generator=draw).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), digits[rows]).backward()
            optimiser.step()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--mnist", type=Path, required=True, help="x_train, y_train, x_test, y_test")
    arguments.add_argument(
        "--seed", type=int, default=0, help="of the network, of its training and of the rows"
    )
    arguments.add_argument("--train", type=int, default=20_000, help="images that the network is trained on")
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--rows", default="5000,5000,10000", help="rows dumped of train, val and test")
    arguments.add_argument("-o", "--output", required=True, help="the store to write, NAME.acts")
    given = arguments.parse_args()
    rows, val, test = map(int, given.rows.split(","))
    images = read(given.mnist, given.seed, [given.train, val, test])
    torch.manual_seed(given.seed)
    model = Forked()
    train(model, *images["train"], given.epochs, given.seed)
    batches = {split: [(pixels[:rows], digits[:rows])] for split, (pixels, digits) in images.items()}
    batches |= {split: [images[split]] for split in ("val", "test")}
    with actstore.create(given.output, layers=LAYERS, overwrite=True) as store:
        store.dump(model.eval(), batches, target="digit")


if __name__ == "__main__":
    main()
