"""The rows of a store for probes that were fitted elsewhere: their labels, and what they were for each probe."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from cli.result import WrongUsage
from cli.shared import reductions_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.probing.afterwards.scores import GivenRows
    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes
    from solvers.probing.row_table import RowTable

__all__ = [
    "called_by",
    "given_rows_of",
    "labels_by_target",
    "notes_of_store",
    "refuse_another_layer",
    "roles_of",
    "shown_splits",
]


def given_rows_of(
    store: Store,
    probes: Sequence[Probe],
    fitted: Probes,
    labels: dict[str, Any],
    group_by: str | None = None,
    called: Mapping[str, str] | None = None,
) -> GivenRows:
    """Return the rows of a store, and what they were for each of these probes.

    Args:
        store: one step of it.
        probes: whose layers and targets it has.
        fitted: all probes of their file.
        labels: (rows,) by target.
        group_by: a target, or a column of a file, that says which rows belong together; None for the store's groups.
        called: what the fit was told that its splits are called; None for what these probes were told.
    """
    from cli.probe.row_columns import StoreColumns
    from solvers.probing.afterwards.scores import GivenRows
    from solvers.probing.targets import id_digests

    digests = cache(lambda: id_digests(store.ids[:]))
    names = dict.fromkeys(layer for probe in probes for layer in probe.where.layers)
    return GivenRows(
        layers={name: store.layers[name] for name in names},
        labels=labels,
        splits=shown_splits(store, called_by(probes) if called is None else called),
        groups=StoreColumns(store, ()).groups(group_by),
        roles={probe.key: roles_of(probe, fitted, store, digests) for probe in probes},
        store=store.fingerprint,
    )


def called_by(probes: Sequence[Probe]) -> Mapping[str, str]:
    """Return what the fit of probes was told that its splits are called."""
    return dict(probes[0].proof.chosen.get("called", {})) if probes else {}


def shown_splits(store: Store, called: Mapping[str, str]) -> np.ndarray:
    """(rows,) the splits of a store by the names that `probe show` gives them: the one that means `val` is that."""
    import numpy as np

    from solvers.fitting.splits import shown_names

    names, place = np.unique(store.splits, return_inverse=True)
    shown = shown_names(names.tolist(), called)
    return np.array([shown[name] for name in names.tolist()], np.str_)[place]


def labels_by_target(
    store: Store, probes: Sequence[Probe], targets: Sequence[str], ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the labels of the rows of a store, by the target of the probes: those asked for, else all there are.

    Args:
        store: whose rows.
        probes: what the labels are for; what they ignored in their fit is ignored here.
        targets: of ``--target``: NAME for one of the store's, NAME=TARGET for another of the store's, NAME=SPEC.
        ignore: further labels that mean "no label".

    Raises:
        WrongUsage: no target of the probes, or one that was given twice.
        SourceError, StoreError: labels that there are not, or that are of other rows.
    """
    from actstore.labels import labels_for
    from actstore.rows.labels import without
    from cli.probe.row_columns import target_of

    ignored = {each.target: (*each.proof.chosen.get("ignore_label", ()), *ignore) for each in reversed(probes)}
    labels: dict[str, Any] = {}
    for text in targets:
        name, separator, spec = text.partition("=")
        if name not in ignored:
            raise WrongUsage(_no_target(text, name, list(ignored)))
        if name in labels:
            raise WrongUsage(f"--target {name} was given twice; give each target once")
        if separator and spec not in store.targets:
            labels[name] = labels_for(spec, store.ids.tolist(), str(store.path), ignored[name])
        else:
            labels[name] = without(target_of(store, spec if separator else name), ignored[name])
    if targets:
        return labels
    return {name: without(store.targets[name], ignored[name]) for name in ignored if name in store.targets}


def _no_target(text: str, name: str, known: Sequence[str]) -> str:
    from actstore.wording import hint

    if ":" in name and name.partition(":")[2] in known:
        return f"--target {text}: labels are of all rows of a store; write {name.partition(':')[2]}=SPEC"
    return f"--target {text}: the probes have no target {name!r}; {hint(name, known)}"


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


