"""`probe show`: the probes of a file as a table, or of two side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.probe.choice import at_end, chosen_lines
from cli.shared import echo_json, echo_table, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solvers.probing.probe import Probe, Probes

_USUAL = ("train", "val", "test")


@click.command()
@click.argument("probes", metavar="PROBES")
@click.argument("other", required=False, metavar="[PROBES]")
@json_option
def show(probes: str, other: str | None, as_json: bool) -> None:
    """Print a row per layer (and target): the error on every split, cross-entropy, C, gap and engine.

    Below it, what is the same for all layers: the rows of every split, `majority` (the error of always answering the
    commonest training class), `unseen` (rows of classes that training had none of), and how C was chosen.

    Given two files, their probes are shown side by side; they must have been fitted on the same rows.

    \b
    Example:
      probe show probes.h5
    """
    import solvers

    first = solvers.load(probes)
    if other is None:
        if as_json:
            echo_json(as_document(list(first.values()), probes))
        else:
            echo_probes(first)
        return
    pairs = pair(first, solvers.load(other), (probes, other))
    if as_json:
        echo_json([[as_record(left), as_record(right)] for left, right in pairs])
    else:
        echo_pairs(pairs)


def as_document(probes: Sequence[Probe], store: str = "") -> dict[str, Any]:
    """Return what `probe show --json` prints (DESIGN section 6)."""
    return {
        "format": "probe show",
        "version": 1,
        "probes": [as_record(probe) for probe in probes],
        "scores": [row for probe in probes for row in score_rows(probe)],
    }


def as_record(probe: Probe) -> dict[str, Any]:
    """A probe as an entry of `probes`."""
    classes = None if probe.classes is None else probe.classes.tolist()
    return {
        "layer": probe.layer,
        "target": probe.target,
        "step": probe.step,
        "kind": probe.kind,
        "width": probe.width,
        "classes": [each.decode("latin-1") if isinstance(each, bytes) else each for each in classes or []]
        if classes is not None
        else None,
        "C": probe.C,
        "chosen": dict(probe.proof.chosen) | {"at_end": at_end(probe)},
        "gap_nats": probe.gap_nats if probe.penalised else None,
        "status": str(probe.status),
        "engine": probe.engine,
        "engine_reason": probe.engine_reason,
        **{
            name: dict(getattr(probe, name))
            for name in ("error", "cross_entropy", "majority", "rows", "unlabelled", "unseen")
        },
        "metrics": dict(probe.metrics),
        "seconds": probe.seconds,
    }


def score_rows(probe: Probe) -> list[dict[str, Any]]:
    """The scores of a probe, a tidy row for each number: the columns of `scores`."""
    same = {
        "store": probe.fingerprint,
        "layer": probe.layer,
        "step": probe.step,
        "target": probe.target,
        "kind": probe.kind,
        "method": probe.where.method,
        "part": "",
        "C": probe.C,
        "seed": probe.seed,
        "fold": probe.where.fold,
    }
    rows = []
    for split in splits_of([probe]):
        for metric, unit in (("error", "share"), ("cross_entropy", "nats"), ("majority", "share")):
            number = {"metric": "error" if metric == "majority" else metric, "unit": unit}
            kind = {"kind": "majority"} if metric == "majority" else {}
            rows.append(
                same
                | kind
                | {"split": split, "role": role_of(probe, split)}
                | number
                | {"value": getattr(probe, metric).get(split), "low": None, "high": None, "interval": ""}
                | {"rows": probe.rows.get(split), "groups": None, "status": str(probe.status)}
            )
    return rows


def role_of(probe: Probe, split: str) -> str:
    """Return what the rows of a split were for: `fit`, `select`, or `held_out`."""
    if split == "train":
        return "fit"
    return "select" if split == probe.proof.chosen.get("split") else "held_out"


def splits_of(probes: Sequence[Probe]) -> list[str]:
    """Every split that a probe was scored on: train, val and test first, then others as they come."""
    found = list(dict.fromkeys(split for probe in probes for split in probe.error))
    return [split for split in _USUAL if split in found] + [split for split in found if split not in _USUAL]


def echo_probes(probes: Probes) -> None:
    """Print a table with a row per layer, and below it what is the same for all of them."""
    every = list(probes.values())
    splits = splits_of(every)
    scored = next((split for split in reversed(_USUAL) if split in splits), splits[-1] if splits else None)
    names = _names(every)
    header = [*names, "width", *[f"error {split}" for split in splits]]
    header += [f"CE {scored}"] if scored else []
    header += ["C", "gap (nats)", "engine", "status"]
    echo_table(header, [_cells(probe, names, splits, scored) for probe in every])
    if every:
        click.echo()
        echo_rows(every, splits)
        click.echo()
        for line in chosen_lines(every):
            click.echo(line)


def _cells(probe: Probe, names: Sequence[str], splits: Sequence[str], scored: str | None) -> list[str]:
    cells = [*_named(probe, names), str(probe.width), *[_error(probe, split) for split in splits]]
    cells += [_number(probe.cross_entropy.get(scored))] if scored else []
    return [*cells, f"{probe.C:g}", _gap(probe), probe.engine, str(probe.status)]


def echo_rows(probes: Sequence[Probe], splits: Sequence[str]) -> None:
    """Print a row per target and split, of what does not depend on the layer."""
    distinct = {
        (
            probe.target,
            split,
            probe.rows[split],
            probe.unlabelled.get(split),
            probe.unseen.get(split),
            probe.majority.get(split),
        ): None
        for probe in probes
        for split in splits
        if split in probe.rows
    }
    echo_table(
        ["target", "split", "rows", "unlabelled", "unseen", "majority"],
        [
            [target, split, *["" if count is None else f"{count:,}" for count in counts], _number(majority)]
            for target, split, *counts, majority in distinct
        ],
        left=(0, 1),
    )


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
                "errors cannot be set side by side; fit both on the same rows with the same --seed"
            )
    return [(first[key], second[key]) for key in common]


def echo_pairs(pairs: list[tuple[Probe, Probe]]) -> None:
    """Print a row per layer with the error, gap and engine of both probes."""
    splits = splits_of([left for left, _ in pairs])
    split = next((name for name in reversed(_USUAL) if name in splits), splits[-1] if splits else "test")
    names = _names([left for left, _ in pairs])
    rows = []
    for left, right in pairs:
        there = split in left.error and split in right.error
        difference = f"{right.error[split] - left.error[split]:+.4f}" if there else ""
        cells = [f"{probe.C:g} | {_gap(probe)} | {probe.engine}" for probe in (left, right)]
        rows.append([*_named(left, names), _error(left, split), _error(right, split), difference, *cells])
    echo_table(
        [
            *names,
            f"error {split}",
            "second",
            "difference",
            "C | gap | engine",
            "C | gap | engine of the second",
        ],
        rows,
    )


def _names(probes: Sequence[Probe]) -> list[str]:
    """The columns that tell these probes apart: the layer, target and step where there are several."""
    several = [name for name in ("target", "step") if len({getattr(probe, name) for probe in probes}) > 1]
    return ["layer", *several]


def _named(probe: Probe, names: Sequence[str]) -> list[str]:
    return [str(getattr(probe, name)) for name in names]


def _keys(probes: Probes) -> str:
    names = [f"{key[0]}/{key[1]}" for key in probes]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _gap(probe: Probe) -> str:
    return f"{probe.gap_nats:.1e}" if probe.penalised else "-"


def _error(probe: Probe, split: str) -> str:
    return _number(probe.error.get(split))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
