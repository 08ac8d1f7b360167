"""The MNIST convnet of Figure 5 of Alain & Bengio (2016): train it, and dump its ten sites at some steps.

    python network.py --mnist mnist.npz --seed 0 -o seed0.acts

The network and its training are those of TensorFlow's `convolutional.py` of that time. Weights are kept in
`seed0.weights`, by step: interrupted, the same command trains on from there.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import actstore

BATCH = 64
SITES = ["input", "conv*", "relu*", "pool*", "fc*"]


class Convnet(nn.Module):
    """Ten digit logits from images (n, 28, 28) within -0.5 and 0.5.

    Weights are drawn from a normal distribution of standard deviation 0.1, cut off at 0.2; the biases of the first
    convolution are 0, all others 0.1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1, self.relu3, self.dropout = nn.Linear(3136, 512), nn.ReLU(), nn.Dropout(0.5)
        self.fc2 = nn.Linear(512, 10)
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            nn.init.constant_(layer.bias, 0.0 if layer is self.conv1 else 0.1)

    def forward(self, images: Tensor) -> Tensor:
        hidden = images[:, None]
        for layer in self.children():
            hidden = layer(hidden)
        return hidden

    def penalty(self) -> Tensor:
        """Half the squared weights and biases of the linear layers."""
        parts = (*self.fc1.parameters(), *self.fc2.parameters())
        return sum((part.square().sum() / 2 for part in parts), torch.zeros(()))


@dataclass(frozen=True)
class Images:
    """Images (rows, 28, 28) within -0.5 and 0.5, and what may be asked of each, (rows,)."""

    pixels: Tensor
    labels: dict[str, np.ndarray]

    def first(self, rows: int) -> Images:
        return Images(self.pixels[:rows], {name: label[:rows] for name, label in self.labels.items()})


def stroke_width(images: np.ndarray) -> np.ndarray:
    """Return a width of the pen in pixels, (rows,): the ink of each image by half the length of its outline."""
    ink = images > 127
    edges = np.abs(np.diff(ink.astype(np.int8), axis=1)).sum((1, 2)) + np.abs(
        np.diff(ink.astype(np.int8), axis=2)
    ).sum((1, 2))
    return ink.sum((1, 2)) / np.maximum(edges / 2, 1)


def read(mnist: Path, seed: int, sizes: dict[str, int]) -> dict[str, Images]:
    """Return `train`, `val` and `test`, drawn by the seed; the first two are of the 60,000 that MNIST trains on.

    Labels are `digit`, its `parity`, and `stroke`: 0, 1 or 2, whether the pen is thin, middling or thick (thirds of
    the 60,000).
    """
    draw = np.random.default_rng(seed)
    with np.load(mnist) as file:
        train, test = draw.permutation(60_000), draw.permutation(10_000)
        thirds = np.quantile(stroke_width(file["x_train"]), [1 / 3, 2 / 3])
        rows = {
            "train": (file["x_train"], file["y_train"], train[: sizes["train"]]),
            "val": (file["x_train"], file["y_train"], train[len(train) - sizes["val"] :]),
            "test": (file["x_test"], file["y_test"], test[: sizes["test"]]),
        }
    return {split: _images(x[own], y[own], thirds) for split, (x, y, own) in rows.items()}


def _images(images: np.ndarray, digits: np.ndarray, thirds: np.ndarray) -> Images:
    digits = digits.astype(np.int64)
    labels = {
        "digit": digits,
        "parity": digits % 2,
        "stroke": np.searchsorted(thirds, stroke_width(images)).astype(np.int64),
    }
    return Images(torch.from_numpy((images.astype(np.float32) - 127.5) / 255), labels)


def train(model: Convnet, images: Images, seed: int, steps: list[int], folder: Path) -> None:
    """Train to the last of the steps, and write `FOLDER/STEP.pt` at each; go on from what is there.

    Momentum 0.9, rate 0.01 · 0.95^epoch. The order of an epoch and the dropout of a step follow from the seed and
    their number alone, so that going on is the same as not having stopped.
    """
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    digits = torch.from_numpy(images.labels["digit"])
    batches = len(digits) // BATCH
    done = [step for step in steps if (folder / f"{step}.pt").exists()]
    if done:
        kept = torch.load(folder / f"{done[-1]}.pt")
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
    model.train()
    for step in range(done[-1] if done else 0, steps[-1] + 1):
        if step in steps and step not in done:
            partial = folder / f"{step}.partial"
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict()}, partial)
            partial.rename(folder / f"{step}.pt")
        epoch, batch = divmod(step, batches)
        order = np.random.default_rng((seed, epoch)).permutation(len(digits))
        rows = torch.from_numpy(order[batch * BATCH : (batch + 1) * BATCH])
        torch.manual_seed(seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = 0.01 * 0.95**epoch
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(images.pixels[rows]), digits[rows])
        (loss + 5e-4 * model.penalty()).backward()
        optimiser.step()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--mnist", type=Path, required=True, help="x_train, y_train, x_test, y_test")
    arguments.add_argument(
        "--seed", type=int, default=0, help="of the network, of its training and of the rows"
    )
    arguments.add_argument("--train", type=int, default=50_000, help="images that the network is trained on")
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--steps", help="which to dump, such as 0,10,20; else the first and the last")
    arguments.add_argument("--rows", default="10000,10000,5000", help="rows dumped of train, val and test")
    arguments.add_argument("--random-features", type=int, help="keep so many of each site, drawn at random")
    arguments.add_argument("--dtype", help="of what is stored, such as float16")
    arguments.add_argument("-o", "--output", type=Path, required=True, help="the store to write, NAME.acts")
    given = arguments.parse_args()
    sizes = dict(zip(("train", "val", "test"), map(int, given.rows.split(",")), strict=True))
    images = read(given.mnist, given.seed, sizes | {"train": given.train})
    end = given.epochs * (given.train // BATCH)
    steps = sorted({int(step) for step in given.steps.split(",")}) if given.steps else [0, end]
    folder = given.output.with_suffix(".weights")
    folder.mkdir(exist_ok=True)
    torch.manual_seed(given.seed)
    model = Convnet()
    train(model, images["train"], given.seed, steps, folder)
    rows = {split: part.first(sizes[split]) for split, part in images.items()}
    batches = {split: [(part.pixels, part.labels)] for split, part in rows.items() if len(part.pixels)}
    kept = {"random_features": given.random_features, "dtype": given.dtype}
    kept = {name: value for name, value in kept.items() if value is not None}
    with actstore.create(given.output, layers=SITES, overwrite=True, **kept) as store:
        for step in steps:
            model.load_state_dict(torch.load(folder / f"{step}.pt")["model"])
            store.dump(model.eval(), batches, step=step)
            print(f"step {step} is dumped", flush=True)


if __name__ == "__main__":
    main()
