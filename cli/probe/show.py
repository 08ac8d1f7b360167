"""`probe show`: the probes of a file as a table, or of two side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.shared import echo_json, echo_table, json_option

if TYPE_CHECKING:
    from solvers.probing.probe import Probe, Probes

_SPLITS = ("train", "val", "test")


@click.command()
@click.argument("probes", metavar="PROBES")
@click.argument("other", required=False, metavar="[PROBES]")
@json_option
def show(probes: str, other: str | None, as_json: bool) -> None:
    """Print a row per layer (and target): error on train/val/test, cross-entropy, C, gap and engine.

    Given two files, their probes are shown side by side; they must have been fitted on the same rows.

    \b
    Example:
      probe show probes.h5
    """
    import solvers

    first = solvers.load(probes)
    if other is None:
        echo_json([as_record(probe) for probe in first.values()]) if as_json else echo_probes(first)
        return
    pairs = pair(first, solvers.load(other), (probes, other))
    if as_json:
        echo_json([[as_record(left), as_record(right)] for left, right in pairs])
    else:
        echo_pairs(pairs)


def as_record(probe: Probe) -> dict[str, Any]:
    """What `probe show --json` prints of a probe (DESIGN section 6)."""
    return {
        "layer": probe.layer,
        "target": probe.target,
        "step": probe.step,
        "width": probe.width,
        "classes": probe.classes.tolist(),
        "C": probe.C,
        "gap_nats": probe.gap_nats if probe.penalised else None,
        "status": str(probe.status),
        "engine": probe.engine,
        "engine_reason": probe.engine_reason,
        "error": dict(probe.error),
        "cross_entropy": dict(probe.cross_entropy),
        "rows": dict(probe.rows),
        "seconds": probe.seconds,
    }


def echo_probes(probes: Probes) -> None:
    """Print a table with a row per layer."""
    splits = [split for split in _SPLITS if any(split in probe.error for probe in probes.values())]
    scored = splits[-1] if splits else None
    targets = len({probe.target for probe in probes.values()})
    header = ["layer", *(["target"] if targets > 1 else []), "width", *[f"error {split}" for split in splits]]
    header += [f"CE {scored}"] if scored else []
    header += ["C", "gap (nats)", "engine", "status"]
    rows = []
    for probe in probes.values():
        row = [probe.layer, *([probe.target] if targets > 1 else []), str(probe.width)]
        row += [_error(probe, split) for split in splits]
        row += [_number(probe.cross_entropy.get(scored))] if scored else []
        rows.append([*row, f"{probe.C:g}", _gap(probe), probe.engine, str(probe.status)])
    echo_table(header, rows)


def pair(first: Probes, second: Probes, paths: tuple[str, str]) -> list[tuple[Probe, Probe]]:
    """The probes that both files have, side by side; refused where they are not about the same rows."""
    from solvers.errors import ProbeFileError

    common = [key for key in first if key in second]
    if not common:
        raise ProbeFileError(
            f"{paths[0]} and {paths[1]} have no layer and target in common: "
            f"the first has {_keys(first)}, the second {_keys(second)}"
        )
    for key in common:
        if first[key].rows_fingerprint != second[key].rows_fingerprint:
            raise ProbeFileError(
                f"{paths[0]} and {paths[1]} were fitted on different rows or splits (layer {key[0]!r}), so their "
                "errors can not be set side by side; fit both on the same rows with the same --seed"
            )
    return [(first[key], second[key]) for key in common]


def echo_pairs(pairs: list[tuple[Probe, Probe]]) -> None:
    """Print a row per layer with the error, gap and engine of both probes."""
    split = next(name for name in reversed(_SPLITS) if name in pairs[0][0].error)
    targets = len({left.target for left, _ in pairs})
    rows = []
    for left, right in pairs:
        difference = right.error[split] - left.error[split]
        cells = [f"{probe.C:g} | {_gap(probe)} | {probe.engine}" for probe in (left, right)]
        name = [left.layer, left.target] if targets > 1 else [left.layer]
        rows.append([*name, _error(left, split), _error(right, split), f"{difference:+.4f}", *cells])
    echo_table(
        [
            *(["layer", "target"] if targets > 1 else ["layer"]),
            f"error {split}",
            "second",
            "difference",
            "C | gap | engine",
            "C | gap | engine of the second",
        ],
        rows,
    )


def _keys(probes: Probes) -> str:
    names = [f"{layer}/{target}" for layer, target, _ in probes]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _gap(probe: Probe) -> str:
    return f"{probe.gap_nats:.1e}" if probe.penalised else "-"


def _error(probe: Probe, split: str) -> str:
    return _number(probe.error.get(split))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
