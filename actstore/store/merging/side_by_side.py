"""Make one store of several that have other layers of the same rows."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import StoreError
from actstore.store.documents.documents import Header, differences
from actstore.store.documents.row_table import TableRows
from actstore.store.documents.versions import VERSIONS, other_versions
from actstore.store.format import StoredLayer, rank_folder
from actstore.store.merging.one_shard import StepRows, disk_errors_named, write_store
from actstore.store.merging.staging import new_folder, staged
from actstore.store.reading.reader import Store, row_table
from actstore.store.reading.reader import open as open_store
from actstore.store.reading.row_hashes import check_row_table
from actstore.store.writing.pack import layer_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from actstore.store.format import JSON
    from actstore.store.reading.layer import Layer


class UnprovenRowsWarning(UserWarning):
    """Nothing but what identifies rows says that they are the same in stores whose layers are joined."""


JOINED = "joined"
"""In the provenance: what only some of the layers have of it, store by store."""
_BY_LAYER = ("cast", "passed_over")  # of the provenance: objects by layer


def merge_layers(
    sources: Sequence[str | PathLike[str]], out: str | PathLike[str], *, anyway: bool = False
) -> Store:
    """Make one store of the layers of several, which have the same rows: the first's layers, then the second's ....

    Rows are the same where their ids are, in this order, with the same splits, groups, positions and labels, and the
    inputs where these are known; an ``UnprovenRowsWarning`` says where they are not. A target that some of the stores
    have is that of all. A layer that two of them have is taken once where its bits are the same. The sources stay as
    they are, and the result is there whole or not at all. Activations are copied, each block compared with its hash:
    a shard has all layers of its rows.

    Args:
        sources: stores, folders or single files, each complete, with the same steps.
        out: the folder to make, ``NAME.acts``.
        anyway: also where the weights, the inputs or the versions of the libraries differ; what each layer came of
            stays recorded.

    Returns:
        the store, open.

    Raises:
        StoreError: rows, targets, models or steps that disagree (what, and where first), layers of one name that
            differ, sources that are unfinished or damaged, an ``out`` that exists, or a disk that takes no more.
    """
    if len(sources) < 2:
        msg = f"{len(sources)} store was given; expected two or more, whose layers are to be one store's"
        raise StoreError(msg)
    final = new_folder(out, sources)
    with ExitStack() as opened, disk_errors_named(final):
        stores = [opened.enter_context(open_store(source)) for source in sources]
        _check_go_together(stores, anyway=anyway)
        _warn_of_unknown(stores)
        steps = [step_of_all(stores, step) for step in stores[0].steps]
        first = steps[0].layers
        header = Header(stores[0].row_unit, tuple(_stored(first)))
        with staged(final, rank_folder(steps[0].step, 0)) as staging:
            write_store(staging, final, header, steps)
    return open_store(final)


def _check_go_together(stores: Sequence[Store], *, anyway: bool) -> None:
    first, *others = stores
    for store in stores:
        if not store.complete:
            msg = f"{store.path} is unfinished; finish it first (--resume)"
            raise StoreError(msg)
        check_row_table(store.catalog)
    for store in others:
        if (first.row_unit, first.steps) != (store.row_unit, store.steps):
            msg = (
                f"{store.path} has rows of one {store.row_unit} at steps {_listed(store.steps)}, {first.path} of one "
                f"{first.row_unit} at {_listed(first.steps)}; join layers of the same rows and steps"
            )
            raise StoreError(msg)
        _check_rows(first, store)
        if not anyway:
            _check_origin(first, store)


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps))


def _check_rows(first: Store, other: Store) -> None:
    """StoreError unless two stores have the same rows: what differs is named, with its first row."""
    if first.rows != other.rows:
        raise _disagree(first, other, f"it has {other.rows:,} rows, not {first.rows:,}")
    ids, found = first.ids[:], other.ids[:]
    if not np.array_equal(ids, found):
        row = int(np.flatnonzero(ids != found)[0])
        same = "the same ids in another order: " if set(ids.tolist()) == set(found.tolist()) else ""
        raise _disagree(first, other, f"{same}row {row:,} is {str(found[row])!r}, not {str(ids[row])!r}")
    for what in ("splits", "groups", "positions"):
        before, now = getattr(first, what), getattr(other, what)
        if (before is None) != (now is None):
            has, lacks = (other, first) if before is None else (first, other)
            raise _disagree(first, other, f"{has.path.name} has {what}, {lacks.path.name} has none")
        if before is not None:
            _check_column(first, other, what, before, now)
    for name in (name for name in first.targets if name in other.targets):
        _check_column(first, other, f"target {name!r}", first.targets[name], other.targets[name])


def _check_column(first: Store, other: Store, what: str, before: Any, now: Any) -> None:
    before, now = np.ma.asarray(before[:]), np.ma.asarray(now[:])
    if (before.dtype.kind == "U") != (now.dtype.kind == "U"):
        raise _disagree(first, other, f"{what} are {now.dtype}, not {before.dtype}")
    missing, lacking = np.ma.getmaskarray(before), np.ma.getmaskarray(now)
    differ = (missing != lacking) | (~missing & ~lacking & (np.ma.getdata(before) != np.ma.getdata(now)))
    if differ.any():
        columns = ((now, lacking), (before, missing))
        row = int(np.flatnonzero(differ)[0])
        shown = ["no label" if hidden[row] else repr(column.data[row].item()) for column, hidden in columns]
        msg = f"{what} of row {row:,} ({str(first.ids[row])!r}) is {shown[0]}, not {shown[1]}"
        raise _disagree(first, other, f"{msg}; {int(differ.sum()):,} rows differ")


def _disagree(first: Store, other: Store, what: str) -> StoreError:
    return StoreError(f"{other.path} has other rows than {first.path}: {what}. Join layers of the same rows")


def _check_origin(first: Store, other: Store) -> None:
    """StoreError where the model, the inputs or the libraries are known to be others."""
    for step in first.steps:
        before, now = first.at(step).provenance, other.at(step).provenance
        names = (
            [] if "import" in before or "import" in now else differences(_model(before), _model(now), "model")
        )
        shares, others = _shares(before), _shares(now)
        pairs = zip(shares, others, strict=True) if len(shares) == len(others) else ()
        names += dict.fromkeys(name for one, two in pairs for name in _other_inputs(one, two))
        names += (
            other_versions(before.get(VERSIONS), now.get(VERSIONS)) if "import" not in {*before, *now} else []
        )
        if names:
            msg = (
                f"{other.path} does not go with {first.path}: {'; '.join(names)}. Join what was dumped alike, or pass "
                "anyway=True (--anyway): what each layer came of stays recorded"
            )
            raise StoreError(msg)


def _model(provenance: Mapping[str, Any]) -> Any:
    return provenance.get("model", {})


def _other_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in which splits the inputs differ, as far as both stores know them."""
    told, found = _inputs(before), _inputs(now)
    if told is None or found is None or told == found:
        return []
    if len(told) != len(found):
        return [f"its data are {len(found)} parts, not {len(told)}"]
    return [
        f"the inputs of {split or 'its rows'} are others"
        for (split, *rest), (_, *other) in zip(told, found, strict=True)
        if rest != other
    ]


