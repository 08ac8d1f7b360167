"""Turn what `bench_forward.py` of the store's benchmarks prints into a table of scores that `probe plot` draws.

    python bench_forward.py > forward.md
    python network.py forward.md -o forward.csv

The network is the benchmark's own: of the size of ResNet-50, weights and images random. A row is a way to get at
activations; its value is the median of rows a second over the repeats, its interval the least and the greatest.
"""

from __future__ import annotations

import argparse
import csv
import re
from dataclasses import asdict
from pathlib import Path

from solvers.scoring.score import COLUMNS, Score

WAYS = ("dumped once", "read back cold", "read back warm")


def scores_of(text: str) -> list[Score]:
    """Return a score for each line of the table; what was done is the method, with which layers the layer."""
    counted = re.search(r"^([\d,]+) rows of", text, re.MULTILINE)
    if counted is None:
        raise SystemExit("there is no line `N rows of ...`; expected what bench_forward.py prints")
    rows, found = int(counted[1].replace(",", "")), []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or not cells[2] or not cells[2][0].isdigit():
            continue
        value, (low, high) = _number(cells[2]), map(_number, cells[3].split(" to "))
        way = next((way for way in WAYS if cells[0].startswith(way)), "forward pass")
        found.append(
            Score(
                store="benchmark", layer=cells[0].removeprefix(f"{way}, "), step=0, target="rows", kind="task",
                method=way, part="", C=float("nan"), seed=0, fold=None, split="", role="held_out",
                metric="rows a second", unit="", value=value, low=low, high=high,
                interval="the least and the greatest", rows=rows, groups=None, status="converged",
            )
        )  # fmt: skip
    return found


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("table", type=Path, help="what bench_forward.py printed")
    arguments.add_argument("-o", "--output", type=Path, required=True, help="a table of scores, NAME.csv")
    given = arguments.parse_args()
    with given.output.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(map(asdict, scores_of(given.table.read_text())))


if __name__ == "__main__":
    main()
