"""`probe direction`: where a two-class probe looks, and how that lies to the difference of class means."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import click

from cli.probe.afterwards.one_probe import one_probe, probe_options, store_of
from cli.probe.afterwards.outputs import checked_output, write_whole
from cli.result import Result, Table, command
from cli.shared import overwrite_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.probing.afterwards.directions import Direction
    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes

_KINDS = (".npy", ".npz")


@command()
@click.argument("probes", metavar="PROBES")
@click.argument("store", metavar="STORE")
@probe_options
@click.option(
    "--space",
    type=click.Choice(["raw", "scaled"]),
    help="Columns as they are stored, or as the penalty was taken of them; both are shown by default.",
)
@click.option(
    "-o", "--output", metavar="FILE.npy|.npz", help="Write the direction: .npy of one space, raw by default."
)
@overwrite_option
def direction(probes: str, store: str, space: str | None, **given: Any) -> Result:
    """Show the direction of a two-class probe beside the difference of class means of its training rows, in STORE.

    The direction is the gradient of the log-odds of the second class. In `raw` space it is by columns as they are
    stored: what to add to activations or to project them on. In `scaled` space it is by columns as the fit scaled them,
    which the penalty was taken of: what to compare between columns. The cosine of the two vectors depends on the
    space, so each line names it.

    FILE.npz has both spaces: `raw`, `scaled`, `difference_of_means_raw`, `difference_of_means_scaled` and `classes`;
    all are flattened in C order, of the layer's full width.

    \b
    Example:
      probe direction probes.h5 store.h5 --layer block3 -o direction.npy
    """
    import solvers
    from solvers.probing.afterwards.directions import RAW, SPACES, directions
    from solvers.probing.afterwards.directions import direction as direction_of
    from solvers.rows import Rows

    output = checked_output(given["output"], _KINDS, given["overwrite"], [probes, store])
    fitted = solvers.load(probes)
    asked = {name: given[name] for name in ("layer", "target", "step", "seed")}
    probe = one_probe(fitted, probes, **asked)
    spaces = (space,) if space else SPACES if probe.where.projection is None else (RAW,)
    direction_of(probe, spaces[0])  # three classes are refused before anything is read
    with store_of(store, probe) as opened:
        layer, index, codes = _training_rows(probe, fitted, opened, (probes, store))
        found = directions(probe, Rows(layer, index), codes, spaces)
    if output is not None:
        _write(output, given["overwrite"], found, probe)
    return Result(_data(probe, found, codes), _text(probe, found, codes), _notes(probe, found, output, space))


def _training_rows(
    probe: Probe, fitted: Probes, store: Store, names: tuple[str, str]
) -> tuple[Any, np.ndarray, np.ndarray]:
    """The rows of the layer, which of them a probe was trained on, and their classes.

    Refused where the store does not hold the very rows: a difference of other means would be shown as theirs.
    """
    import numpy as np

    from cli.probe.row_columns import features_of
    from solvers.probing.afterwards.said import said_of
    from solvers.probing.afterwards.seen_rows import said_before, tables_used
    from solvers.rows import Rows

    layer = features_of(store, probe.where.layers)
    table = next((each for role, each in tables_used(probe, fitted.beside.tables) if role == "fit"), None)
    if table is None or table.classes is None:
        raise click.ClickException(
            f"{names[0]} does not say which rows the probe of layer {probe.layer!r} was trained on; fit it again"
        )
    index, codes = np.asarray(table.arrays["index"]), np.asarray(table.arrays["truth"])
    if not (probe.fingerprint and probe.fingerprint == store.fingerprint):
        there = bool(len(index)) and index.max() < layer.shape[0]
        said = said_of(probe, Rows(layer, index), table.classes[codes]) if there else None
        if said is None or not said_before(probe, table.split, said):
            raise click.ClickException(
                f"{names[1]} does not hold the rows that {names[0]} was trained on, or other activations of them; give "
                "the store that it was fitted on, whose class means are asked for"
            )
    return layer, index, codes


def _names(probe: Probe) -> list[str]:
    from solvers.scoring.class_names import class_name

    return [class_name(each) for each in probe.classes.tolist()]


def _data(probe: Probe, found: Sequence[Direction], codes: np.ndarray) -> dict[str, Any]:
    first, second = _names(probe)
    return {
        "layer": probe.layer,
        "target": probe.target,
        "step": probe.step,
        "from": first,
        "to": second,
        "C": probe.C,
        "scaled": probe.scaled,
        "rows": len(codes),
        "spaces": [
            {
                "space": each.space,
                "norm": each.norm,
                "difference_norm": each.difference_norm,
                "cosine": each.cosine,
            }
            for each in found
        ],
    }


def _text(probe: Probe, found: Sequence[Direction], codes: np.ndarray) -> list[str | Table]:
    first, second = _names(probe)
    step = f", step {probe.step}" if probe.step else ""
    rows = [
        [
            each.space,
            f"{each.norm:.4g}",
            f"{each.difference_norm:.4g}",
            "" if each.cosine != each.cosine else f"{each.cosine:.4f}",
        ]
        for each in found
    ]
    return [
        f"{probe.layer} for {probe.target}{step}: from {first} to {second}, C = {probe.C:g}",
        Table(["space", "norm", "difference of means", "cosine"], rows),
        f"cosine: of the direction with the difference of class means, {second} minus {first},",
        f"of the {len(codes):,} training rows; both in the space of their line",
    ]


def _notes(probe: Probe, found: Sequence[Direction], output: Path | None, space: str | None) -> list[str]:
    notes = []
    if output is not None and output.suffix == ".npy" and space is None:
        notes.append(f"{output} has the direction in raw space; --space scaled writes the other")
    if probe.where.projection is not None:
        notes.append(
            f"the probe was fitted on {probe.where.projection:,} random directions, which its penalty was taken in, so "
            "there is only raw space"
        )
    elif not probe.scaled:
        notes.append("the fit did not scale columns, so what was penalised is raw space, and the two are one")
    if probe.columns is not None:
        notes.append(
            f"the probe looks at {len(probe.columns):,} of {probe.width:,} columns; both vectors are of these"
        )
    if any(not each.norm for each in found):
        notes.append("the probe is zero in every column, so it has no direction")
    return [f"note: {note}" for note in notes]


def _write(path: Path, overwrite: bool, found: Sequence[Direction], probe: Probe) -> None:
    """Write the direction of one space, or all that is known of each."""
    import numpy as np

    def put(file: IO[bytes]) -> None:
        if path.suffix == ".npy":
            np.save(file, found[0].vector, allow_pickle=False)
            return
        arrays = {each.space: each.vector for each in found}
        arrays |= {f"difference_of_means_{each.space}": each.difference for each in found}
        np.savez(file, classes=np.asarray(_names(probe)), **arrays)  # type: ignore[arg-type]

    write_whole(path, overwrite, put)
