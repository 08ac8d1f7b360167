"""The network of Figure 7 of Alain & Bengio (2016): train it with guides, or without, and dump it at some steps.

    python network.py --mnist mnist.npz --seed 0 --depth 128 --guides 16 --steps 0,500,5000 -o guided-0.acts

A chain of equal layers; every 16th has a linear head whose loss is added to that of the last layer (a guide). With
``--along FILE.csv`` a probe beside every dumped layer is trained meanwhile, on the same batches, and its errors are
written as a table of scores. Called again, a store that has all its steps is left alone; an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import actstore

RATE, BATCH = 1e-4, 64


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
                torch.from_numpy(file[f"x_{split}"].reshape(-1, 784).astype(np.float32) / 255 - 0.5),
                torch.from_numpy(file[f"y_{split}"]).long(),
            )
            for split in ("train", "test")
        }


class Layer(nn.Linear):
    """A linear map of Glorot's normal weights and LeakyReLU, whose slope of 1 makes it a head."""

    def __init__(self, inward: int, outward: int, slope: float = 0.5) -> None:
        super().__init__(inward, outward)
        self.slope = slope
        nn.init.xavier_normal_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, rows: Tensor) -> Tensor:
        return nn.functional.leaky_relu(super().forward(rows), self.slope)


class Deep(nn.Module):
    """The logits of every head, the last layer's last; layers are called ``1`` to ``depth``.

    Args:
        depth: how many layers of 128 units there are.
        guides: a head every so many layers; 0 for the last layer's alone.
    """

    def __init__(self, depth: int, guides: int) -> None:
        super().__init__()
        self.heads = [str(layer) for layer in range(1, depth) if guides and layer % guides == 0] + [str(depth)]
        for number in range(1, depth + 1):
            self.add_module(str(number), Layer(784 if number == 1 else 128, 128))
        for name in self.heads:
            self.add_module(f"head{name}", Layer(128, 10, slope=1))

    def hidden(self, images: Tensor) -> dict[str, Tensor]:
        found = {"input": images}
        for name, layer in self.named_children():
            if not name.startswith("head"):
                images = found[name] = layer(images)
        return found

    def forward(self, images: Tensor) -> list[Tensor]:
        hidden = self.hidden(images)
        return [self.get_submodule(f"head{name}")(hidden[name]) for name in self.heads]


class Along:
    """A probe for each of some layers, trained on the network's own batches; no gradient goes back into the network."""

    def __init__(self, layers: list[str]) -> None:
        self.layers = layers
        widths = {name: 784 if name == "input" else 128 for name in layers}
        self.probes = nn.ModuleDict({name: nn.Linear(width, 10) for name, width in widths.items()})
        for parameter in self.probes.parameters():
            nn.init.zeros_(parameter)
        self.optimiser = torch.optim.RMSprop(self.probes.parameters(), lr=RATE)
        self.scores: list[dict[str, Any]] = []

    def step(self, hidden: dict[str, Tensor], digits: Tensor) -> None:
        self.optimiser.zero_grad()
        losses = [
            nn.functional.cross_entropy(self.probes[name](hidden[name].detach()), digits)
            for name in self.layers
        ]
        torch.stack(losses).sum().backward()
        self.optimiser.step()

    @torch.no_grad()
    def count(self, model: Deep, rows: dict[str, Images], step: int, store: str) -> None:
        """Note the share of wrong answers, as rows of the table of scores."""
        for split, images in rows.items():
            hidden = model.hidden(images.pixels)
            for name in self.layers:
                wrong = self.probes[name](hidden[name]).argmax(1) != images.digits
                score = {"store": store, "layer": name, "step": step, "target": "digit", "kind": "task"}
                score |= {"method": "along", "seed": 0, "split": split, "metric": "error", "unit": "share"}
                score |= {"role": "held_out" if split == "test" else "fit", "rows": len(images.digits)}
                self.scores.append(score | {"value": wrong.float().mean().item(), "status": "along"})