def notes_of_store(
    rows: GivenRows, probes: Sequence[Probe], fitted: Probes, store: Store, names: tuple[str, str]
) -> Iterator[str]:
    """Yield what one should know of probes on the rows of a store: a line each; ``names`` are those of both files."""
    import numpy as np

    from cli.probe.bridge import described
    from solvers.probing.afterwards.seen_rows import HELD_OUT, SAME_IDS

    file, where = names
    steps = list(dict.fromkeys(probe.step for probe in probes))
    if len(steps) > 1:
        yield (
            f"the probes of {file} are of the steps {', '.join(map(str, steps))}; all are scored on step "
            f"{store.steps[0]} of {where}"
        )
    pairs = dict.fromkeys(zip(store.splits.tolist(), np.asarray(rows.splits).tolist(), strict=True))
    for named, shown in pairs:
        if named != shown:
            yield f"the split `{named}` of {where} is shown as `{shown}`"
    for probe in probes:
        for layer in probe.where.layers:
            before = probe.provenance.stored.get(layer, {}).get("weights")
            now = described(store, layer).get("weights") if layer in store.layers else None
            if before is not None and now is not None and before != now:
                yield (
                    f"{where} was dumped from other weights than {file} was fitted on, so these are scores of transfer"
                )
    if any(SAME_IDS in of_rows for of_rows in rows.roles.values()):
        yield (
            f"rows of {where} have ids that {file} was fitted with, though the inputs are others or unknown; they "
            f"stand apart as `{SAME_IDS}`"
        )
    if not all(new_is_known(probe, fitted, store, rows) for probe in probes):
        yield (
            f"whether rows of {where} were among those that {file} was fitted on is not known: their ids only count "
            f"them, so `{HELD_OUT}` says no more than that none was recognised"
        )
    if rows.groups is None and any("group" in table.arrays for table in fitted.beside.tables):
        yield (
            f"{file} was fitted on rows in groups, but those of {where} are taken each by itself, so intervals may be "
            "too narrow; name their groups with --group-by"
        )


def new_is_known(probe: Probe, fitted: Probes, store: Store, rows: GivenRows) -> bool:
    """Whether the rows of a store that are held out are certainly none that a probe was trained or chosen on.

    The same rows in another order, or in another file, have other ids where ids only count rows.
    """
    from solvers.probing.afterwards.seen_rows import HELD_OUT, tables_used

    if not (rows.roles[probe.key] == HELD_OUT).any() or _of_the_same_inputs(probe, store):
        return True
    used = [table for _, table in tables_used(probe, fitted.beside.tables)]
    if any("id" not in table.arrays for table in used):
        return False
    return not (_count(store.ids[:].tolist()) or any(_counted(probe, table) for table in used))


def _count(ids: Sequence[str]) -> bool:
    """Whether ids are such as rows get where no file names them: INDEX or SPLIT/INDEX."""
    return all(name.rpartition("/")[2].isdigit() for name in ids)


def _counted(probe: Probe, table: RowTable) -> bool:
    """Whether the hashes of the ids of a table are those of ids that count rows."""
    import numpy as np

    from solvers.probing.targets import id_digests

    index = np.asarray(table.arrays["index"])
    called = probe.proof.chosen.get("called", {})
    splits = dict.fromkeys(["train", table.split, *called.values()])
    counts = range(int(index.max(initial=-1)) + 1)
    names = [str(count) for count in counts] + [f"{split}/{count}" for split in splits for count in counts]
    return bool(names) and bool(np.isin(table.arrays["id"], id_digests(names)).any())


def roles_of(probe: Probe, fitted: Probes, store: Store, digests: Callable[[], np.ndarray]) -> np.ndarray:
    """Return what each row of a store (rows,) was for a probe: `fit`, `select`, `held_out`, or `same_ids`.

    ``digests`` gives those of the store's ids.
    """
    import numpy as np

    from solvers.probing.afterwards.seen_rows import HELD_OUT, SAME_IDS, tables_used

    roles = np.full(store.rows, HELD_OUT, dtype="U8")
    certain = _of_the_same_inputs(probe, store)
    for role, table in tables_used(probe, fitted.beside.tables):
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
