"""The numbers of the criterion of this page, from the tables of scores: python criterion.py > criterion.csv"""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import correlation, mean

Errors = dict[int, float]


def read(name: str) -> dict[int, Errors]:
    """Test errors by step and depth, the input's at 0."""
    found: dict[int, Errors] = {}
    with Path(name).open() as file:
        for line in csv.DictReader(file):
            if (line["kind"], line["metric"], line["split"]) == ("task", "error", "test"):
                depth = 0 if line["layer"] == "input" else int(line["layer"])
                found.setdefault(int(line["step"]), {})[depth] = float(line["value"])
    return found


def falls(table: dict[int, Errors]) -> tuple[float, float, float, float]:
    """How far the mean error before the skip, behind it and of the last layer falls; the rise just before the skip."""
    first, last = table[min(table)], table[max(table)]
    middle, depth = max(first) // 2, max(first)
    before = [first[each] - last[each] for each in first if 0 < each < middle]
    behind = [first[each] - last[each] for each in first if each >= middle]
    return mean(before), mean(behind), first[depth] - last[depth], last[middle - 1] - first[middle - 1]


def ranks(values: list[float]) -> list[float]:
    return [mean(place for place, other in enumerate(sorted(values)) if other == value) for value in values]


def half_way(frames: dict[int, Errors]) -> float:
    """The rank correlation of depth and the step of half the fall, over the layers from the skip on."""
    first, last = frames[min(frames)], frames[max(frames)]
    depths = [float(each) for each in first if each >= max(first) // 2]
    steps = [
        float(next(step for step in sorted(frames) if frames[step][each] <= (first[each] + last[each]) / 2))
        if last[each] < first[each]
        else float(max(frames))
        for each in map(int, depths)
    ]
    constant = len(set(steps)) == 1
    return float("nan") if constant else correlation(ranks(depths), ranks(steps))


def main() -> None:
    concat, add, frames = read("concat.csv"), read("add.csv"), read("frames.csv")
    first = concat[min(concat)]
    middle, depth = max(first) // 2, max(first)
    found = [
        ("1 step 0: before the skip minus input", first[middle - 1] - first[0]),
        ("1 step 0: before the skip minus at the skip", first[middle - 1] - first[middle]),
        ("1 step 0: last minus at the skip", first[depth] - first[middle]),
    ]
    for name, table in (("2 concat", concat), ("3 add", add)):
        words = ("mean fall before the skip", "mean fall behind it", "fall of the last layer")
        found += list(zip((f"{name}: {word}" for word in words), falls(table)[:3], strict=True))
        found.append((f"{name}: rise of the layer before the skip", falls(table)[3]))
    found.append(("4 rank correlation of depth and the step of half the fall", half_way(frames)))
    print("number,value")
    for name, value in found:
        print(f"{name},{value:.4g}")


if __name__ == "__main__":
    main()
