"""Probes on an untrained network, each at its certified optimum.

Figure 3 of Alain & Bengio, "Understanding intermediate layers using linear classifier probes", section 3.3.

    python docs/reproductions/figure3.py -o docs/reproductions

writes figure3.csv, figure3.svg and figure3.png. No framework is needed; the figure needs altair and vl-convert.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

import solvers

LAYERS = 32
UNITS = 128
TEST_ROWS = 10_000
C = 1.0
PROCESSES = 2
ERRORS = ("train", "test")


def untrained_layers(inputs: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """The inputs and what each of 32 Glorot-normal layers with LeakyReLU(0.5) makes of them."""
    activations = [inputs]
    for _ in range(LAYERS):
        weights = generator.normal(scale=np.sqrt(2 / (UNITS + UNITS)), size=(UNITS, UNITS))
        linear = activations[-1] @ weights
        activations.append(np.maximum(linear, 0.5 * linear))
    return activations


def probe_data_set(task: tuple[int, list[int]]) -> list[dict[str, float]]:
    """One network and one data set: a record for each number of training rows and each layer."""
    seed, sizes = task
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(TEST_ROWS + max(sizes), UNITS))
    labels = inputs @ generator.normal(size=UNITS) > 0
    layers = {str(depth): rows for depth, rows in enumerate(untrained_layers(inputs, generator))}
    records = []
    for size in sizes:
        splits = {"test": range(TEST_ROWS), "train": range(TEST_ROWS, TEST_ROWS + size)}
        probes = solvers.fit_layers(layers, labels, splits=splits, C=C, engine="numpy")
        records += [
            {
                "rows": size,
                "layer": probe.order,
                "gap_nats": probe.gap_nats,
                "train": probe.error["train"],
                "test": probe.error["test"],
            }
            for probe in probes.values()
        ]
    return records


def summarise(records: list[dict[str, float]]) -> list[dict[str, object]]:
    """Mean, 10th to 90th percentile and worst gap over the data sets, by training rows, layer and split."""
    found: dict[tuple[float, float], list[dict[str, float]]] = {}
    for record in records:
        found.setdefault((record["rows"], record["layer"]), []).append(record)
    lines = []
    for (rows, layer), group in sorted(found.items()):
        for split in ERRORS:
            errors = np.array([record[split] for record in group])
            low, high = np.percentile(errors, [10, 90])
            lines.append(
                {
                    "training_rows": rows,
                    "layer": layer,
                    "split": split,
                    "error": round(float(errors.mean()), 5),
                    "error_p10": round(float(low), 5),
                    "error_p90": round(float(high), 5),
                    "data_sets": len(group),
                    "worst_gap_nats": f"{max(record['gap_nats'] for record in group):.1e}",
                }
            )
    return lines


def chart(lines: list[dict[str, object]]) -> object:
    """Error by layer, a panel for each number of training rows: the mean, the band, and chance dotted."""
    import altair as alt

    colour = alt.Color(
        "split:N",
        title=None,
        scale=alt.Scale(domain=list(ERRORS), range=["#8a97a5", "#1f5fa8"]),
        legend=alt.Legend(orient="top", labelExpr="datum.label + ' error'"),
    )
    x = alt.X("layer:Q", title="layer (0 is the input)", axis=alt.Axis(values=list(range(0, LAYERS + 1, 4))))
    y = alt.Y("error:Q", title="prediction error", scale=alt.Scale(domain=[0, 0.55]))
    panels = []
    for rows in dict.fromkeys(line["training_rows"] for line in lines):
        data = alt.Data(values=[line for line in lines if line["training_rows"] == rows])
        band = (
            alt.Chart(data)
            .mark_area(opacity=0.22)
            .encode(x=x, y=alt.Y("error_p10:Q", title=""), y2="error_p90:Q", color=colour)
        )
        mean = alt.Chart(data).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour)
        chance = alt.Chart(alt.Data(values=[{"error": 0.5, "text": "chance"}]))
        dotted = chance.mark_rule(strokeDash=[2, 4], color="#52606d").encode(y="error:Q")
        label = chance.mark_text(align="left", baseline="bottom", dx=4, dy=-2, color="#52606d").encode(
            y="error:Q", x=alt.value(0), text="text:N"
        )
        panels.append(
            alt.layer(band, mean, dotted, label).properties(
                width=330, height=280, title=f"{rows:,} training rows"
            )
        )
    return (
        alt.hconcat(*panels)
        .configure_view(stroke=None)
        .configure_axis(gridColor="#e4e7eb", domainColor="#9aa5b1")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-sets", type=int, default=100, help="networks and data sets to average over (100)"
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000], help="numbers of training rows")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the folder for the figure and its figures"
    )
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)

    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # for the processes to be started, one to a core
    begun = time.perf_counter()
    tasks = [(seed, given.rows) for seed in range(given.data_sets)]
    records = []
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for done, found in enumerate(pool.imap(probe_data_set, tasks), start=1):
            records += found
            print(
                f"\r{done} of {given.data_sets} data sets, {time.perf_counter() - begun:.0f} s",
                end="",
                flush=True,
            )
    print()
    lines = summarise(records)
    with (given.output / "figure3.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    figure = chart(lines)
    figure.save(str(given.output / "figure3.svg"))
    figure.save(str(given.output / "figure3.png"), scale_factor=2)
    worst = max(record["gap_nats"] for record in records)
    print(f"{len(records):,} probes; the worst certified gap is {worst:.1e} nats")
    for line in lines:
        if line["layer"] in (0, LAYERS):
            print("{training_rows:>6,} rows, layer {layer:>2}, {split:>5}: {error:.3f}".format(**line))


if __name__ == "__main__":
    main()