def train(
    model: Deep,
    images: Images,
    optimiser: torch.optim.Optimizer,
    batches: int,
    draw: np.random.Generator,
    along: Along | None = None,
) -> None:
    """Take so many steps of 64 images on the sum of the heads' losses."""
    for _ in range(batches):
        chosen = torch.from_numpy(draw.integers(len(images.digits), size=BATCH))
        pixels, digits = images.pixels[chosen], images.digits[chosen]
        hidden = model.hidden(pixels)
        heads = [model.get_submodule(f"head{name}")(hidden[name]) for name in model.heads]
        optimiser.zero_grad()
        torch.stack([nn.functional.cross_entropy(head, digits) for head in heads]).sum().backward()
        optimiser.step()
        if along is not None:
            along.step(hidden, digits)


def ascending(text: str) -> list[int]:
    """Return steps such as 0,500,5000."""
    steps = [int(step) for step in text.split(",")]
    if steps[0] < 0 or any(later <= step for step, later in pairwise(steps)):
        raise argparse.ArgumentTypeError(f"{text} is no ascending list of steps such as 0,500,5000")
    return steps


def finished(store: str, steps: list[int]) -> bool:
    """Whether a store is there with all of these steps."""
    if not Path(store).exists():
        return False
    with actstore.open(store) as there:
        return set(steps) <= set(there.steps) and all(there.at(step).complete for step in steps)


def save(scores: list[dict[str, Any]], path: Path) -> None:
    columns = (
        "store,layer,step,target,kind,method,part,C,seed,fold,split,role,metric,unit,value,low,high,interval"
    )
    names = [*columns.split(","), "rows", "groups", "status", "features", "fitted_on"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(scores)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True, help="the store to write, NAME.acts")
    parser.add_argument(
        "--mnist", type=Path, required=True, help="an .npz with x_train, y_train, x_test, y_test"
    )
    parser.add_argument("--depth", type=int, default=128)
    parser.add_argument("--guides", type=int, default=16, help="a head every so many layers; 0 for none")
    parser.add_argument("--steps", type=ascending, default="0,500,5000", help="which to dump")
    parser.add_argument(
        "--rows", type=int, default=5_000, help="rows of `train` that are dumped, drawn by the seed"
    )
    parser.add_argument("--test-rows", type=int, default=1_000, help="rows of `test` that are dumped")
    parser.add_argument("--every", type=int, default=1, help="dump the input and every so many layers")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the batches and the rows dumped")
    parser.add_argument("--epsilon", type=float, default=1e-8, help="of RMSProp")
    parser.add_argument("--along", type=Path, help="train probes beside the network; FILE.csv for their errors")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if finished(given.output, given.steps) and (given.along is None or given.along.exists()):
        print(f"{given.output} has all of its steps")
        return
    images = read(given.mnist)
    torch.manual_seed(given.seed)
    model = Deep(given.depth, given.guides)
    layers = ["input", *(str(layer) for layer in range(given.every, given.depth + 1, given.every))]
    along = Along(layers) if given.along else None
    optimiser = torch.optim.RMSprop(model.parameters(), lr=RATE, eps=given.epsilon)
    draw = np.random.default_rng(given.seed)
    counts = {"train": given.rows, "test": given.test_rows}
    rows = {split: part.drawn(counts[split], draw) for split, part in images.items()}
    batches = {split: [(part.pixels, part.digits)] for split, part in rows.items()}
    done = 0
    with actstore.create(given.output, layers=layers, resume=Path(given.output).exists()) as store:
        for step in given.steps:
            train(model.train(), images["train"], optimiser, step - done, draw, along)
            store.dump(model.eval(), batches, target="digit", step=step)
            if along is not None:
                along.count(model, rows, step, given.output)
            print(f"{given.output}: step {step} is dumped", flush=True)
            done = step
    if along is not None:
        save(along.scores, given.along)


if __name__ == "__main__":
    main()
