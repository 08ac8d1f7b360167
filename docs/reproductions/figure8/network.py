"""The network of Figure 8 of Alain & Bengio (2016), in small: train it and dump every layer at five steps.

    python docs/reproductions/figure8/network.py --mnist mnist.npz -o skip.acts

A deep chain of equal layers, whose middle one sees the layer before it and the input side by side. The paper's size is
``--layers 128 --width 128``. Without ``--mnist`` the images are scikit-learn's 1,797 digits. Interrupted, the same
command with ``--resume`` trains again from the seed and goes on where the store ends.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import actstore


@dataclass(frozen=True)
class Images:
    """Images (rows, pixels) within -0.5 and 0.5, and their digits (rows,)."""

    pixels: Tensor
    digits: Tensor

    def __getitem__(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        return self.pixels[rows], self.digits[rows]


class Skip(nn.Module):
    """Ten logits; layers are called ``1`` to ``N``, and the one in the middle sees the input, too.

    Args:
        pixels: the width of the input.
        layers: how many layers there are.
        width: the units of each.
    """

    def __init__(self, pixels: int, layers: int, width: int) -> None:
        super().__init__()
        self.skip = str(layers // 2)
        before = pixels
        for number in range(1, layers + 1):
            linear = nn.Linear(before + pixels * (str(number) == self.skip), width)
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            self.add_module(str(number), nn.Sequential(linear, nn.LeakyReLU(0.5)))
            before = width
        self.logits = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        for name, layer in self.named_children():
            hidden = layer(torch.cat([hidden, images], dim=1) if name == self.skip else hidden)
        return hidden


def read(mnist: Path | None) -> dict[str, Images]:
    """Return the images of `train`, `val` and `test`; `val` is a tenth or more of what was not trained on."""
    if mnist is None:
        from sklearn.datasets import load_digits

        pixels, digits = load_digits(return_X_y=True)
        pixels, cuts = pixels / 16, [1200, 1400]
    else:
        with np.load(mnist) as file:
            pixels = np.concatenate([file["x_train"], file["x_test"]]).reshape(-1, 784) / 255
            digits, cuts = np.concatenate([file["y_train"], file["y_test"]]), [60_000, 62_000]
    parts = zip(np.split(pixels - 0.5, cuts), np.split(digits, cuts), strict=True)
    images = [Images(torch.tensor(x, dtype=torch.float32), torch.tensor(y).long()) for x, y in parts]
    return dict(zip(("train", "val", "test"), images, strict=True))


def train(
    model: Skip, images: Images, optimiser: torch.optim.Optimizer, batches: int, draw: np.random.Generator
) -> None:
    """Take so many steps of 64 images on the cross-entropy."""
    for _ in range(batches):
        pixels, digits = images[torch.from_numpy(draw.integers(len(images.digits), size=64))]
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(pixels), digits).backward()
        optimiser.step()


def ascending(text: str) -> list[int]:
    """Return steps such as 0,100,500."""
    steps = [int(step) for step in text.split(",")]
    if steps[0] < 0 or any(later <= step for step, later in pairwise(steps)):
        raise argparse.ArgumentTypeError(f"{text} is no ascending list of steps such as 0,100,500")
    return steps


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("-o", "--output", required=True, help="the store to write, NAME.acts")
    arguments.add_argument("--mnist", type=Path, help="an .npz with x_train, y_train, x_test, y_test")
    arguments.add_argument("--layers", type=int, default=32)
    arguments.add_argument("--width", type=int, default=64)
    arguments.add_argument("--steps", type=ascending, default="0,100,500,1000,2000", help="which to dump")
    arguments.add_argument("--rows", type=int, default=10_000, help="at most so many of each split are dumped")
    arguments.add_argument("--resume", action="store_true", help="go on with a store that was interrupted")
    given = arguments.parse_args()
    images = read(given.mnist)
    torch.manual_seed(0)
    model = Skip(images["train"].pixels.shape[1], given.layers, given.width)
    optimiser = torch.optim.RMSprop(model.parameters(), lr=1e-4)
    rows = {split: [part[: given.rows]] for split, part in images.items()}
    draw, done = np.random.default_rng(0), 0
    layers = {"layers": ["input", "*"], "exclude_layers": "logits"}
    with actstore.create(given.output, **layers, resume=given.resume) as store:
        for step in given.steps:
            train(model.train(), images["train"], optimiser, step - done, draw)
            store.dump(model.eval(), rows, target="digit", step=step)
            print(f"step {step} is dumped", flush=True)
            done = step


if __name__ == "__main__":
    main()
