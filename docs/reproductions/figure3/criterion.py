"""The numbers of the criterion of this page, from the tables of scores: python criterion.py > criterion.csv"""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path


def read(name: str, metric: str = "error") -> dict[int, float]:
    """Means on the training rows, by layer."""
    with Path(name).open() as file:
        return {
            int(line["layer"]): float(line["value"])
            for line in csv.DictReader(file)
            if (line["kind"], line["metric"], line["split"]) == ("task", metric, "train")
        }


def main() -> None:
    glorot, orthogonal, rmsprop = read("glorot.csv"), read("orthogonal.csv"), read("rmsprop.csv")
    norm = read("rmsprop.csv", "activation_norm")
    last = max(glorot)
    eighths = [glorot[depth] for depth in range(0, last + 1, 8)]
    steps = [later - earlier for earlier, later in pairwise(eighths)]
    print("number,value")
    for name, value in [
        ("1 input", glorot[0]),
        (f"1 layer {last}", glorot[last]),
        ("1 least rise over 8 layers", min(steps)),
        (f"2 layer {last} by RMSProp", rmsprop[last]),
        (f"3 orthogonal: layer {last}", orthogonal[last]),
        ("3 rise with orthogonal weights over that with Glorot's", orthogonal[last] / glorot[last]),
        (f"4 mean norm at layer {last}", norm[last]),
    ]:
        print(f"{name},{value:.4g}")


if __name__ == "__main__":
    main()