def _inputs(provenance: Mapping[str, Any]) -> list[tuple[Any, ...]] | None:
    """The hash of each part of the data; None where it is not known, or known rank by rank."""
    data = provenance.get("data")
    if not isinstance(data, list) or not all(isinstance(part, dict) and part.get("inputs") for part in data):
        return None
    return [(part.get("split"), part["inputs"]) for part in data]


def _shares(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What each rank says of itself; of one process, all there is."""
    ranks = provenance.get("ranks")
    return list(ranks) if isinstance(ranks, list) else [provenance]


def _warn_of_unknown(stores: Sequence[Store]) -> None:
    """Warn where nothing but the ids says that the rows are the same."""
    told = {
        str(store.path): [_inputs(share) for share in _shares(store.at(store.steps[0]).provenance)]
        for store in stores
    }
    first = next(iter(told.values()))
    unknown = [path for path, inputs in told.items() if None in inputs or len(inputs) != len(first)]
    if unknown:
        msg = (
            f"nothing but ids, splits and labels says that the rows of {', '.join(unknown)} are those of the others: "
            "the inputs are not known, or by shares that cannot be compared"
        )
        warnings.warn(msg, UnprovenRowsWarning, stacklevel=3)


def step_of_all(stores: Sequence[Store], step: int) -> StepRows:
    """One step of the new store: the rows of the first, with the layers and targets of all."""
    own = [store.at(step) for store in stores]
    layers: dict[str, Layer] = {}
    homes: dict[str, Store] = {}
    nonfinite: dict[str, int] = {}
    for store in own:
        for name, layer in store.layers.items():
            if name in layers:
                _check_same_layer(name, (homes[name], layers[name]), (store, layer))
                continue
            layers[name], homes[name], nonfinite[name] = layer, store, store.nonfinite[name]
    table = row_table(own[0])
    targets = {name: labels for store in reversed(stores) for name, labels in store.targets.items()}
    ordered = {name: targets[name] for store in stores for name in store.targets}
    return StepRows(
        step,
        TableRows(table.ids, table.splits, table.groups, table.positions, ordered),
        layers,
        nonfinite,
        _provenance(own),
    )


def _check_same_layer(name: str, before: tuple[Store, Layer], now: tuple[Store, Layer]) -> None:
    """StoreError unless two layers of one name have the same bits."""
    (first, layer), (other, found) = before, now
    same = (layer.stored_dtype, layer.shape, layer.axes) == (found.stored_dtype, found.shape, found.axes)
    if same:
        pairs = zip(layer_blocks(layer), layer_blocks(found), strict=True)
        same = all(one.tobytes() == two.tobytes() for one, two in pairs)
    if not same:
        msg = (
            f"layer {name!r} is in {first.path} and, with other values, in {other.path}; a store has one layer of a "
            "name: dump one of them again without it (--exclude-layers)"
        )
        raise StoreError(msg)


def _provenance(stores: Sequence[Store]) -> dict[str, JSON]:
    """Return what the stores have in common, what is said of each layer, and what only some of the layers have."""
    told = [store.provenance for store in stores]
    common = {
        key: value
        for key, value in told[0].items()
        if all(key in other and other[key] == value for other in told) and key not in _BY_LAYER
    }
    if all(_inputs(one) is not None for one in told) and len({repr(_inputs(one)) for one in told}) == 1:
        common["data"] = told[0]["data"]
    for key in _BY_LAYER:
        found = {name: value for one in reversed(told) for name, value in dict(one.get(key, {})).items()}
        common |= {key: found} if found else {}
    reductions = [dict(one.get("reductions", {})) for one in told]
    of_layers = {
        name: value for one in reversed(reductions) for name, value in dict(one.get("layers", {})).items()
    }
    same = {
        key: value
        for key, value in reductions[0].items()
        if key != "layers" and all(other.get(key) == value for other in reductions)
    }
    common["reductions"] = {**same, "layers": of_layers}
    common[JOINED] = [
        {"layers": list(store.layers), **{key: one[key] for key in _own_keys(one, common)}}
        for store, one in zip(stores, told, strict=True)
    ]
    return common


def _own_keys(one: Mapping[str, Any], common: Mapping[str, Any]) -> list[str]:
    """The keys of a provenance that the common one does not say already."""
    settings = {**one.get("reductions", {}), "layers": {}} == {**common["reductions"], "layers": {}}
    said = {*_BY_LAYER, *(["reductions"] if settings else [])}
    return [key for key, value in one.items() if key not in said and common.get(key) != value]


def _stored(layers: Mapping[str, Layer]) -> list[StoredLayer]:
    return [
        StoredLayer(name, layer.stored_dtype, tuple(layer.shape[1:]), tuple(layer.axes), order)
        for order, (name, layer) in enumerate(layers.items())
    ]
