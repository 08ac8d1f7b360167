"""The numbers of the criterion of this page, from the tables of scores: python criterion.py > criterion.csv"""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import correlation, mean

LAST, WEAK = "128", 1000.0


def read(name: str, split: str = "test", method: str = "logistic") -> dict[int, dict[str, float]]:
    """Errors by step and layer, of the probes themselves."""
    found: dict[int, dict[str, float]] = {}
    with Path(name).open() as file:
        for line in csv.DictReader(file):
            asked = (line["kind"], line["metric"], line["split"], line["method"])
            if asked == ("task", "error", split, method):
                found.setdefault(int(line["step"]), {})[line["layer"]] = float(line["value"])
    return found


def by_depth(errors: dict[str, float]) -> list[tuple[int, float]]:
    return sorted((0 if layer == "input" else int(layer), error) for layer, error in errors.items())


def deepest(errors: dict[str, float]) -> float:
    return by_depth(errors)[-1][1]


def reached(frames: dict[int, dict[str, float]], layer: str, level: float) -> int:
    """The first step at which the error of a layer is no greater, the last one if it never is."""
    return next((step for step in sorted(frames) if frames[step][layer] <= level), max(frames))


def ranks(values: list[float]) -> list[float]:
    return [mean(place for place, other in enumerate(sorted(values)) if other == value) for value in values]


def spearman(first: list[float], second: list[float]) -> float:
    constant = len(set(first)) == 1 or len(set(second)) == 1
    return float("nan") if constant else correlation(ranks(first), ranks(second))


def main() -> None:
    guided, plain, frames = read("guided.csv"), read("plain.csv"), read("frames.csv")
    begun, done = min(guided), max(guided)
    rise = by_depth(guided[begun])
    layers = [layer for layer in frames[min(frames)] if layer != "input"]
    depths = [float(layer) for layer in layers]
    first, last = frames[min(frames)], frames[max(frames)]
    wave = [float(reached(frames, layer, 0.3)) for layer in layers]
    half = [float(reached(frames, layer, (first[layer] + last[layer]) / 2)) for layer in layers]
    near = [float(reached(frames, layer, last[layer] + 0.02)) for layer in layers]
    quarter = max(depths) / 4
    early = mean(step for step, depth in zip(near, depths, strict=True) if depth <= quarter)
    late = mean(step for step, depth in zip(near, depths, strict=True) if depth > 3 * quarter)
    along = read("along.csv", "train", "along")
    converged = read("frames.csv", "train")
    middle = max(step for step in along if step <= 500)
    skew = {layer: along[middle][layer] - converged[middle][layer] for layer in layers}
    print("number,value")
    for name, value in [
        ("1 step 0: input", rise[0][1]),
        ("1 step 0: last layer", rise[-1][1]),
        (
            "1 step 0: rank correlation of error and depth",
            spearman([d for d, _ in rise], [e for _, e in rise]),
        ),
        ("2 last step: last layer with guides", deepest(guided[done])),
        (f"2 step {max(plain)}: last layer with guides", deepest(guided[max(plain)])),
        (f"2 step {max(plain)}: last layer without", deepest(plain[max(plain)])),
        ("3 rank correlation of depth and the step of an error of .30", spearman(depths, wave)),
        ("3 rank correlation of depth and the step of half the fall", spearman(depths, half)),
        *((f"4 depth {name}: last layer", error) for name, error in depths_broken(plain)),
        (f"5 along minus converged at step {middle}: mean over layers", mean(skew.values())),
        (f"5 along minus converged at step {middle}: least", min(skew.values())),
        ("6 mean step of being within .02 of the end: first quarter", early),
        ("6 mean step of being within .02 of the end: last quarter", late),
    ]:
        print(f"{name},{value:.4g}")


def depths_broken(plain: dict[int, dict[str, float]]) -> list[tuple[str, float]]:
    found = []
    for name in sorted(Path().glob("depth-*.csv"), key=lambda path: int(path.stem.split("-")[1])):
        errors = read(str(name))
        step = max(errors)
        found.append((f"{name.stem.split('-')[1]} at step {step}", deepest(errors[step])))
    step = max(plain)
    return [*found, (f"{by_depth(plain[step])[-1][0]} at step {step}", deepest(plain[step]))]


if __name__ == "__main__":
    main()
