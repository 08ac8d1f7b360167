"""`probe predictions`: what the probes of a file say of each row, with ids."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.probe.afterwards.prediction_files import KINDS, Part, write
from cli.result import Result, command
from cli.shared import overwrite_option, printable, step_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.probing.probe import Key
    from solvers.probing.probes import Probes


@command()
@click.argument("probes", metavar="PROBES")
@click.option("-o", "--output", required=True, metavar="FILE.csv|.npz|.parquet", help="The file to write.")
@click.option(
    "--layer", "layers", multiple=True, metavar="LAYER", help="Of this layer; repeatable. Default: all."
)
@click.option("--target", metavar="NAME", help="Of this target, where PROBES has several.")
@click.option(
    "--split", "splits", multiple=True, metavar="SPLIT", help="Of this split; repeatable. Default: all kept."
)
@step_option
@click.option("--store", metavar="STORE", help="The store of the rows, for their ids as text.")
@overwrite_option
def predictions(probes: str, output: str, overwrite: bool, **given: Any) -> Result:
    """Write what the probes of PROBES said of each row that they were scored on, a line for each probe and row.

    Columns: layer, step, seed, split, row (its place in the store), with --store its id, truth, predicted, and the
    probability of each class as `p(CLASS)`; of more than 32 classes the confidence, and the nats and rank of the truth.
    Rows of `train` are there if they were kept: `probe fit --train-predictions`.

    \b
    Example:
      probe predictions probes.h5 --split test -o test.csv
    """
    import solvers
    from solvers.probing.scores.split_names import own_splits

    path = Path(output)
    _refuse(path, Path(probes), overwrite)
    fitted = solvers.load(probes)
    keys = _chosen(fitted, probes, given)
    splits = own_splits([fitted[key] for key in keys], given["splits"])
    parts = _parts(fitted, keys, splits)
    if not parts or (missing := set(splits) - {part.split for part in parts}):
        raise click.ClickException(_none_kept(fitted, keys, probes, sorted(missing) if parts else splits))
    ids = None if given["store"] is None else _ids_of(given["store"], fitted, parts, probes)
    rows = write(parts, ids, path, overwrite)
    count = len({part.probe.key for part in parts})
    return Result(
        {"output": output, "rows": rows, "probes": count},
        [f"wrote {output}: {rows:,} row{'s' * (rows != 1)} of {count:,} probe{'s' * (count != 1)}"],
    )


def _refuse(path: Path, probes: Path, overwrite: bool) -> None:
    """Refuse a name that nothing can be written to, before anything is read."""
    if path.suffix not in KINDS:
        raise click.UsageError(
            f"-o {path} is none of {', '.join(KINDS)}; choose a name that ends in one of them"
        )
    if path.is_dir() or not path.parent.is_dir():
        raise click.ClickException(f"{path} cannot be written: it is a folder, or its folder does not exist")
    if path.exists() and probes.exists() and path.samefile(probes):
        raise click.ClickException(
            f"{path} is read by this very command, so it is not overwritten; choose another name"
        )
    if path.exists() and not overwrite:
        raise click.ClickException(f"{path} exists already; choose another name, or say `--overwrite`")


def _chosen(fitted: Probes, where: str, given: dict[str, Any]) -> list[Key]:
    """The keys of the probes that were asked for; a layer, target or step that is not there is refused."""
    there = {name: list(dict.fromkeys(getattr(each, name) for each in fitted.values())) for name in _NAMES}
    asked = {"layer": list(given["layers"]), "target": _one(given["target"]), "step": _one(given["step"])}
    for name, values in asked.items():
        for value in values:
            if value not in there[name]:
                raise click.ClickException(_unknown(where, name, value, there[name]))
    if not asked["target"] and len(there["target"]) > 1:
        names = ", ".join(there["target"])
        raise click.ClickException(f"{where} has several targets; say which with --target: {names}")
    return [
        key
        for key, probe in fitted.items()
        if all(not asked[name] or getattr(probe, name) in asked[name] for name in _NAMES)
    ]


_NAMES = ("layer", "target", "step")


def _one(value: Any) -> list[Any]:
    return [] if value is None else [value]


def _unknown(where: str, what: str, value: Any, there: Sequence[Any]) -> str:
    from actstore.wording import hint

    if what == "step":
        return f"{where} has no step {value}; it has {', '.join(map(str, sorted(there)))}"
    return f"{where} has no {what} {value!r}; {hint(str(value), [str(each) for each in there])}"


def _parts(fitted: Probes, keys: Sequence[Key], splits: Sequence[str]) -> list[Part]:
    """The predictions that are kept of these probes, by split."""
    there = dict.fromkeys(split for key in keys for split in fitted[key].rows)
    parts = []
    for key in keys:
        for split in there:
            asked = split in fitted[key].scores.rows and (not splits or split in splits)
            found = fitted.predictions(key, split) if asked else None
            if found is not None:
                parts.append(Part(fitted[key], split, found))
    return parts


def _none_kept(fitted: Probes, keys: Sequence[Key], where: str, missing: Sequence[str]) -> str:
    """Say which predictions there are instead of those that were asked for."""
    kept = dict.fromkeys(part.split for part in _parts(fitted, keys, ()))
    there = dict.fromkeys(split for key in keys for split in fitted[key].rows)
    unknown = [split for split in missing if split not in there]
    if unknown:
        return _unknown(where, "split", printable(unknown[0]), list(there))
    if not kept:
        how = "with --train-predictions" if [*there] == ["train"] else "without --no-predictions"
        return f"{where} keeps no predictions; fit again {how}"
    named = ", ".join(f"`{printable(split)}`" for split in missing)
    more = "; keep those of `train` with `probe fit --train-predictions`" if "train" in missing else ""
    return f"{where} keeps no predictions of {named}; it has {', '.join(f'`{printable(each)}`' for each in kept)}{more}"


def _ids_of(path: str, fitted: Probes, parts: Sequence[Part], where: str) -> np.ndarray:
    """The ids of the store's rows; refused where it is not the one that the rows are numbered in."""
    from cli.probe.bridge import open_store

    with open_store(path, parts[0].probe.step if _has_steps(path) else None) as store:
        for part in parts:
            if not _same_rows(store, fitted, part):
                raise click.ClickException(
                    f"{path} has other rows than those that {where} was scored on (split {part.split!r}), so its ids "
                    "are not theirs; give the store that they were fitted on"
                )
        return store.ids[:]


def _has_steps(path: str) -> bool:
    import actstore

    with actstore.open(path) as store:
        return len(store.steps) > 1


def _same_rows(store: Store, fitted: Probes, part: Part) -> bool:
    """Whether the rows of predictions have the same ids in a store; without ids it must be the very store."""
    import numpy as np

    from solvers.probing.targets import id_digests

    index = part.said.index
    if len(index) and index.max() >= store.rows:
        return False
    for table in fitted.beside.tables:
        if table.key == (part.probe.target, part.split, part.probe.where.fold) and "id" in table.arrays:
            return np.array_equal(id_digests(store.ids[:][index]), table.arrays["id"])
    return store.fingerprint == part.probe.fingerprint
