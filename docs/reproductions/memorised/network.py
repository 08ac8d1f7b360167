"""The data of appendix A.1 of Alain & Bengio (2016): rows of N(0, I), labelled by the largest of K random products.

    python network.py --seed 0 --rows 2000,5000 -o seed0.acts
    python network.py --bayes

Rows are drawn in blocks, so no more than a block of `--features` columns is ever in memory; the store keeps
`--taken` columns of them. There is a target for each number N of training rows, `nN`: the first N rows have a label.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

import actstore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK_ELEMENTS = 25_000_000
UNLABELLED = -1


@dataclass(frozen=True)
class Drawn:
    """Blocks of rows (rows, features), float32, and the labels of each for every size; the same on every pass.

    A row has label argmax of x W, with W (features, classes) of N(0, 1). Of `train`, a size labels its first rows; of
    `test` all.
    """

    seed: int
    split: str
    rows: int
    sizes: tuple[int, ...]
    features: int
    classes: int

    def __iter__(self) -> Iterator[tuple[NDArray[np.float32], dict[str, NDArray[np.int64]]]]:
        weights = np.random.default_rng((self.seed, 0)).standard_normal(
            (self.features, self.classes), dtype=np.float32
        )
        draw = np.random.default_rng((self.seed, 1 + ("train", "test").index(self.split)))
        block = max(1, BLOCK_ELEMENTS // self.features)
        for first in range(0, self.rows, block):
            place = np.arange(first, min(first + block, self.rows))
            rows = draw.standard_normal((len(place), self.features), dtype=np.float32)
            label = (rows @ weights).argmax(axis=1)
            limits = {f"n{size}": size if self.split == "train" else self.rows for size in self.sizes}
            yield rows, {name: np.where(place < limit, label, UNLABELLED) for name, limit in limits.items()}


def rows(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """There is no network: the layer is the rows themselves."""
    return {"x": batch}


def bayes_error(features: int, taken: int, classes: int, draws: int = 20_000) -> float:
    """Return the error of whoever knows W and sees `taken` of the features: no probe can have a lower one.

    A product is a seen part a of variance s = taken/features and an unseen one b of variance 1 - s, apart for every
    class. The largest a wins where a + b is largest for it, too: over b of that class, the product of the other
    classes' chances to stay below, averaged over draws.
    """
    draw, share = np.random.default_rng(0), taken / features
    right = 0.0
    for _ in range(draws // 1000):
        seen = draw.standard_normal((1000, classes)) * share**0.5
        top = seen.max(axis=1, keepdims=True)
        unseen = draw.standard_normal((1000, 1)) * (1 - share) ** 0.5
        below = ndtr((top + unseen - seen) / (1 - share) ** 0.5)
        np.put_along_axis(below, seen.argmax(axis=1)[:, None], 1.0, axis=1)
        right += float(below.prod(axis=1).sum())
    return 1 - right / (draws // 1000 * 1000)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--features", type=int, default=100_000)
    arguments.add_argument("--taken", type=int, default=1_000, help="columns kept, drawn at random")
    arguments.add_argument("--classes", type=int, default=1_000)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--rows", default="2000", help="numbers of training rows, such as 2000,5000")
    arguments.add_argument("--test", type=int, default=2_000, help="rows of test")
    arguments.add_argument(
        "--bayes", action="store_true", help="print the error of the best rule, and do nothing else"
    )
    arguments.add_argument("-o", "--output", help="the store to write, NAME.acts")
    given = arguments.parse_args()
    if given.bayes:
        print(f"{bayes_error(given.features, given.taken, given.classes):.5f}")
        return
    if given.output is None:
        arguments.error("say where the store goes: -o NAME.acts")
    sizes = tuple(map(int, given.rows.split(",")))
    common = {"sizes": sizes, "features": given.features, "classes": given.classes}
    batches = {
        "train": Drawn(given.seed, "train", max(sizes), **common),
        "test": Drawn(given.seed, "test", given.test, **common),
    }
    kept = {"random_features": given.taken, "seed": given.seed, "overwrite": True}
    with actstore.create(given.output, layers=["x"], **kept) as store:
        store.dump(rows, batches, ignore_label=UNLABELLED)


if __name__ == "__main__":
    main()
