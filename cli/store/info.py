"""`actstore info`: what a store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.result import Result, Table, command
from cli.shared import describe_labels, reductions_in_words, shape, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actstore.store.reading.reader import Store


@command()
@click.argument("store")
def info(store: str) -> Result:
    """Say what STORE holds: layers, rows by split, targets, where it came from.

    \b
    Example:
      actstore info digits.h5
    """
    import actstore

    with actstore.open(store) as opened:
        found = describe(opened)
    return Result(found, list(_text(store, found)))


def _text(store: str, found: Mapping[str, Any]) -> Iterator[str | Table]:
    """Yield what `describe` found, for a person."""
    state = "complete" if found["complete"] else "INCOMPLETE: the dump did not finish"
    yield f"{store}: {found['rows']:,} row{'s' * (found['rows'] != 1)} ({found['row_unit']}), {state}"
    if len(found["steps"]) > 1:
        yield _steps_line(found["steps"])
    yield "splits: " + ", ".join(f"{name or '(none)'} {rows:,}" for name, rows in found["splits"].items())
    for name, target in found["targets"].items():
        lacking = f", {target['unlabelled']:,} rows without" if target["unlabelled"] else ""
        yield f"target {name}: {target['classes']:,} classes{lacking}"
    yield from _weights_lines(found)
    yield ""
    reduced = ["reductions"] if any(layer["reductions"] for layer in found["layers"].values()) else []
    yield Table(
        ["layer", "shape of a row", "axes", "dtype", "bytes", "rows with NaN/Inf", *reduced],
        [
            [
                name,
                shape(layer["shape"]),
                ", ".join(layer["axes"]),
                layer["dtype"],
                size(layer["bytes"]),
                str(layer["nonfinite_rows"]),
                *([layer["reductions"]] if reduced else []),
            ]
            for name, layer in found["layers"].items()
        ],
        left=(0, 6),
    )
    yield f"{size(found['activation_bytes'])} of activations" + (
        f" at {len(found['steps']):,} steps" if len(found["steps"]) > 1 else ""
    )
    if found["provenance"].get("command"):
        yield ""
        yield f"made by: {found['provenance']['command']}"


def _weights_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the hash of the model's weights, step by step where they differ."""
    by_step = {step: facts["weights"] for step, facts in found["steps"].items() if facts["weights"]}
    if len(set(by_step.values())) == 1:
        yield f"weights: {next(iter(by_step.values()))}"
    else:
        yield from (f"weights of step {step}: {weights}" for step, weights in by_step.items())


def _steps_line(steps: Mapping[int, Mapping[str, Any]]) -> str:
    unfinished = [str(step) for step, facts in steps.items() if not facts["complete"]]
    note = f"; INCOMPLETE: {', '.join(unfinished)}" if unfinished else ""
    return f"steps: {', '.join(map(str, steps))}{note}"


def describe(store: Store) -> dict[str, Any]:
    """Everything `info` prints, as plain values."""
    import numpy as np

    names, first, counts = np.unique(store.splits, return_index=True, return_counts=True)
    order = np.argsort(first)
    base = store.at(store.steps[0])
    layers = {
        name: {
            "shape": list(layer.shape[1:]),
            "axes": list(layer.axes),
            "dtype": layer.stored_dtype,
            "bytes": layer.nbytes,
            "nonfinite_rows": store.nonfinite.get(name, 0),
            "reductions": _reductions(base.provenance, name),
        }
        for name, layer in base.layers.items()
    }
    targets = {name: describe_labels(labels) for name, labels in store.targets.items()}
    return {
        "path": str(store.path),
        "complete": store.complete,
        "rows": store.rows,
        "row_unit": store.row_unit,
        "steps": {step: _describe_step(store.at(step)) for step in store.steps},
        "fingerprint": store.fingerprint,
        "splits": dict(zip(names[order].tolist(), counts[order].tolist(), strict=True)),
        "targets": targets,
        "layers": layers,
        "activation_bytes": sum(store.at(step).layers[name].nbytes for step in store.steps for name in layers),
        "provenance": base.provenance,
    }


def _reductions(provenance: Mapping[str, Any], layer: str) -> str:
    """What a layer was reduced by, in words; empty where it was not, or where nobody told."""
    told = provenance.get("reductions", {}).get("layers", {}).get(layer, {}).get("steps")
    return reductions_in_words(told) if told else ""


def _describe_step(store: Store) -> dict[str, Any]:
    weights = store.provenance.get("model", {}).get("weights", "")
    return {
        "complete": store.complete,
        "rows": store.rows,
        "weights": weights,
        "fingerprint": store.fingerprint,
    }
