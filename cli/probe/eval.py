"""`probe eval`: fitted probes on other stored rows."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import click

from cli.result import Failure, Result, Table, WrongUsage, command
from cli.shared import reductions_in_words, step_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.probing.probe import Probe, Probes
    from solvers.probing.row_table import RowTable

HELD_OUT, SAME_IDS = "held_out", "same_ids"
_ROLES = ("fit", "select", HELD_OUT, SAME_IDS)


@command("eval")
@click.argument("probes", metavar="PROBES")
@click.argument("store", metavar="STORE")
@step_option
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="OLD=NEW",
    help="A layer that PROBES calls OLD is NEW in STORE: names, globs ('layers.*=model.layers.*') or "
    "'re:EXPRESSION=NEW' with groups as \\1; repeatable, the last that fits counts.",
)
def evaluate(probes: str, store: str, step: int | None, renames: tuple[str, ...]) -> Result:
    """Score the probes of PROBES on the rows of STORE, split by split. Nothing is fitted.

    Rows that a probe was trained on (role `fit`) or its C chosen by (`select`) are told from those that it has not seen
    (`held_out`). `same_ids` are rows of other inputs that have the ids of such rows. A layer that was reduced in
    another way than the one that the probe was fitted on is refused. Probes whose layer or target STORE lacks are
    named, the others scored, and the exit code is 1.

    \b
    Examples:
      probe eval probes.h5 shifted.h5
      probe eval probes.h5 captured.acts --rename 'layers.*=model.layers.*'
    """
    import solvers
    from cli.probe.bridge import open_store
    from solvers.probing.targets import id_digests

    fitted = solvers.load(probes).renamed(_pairs(renames))
    with open_store(store, step) as opened:
        there, missing = _there(fitted, opened, store)
        for probe in there:
            refuse_another_layer(probe, opened, probes, store)
        digests = cache(lambda: id_digests(opened.ids[:]))
        notes = [note for probe in there for note in _notes(probe, opened, probes, store)]
        roles = {probe.key: roles_of(probe, fitted, opened, digests) for probe in there}
        notes += _note_of_ids(roles.values(), probes, store)
        found = [row for probe in there for row in _score(probe, opened, roles[probe.key])]
    notes += [
        f"the split `{row['named']}` of {store} is shown as `{row['split']}`"
        for row in found
        if row["named"] != row["split"]
    ]
    return Result(
        {"scores": found},
        [_table(found)],
        [f"note: {note}" for note in dict.fromkeys(notes)],
        Failure("not-scored", missing) if missing else None,
    )


def _pairs(renames: Sequence[str]) -> dict[str, str]:
    """New names by old ones, of `--rename OLD=NEW`."""
    pairs: dict[str, str] = {}
    for text in renames:
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise WrongUsage(f"--rename {text!r} is not OLD=NEW; write for example 'layers.*=model.layers.*'")
        if old in pairs:
            raise WrongUsage(f"--rename {old!r} was given twice; give each name one new name")
        pairs[old] = new
    return pairs


def _there(fitted: Probes, store: Store, where: str) -> tuple[list[Probe], list[str]]:
    """The probes that a store has the layers and the target of, and a line on what it lacks for the others.

    All of them where it has none: whoever reads the first layer says what there is instead.
    """
    lines: dict[str, int] = {}
    there = []
    for probe in fitted.values():
        lacks = [f"layer {name!r}" for name in probe.where.layers if name not in store.layers]
        lacks += [] if probe.target in store.targets else [f"target {probe.target!r}"]
        if not lacks:
            there.append(probe)
        for lack in lacks:
            lines[lack] = lines.get(lack, 0) + 1
    if not there:
        return list(fitted.values()), []
    return there, [
        f"{where} has no {lack}: {count} of {len(fitted)} probes are not scored"
        for lack, count in lines.items()
    ]


def refuse_another_layer(probe: Probe, store: Store, probes: str, where: str) -> None:
    """Refuse a layer that was reduced otherwise than the one that a probe was fitted on, as far as both are known."""
    from actstore.errors import StoreError
    from cli.probe.bridge import described

    for layer in probe.where.layers:
        before = probe.provenance.stored.get(layer, {}).get("reductions")
        now = described(store, layer).get("reductions") if layer in store.layers else None
        if before is not None and now is not None and before != now:
            told, there = reductions_in_words(before), reductions_in_words(now)
            there = f"others of {there}" if told == there else there
            raise StoreError(
                f"layer {layer!r} of {where} is not what {probes} was fitted on: that was reduced by {told}, this by "
                f"{there}; dump it with the same reductions and the same --seed"
            )


def _notes(probe: Probe, store: Store, probes: str, where: str) -> Iterator[str]:
    """Yield what one should know of a probe on these rows: a line each."""
    from cli.probe.bridge import described

    for layer in probe.where.layers:
        before = probe.provenance.stored.get(layer, {}).get("weights")
        now = described(store, layer).get("weights") if layer in store.layers else None
        if before is not None and now is not None and before != now:
            yield f"{where} was dumped from other weights than {probes} was fitted on, so these are scores of transfer"


def _note_of_ids(roles: Iterable[np.ndarray], probes: str, where: str) -> list[str]:
    if not any(SAME_IDS in of_rows for of_rows in roles):
        return []
    return [
        f"rows of {where} have ids that {probes} was fitted with, though the inputs are others or unknown; "
        f"they stand apart as `{SAME_IDS}`"
    ]


def roles_of(probe: Probe, fitted: Probes, store: Store, digests: Callable[[], np.ndarray]) -> np.ndarray:
    """Return what each row of a store (rows,) was for a probe: `fit`, `select`, `held_out`, or `same_ids`.

    ``digests`` gives those of the store's ids.
    """
    import numpy as np

    roles = np.full(store.rows, HELD_OUT, dtype="U8")
    certain = _of_the_same_inputs(probe, store)
    for role, table in _tables_used(probe, fitted):
        index, ids = np.asarray(table.arrays["index"]), table.arrays.get("id")
        inside = not len(index) or index.max() < store.rows
        if certain and inside and (ids is None or np.array_equal(digests()[index], ids)):
            roles[index] = role
        elif ids is not None:
            roles[np.isin(digests(), ids)] = SAME_IDS
    return roles


def _of_the_same_inputs(probe: Probe, store: Store) -> bool:
    """Whether the rows of a store are certainly of the inputs that a probe was fitted on, row by row."""
    from cli.probe.bridge import described

    if probe.fingerprint and store.fingerprint == probe.fingerprint:
        return True
    before = [probe.provenance.stored.get(layer, {}).get("inputs") for layer in probe.where.layers]
    now = [described(store, layer).get("inputs") for layer in probe.where.layers]
    return None not in before and before == now


def _tables_used(probe: Probe, fitted: Probes) -> Iterator[tuple[str, RowTable]]:
    """The tables of rows that a probe was trained or its C chosen on, each with what they were for it."""
    from cli.probe.show import role_of

    for table in fitted.beside.tables:
        role = role_of(probe, table.split)
        if table.target == probe.target and table.fold in (None, probe.where.fold) and role != HELD_OUT:
            yield role, table


def _score(probe: Probe, store: Store, roles: np.ndarray) -> list[dict[str, Any]]:
    """One record for each split of the store, and each role in it, that has labelled rows."""
    from dataclasses import asdict

    import numpy as np

    import solvers
    from actstore.rows.labels import without
    from cli.probe.row_columns import features_of, target_of
    from solvers.fitting.splits import shown_names

    labels = without(target_of(store, probe.target), probe.proof.chosen.get("ignore_label", ()))
    layer = features_of(store, probe.where.layers)
    labelled = ~np.ma.getmaskarray(labels)
    records = []
    shown = shown_names([*dict.fromkeys(store.splits.tolist())], probe.proof.chosen.get("named"))
    for split, name in shown.items():
        here = (store.splits == split) & labelled
        for role in (role for role in _ROLES if np.any(roles[here] == role)):
            rows = np.flatnonzero(here & (roles == role))
            score = solvers.evaluate(probe, solvers.Rows(layer, rows), labels[rows])
            place = {"layer": probe.layer, "target": probe.target, "step": probe.step}
            records.append(place | {"split": name, "named": split, "role": role} | asdict(score))
    return records


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row per probe, split and role."""
    several = [name for name in ("step",) if len({row[name] for row in found}) > 1]
    unseen = ["unseen"] if any(row["unseen"] for row in found) else []
    names = ["layer", "target", *several, "split", "role", "rows", *unseen]
    rows = [
        [
            *[_cell(row, name) for name in names],
            f"{row['error']:.4f}",
            f"{row['cross_entropy']:.4f}",
        ]
        for row in found
    ]
    return Table([*names, "error", "CE"], rows)


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    return f"{value:,}" if name in ("rows", "unseen") else str(value) or "(none)"
