"""The network of Figure 8 of Alain & Bengio (2016): train it with its skip connection and dump it at some steps.

    python network.py --mnist mnist.npz --seed 0 --depth 128 --skip concat --steps 0,500,2000 -o concat-0.acts

A deep chain of equal layers whose middle one sees the input, too: beside the layer before it (``concat``), added to it
through a linear map (``add``), or not at all (``none``). Called again, a store that has all its steps is left alone; an
interrupted one goes on.
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

RATE, BATCH, PIXELS, WIDTH = 1e-4, 64, 784, 128


@dataclass(frozen=True)
class Images:
    """Images (rows, pixels) within -0.5 and 0.5, and their digits (rows,)."""

    pixels: Tensor
    digits: Tensor

    def drawn(self, rows: int, draw: np.random.Generator) -> Images:
        chosen = torch.from_numpy(np.sort(draw.permutation(len(self.digits))[:rows]))
        return Images(self.pixels[chosen], self.digits[chosen])


def read(mnist: Path) -> dict[str, Images]:
    with np.load(mnist) as file:
        return {
            split: Images(
                torch.from_numpy(file[f"x_{split}"].reshape(-1, PIXELS).astype(np.float32) / 255 - 0.5),
                torch.from_numpy(file[f"y_{split}"]).long(),
            )
            for split in ("train", "test")
        }


class Layer(nn.Linear):
    """A linear map of Glorot's normal weights and LeakyReLU, whose slope of 1 leaves the map alone."""

    def __init__(self, inward: int, outward: int, slope: float = 0.5) -> None:
        super().__init__(inward, outward)
        self.slope = slope
        nn.init.xavier_normal_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, rows: Tensor) -> Tensor:
        return nn.functional.leaky_relu(super().forward(rows), self.slope)


class Skip(nn.Module):
    """Ten logits; layers are called ``1`` to ``depth``, and the one in the middle sees the input, too.

    Args:
        depth: how many layers of 128 units there are.
        skip: ``concat``, ``add`` or ``none``.
    """

    def __init__(self, depth: int, skip: str) -> None:
        super().__init__()
        self.skip, self.middle = skip, str(depth // 2)
        for number in range(1, depth + 1):
            beside = PIXELS if str(number) == self.middle and skip == "concat" else 0
            self.add_module(str(number), Layer(PIXELS if number == 1 else WIDTH + beside, WIDTH))
        if skip == "add":
            self.added = Layer(PIXELS, WIDTH, slope=1)
        self.logits = Layer(WIDTH, 10, slope=1)

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        for name, layer in self.named_children():
            if name == self.middle and self.skip == "concat":
                hidden = torch.cat([hidden, images], dim=1)
            if name == self.middle and self.skip == "add":
                hidden = hidden + self.added(images)
            if name != "added":
                hidden = layer(hidden)
        return hidden


def train(
    model: Skip, images: Images, optimiser: torch.optim.Optimizer, batches: int, draw: np.random.Generator
) -> None:
    """Take so many steps of 64 images on the cross-entropy."""
    for _ in range(batches):
        chosen = torch.from_numpy(draw.integers(len(images.digits), size=BATCH))
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images.pixels[chosen]), images.digits[chosen]).backward()
        optimiser.step()


def ascending(text: str) -> list[int]:
    """Return steps such as 0,500,2000."""
    steps = [int(step) for step in text.split(",")]
    if steps[0] < 0 or any(later <= step for step, later in pairwise(steps)):
        raise argparse.ArgumentTypeError(f"{text} is no ascending list of steps such as 0,500,2000")
    return steps


def finished(store: str, steps: list[int]) -> bool:
    """Whether a store is there with all of these steps."""
    if not Path(store).exists():
        return False
    with actstore.open(store) as there:
        return set(steps) <= set(there.steps) and all(there.at(step).complete for step in steps)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True, help="the store to write, NAME.acts")
    parser.add_argument(
        "--mnist", type=Path, required=True, help="an .npz with x_train, y_train, x_test, y_test"
    )
    parser.add_argument("--depth", type=int, default=128)
    parser.add_argument("--skip", choices=("concat", "add", "none"), default="concat")
    parser.add_argument("--steps", type=ascending, default="0,500,2000", help="which to dump")
    parser.add_argument(
        "--rows", type=int, default=10_000, help="rows of `train` that are dumped, drawn by the seed"
    )
    parser.add_argument("--test-rows", type=int, default=1_000, help="rows of `test` that are dumped")
    parser.add_argument(
        "--every", type=int, default=1, help="dump the input, every so many layers, the one before"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the batches and the rows dumped")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if finished(given.output, given.steps):
        print(f"{given.output} has all of its steps")
        return
    images = read(given.mnist)
    torch.manual_seed(given.seed)
    model = Skip(given.depth, given.skip)
    numbers = {*range(given.every, given.depth + 1, given.every), 1, given.depth // 2 - 1}
    layers = ["input", *(str(number) for number in sorted(numbers))]
    optimiser = torch.optim.RMSprop(model.parameters(), lr=RATE)
    draw = np.random.default_rng(given.seed)
    counts = {"train": given.rows, "test": given.test_rows}
    rows = {split: part.drawn(counts[split], draw) for split, part in images.items()}
    batches = {split: [(part.pixels, part.digits)] for split, part in rows.items()}
    done = 0
    with actstore.create(given.output, layers=layers, resume=Path(given.output).exists()) as store:
        for step in given.steps:
            train(model.train(), images["train"], optimiser, step - done, draw)
            store.dump(model.eval(), batches, target="digit", step=step)
            print(f"{given.output}: step {step} is dumped", flush=True)
            done = step


if __name__ == "__main__":
    main()
