"""What Python users give as data: SPECs, arrays, batches, or these by split; and labels of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from actstore import arrays
from actstore.doors.said_of_rows import SPLIT, by_split, in_rows_order, named_targets, whole_column
from actstore.doors.texts import are_specs
from actstore.errors import SourceError
from actstore.rows.choice import RowColumns
from actstore.rows.label_marks import warn_of_marks
from actstore.rows.labels import without
from actstore.sources import SplitData, split_data
from actstore.sources.given import are_named_inputs
from actstore.sources.python import TARGET, from_object
from actstore.wording import listed

__all__ = ["data_of", "specs_of"]


def data_of(
    data: object,
    targets: object = None,
    columns: RowColumns | None = None,
    *,
    split: str = "",
    target: str = TARGET,
) -> list[SplitData]:
    """Return the data as a dump takes them, checked.

    Args:
        data: SPECs as ``--data`` has them, one or several; or an array, batches (inputs or (inputs, labels)), or a
            mapping of splits to these; or a list of ``SplitData``.
        targets: with SPECs, ``[SPLIT:]NAME=SPEC`` as ``--target`` has them, or a mapping of such names to SPECs. Else
            labels by name, (rows,) each, or by split where the data are; labels alone are those of ``target``.
        columns: which columns or targets say splits and groups, and which labels are none.
        split: of rows that are not in a mapping.
        target: what labels are called that come without a name.

    Raises:
        SourceError: data or labels that are none, of another length, or for no data.
    """
    columns = columns or RowColumns()
    if (split or SPLIT in columns.given) and _has_splits(data):
        msg = f"split is {split or 'given by row'!r}, but the data say theirs, {listed(list(data))}; leave split out"
        raise SourceError(msg)
    specs = specs_of(data)
    if columns.given and (specs or _are_split_data(data)):
        name = next(iter(columns.given))
        msg = f"{name} has one per row, but the data have their own; name the column that says it: {name}_by='...'"
        raise SourceError(msg)
    if specs:
        if target != TARGET:
            msg = (
                f"target is {target!r}, which names the labels in batches; data by SPEC have theirs as targets"
            )
            raise SourceError(msg)
        named = [f"{split}={spec}" if split else spec for spec in specs]
        try:
            return split_data(named, _target_specs(targets), columns)
        except SourceError as error:
            if isinstance(data, str) and len(data.split()) > 1:
                error.add_note("a text to run is given in a list, ['a text']")
            raise
    if _are_split_data(data):
        if targets is not None or split:
            what = "split" if targets is None else "targets"
            msg = f"{what} is given beside SplitData, which have their own; put it there"
            raise SourceError(msg)
        return list(data)
    loaders = data if _has_splits(data) else {split: data}
    return _of_objects(loaders, named_targets(targets, target), columns, target)


def specs_of(data: object) -> list[str]:
    """Return the SPECs that the data are given by; none where they are given as objects."""
    if isinstance(data, str):
        return [data]
    if isinstance(data, Mapping) and data and all(isinstance(spec, str) for spec in data.values()):
        return [f"{split}={spec}" for split, spec in data.items()]
    several = isinstance(data, list | tuple) and data and all(isinstance(item, str) for item in data)
    return list(data) if several and are_specs(data) else []  # type: ignore[call-overload, arg-type]


def _are_split_data(data: object) -> TypeGuard[Sequence[SplitData]]:
    return isinstance(data, Sequence) and len(data) > 0 and all(isinstance(item, SplitData) for item in data)


def _has_splits(data: object) -> TypeGuard[Mapping[Any, object]]:
    return isinstance(data, Mapping) and not are_named_inputs(data)


def _target_specs(targets: Any) -> list[str]:
    named = [targets] if isinstance(targets, str) else () if targets is None else targets
    if isinstance(named, Mapping):
        named = [f"{name}={spec}" if isinstance(spec, str) else spec for name, spec in named.items()]
    strangers = [one for one in named if not isinstance(one, str)]
    if strangers:
        msg = (
            f"targets hold {arrays.describe(strangers[0])} beside data that are named by SPECs; expected SPECs, such "
            "as ['train:digit=labels.npy'], or give the data as arrays, too"
        )
        raise SourceError(msg)
    return list(named)


def _of_objects(
    loaders: Mapping[Any, object], targets: Mapping[str, Any], columns: RowColumns, target: str
) -> list[SplitData]:
    if not loaders:
        msg = "data are an empty mapping; expected an array or batches for each split"
        raise SourceError(msg)
    names = list(loaders)
    for name in names:
        if not isinstance(name, str):
            msg = f"data have the split {name!r}; expected text, such as 'train'"
            raise SourceError(msg)
    columns.check_splits(names)
    said = {name: by_split(f"{name} of rows", given, names) for name, given in columns.given.items()}
    found = []
    for name, batches in loaders.items():
        _refuse_a_pair(batches)
        source = from_object(batches, f"loader {type(batches).__name__}", target)
        own = {what: whole_column(by.get(name), batches, source, what) for what, by in said.items()}
        found.append(SplitData(name, source, columns=replace(columns, given=own)))
    labels = {name: by_split(f"target {name!r}", given, names) for name, given in targets.items()}
    for place, item in enumerate(found):
        own = {
            name: _labels(name, by[item.split], item, loaders[item.split])
            for name, by in labels.items()
            if item.split in by
        }
        found[place] = replace(item, targets=own)
        if own:
            found[place].check_lengths()
            warn_of_marks(own)
    return found


def _refuse_a_pair(batches: object) -> None:
    """Refuse ``(X, y)``, which reads as two batches, the second of them labels."""
    if not (isinstance(batches, tuple) and len(batches) == 2 and all(arrays.is_array(one) for one in batches)):
        return
    shapes = [tuple(one.shape) for one in batches]
    if len(shapes[1]) == 1 and len(shapes[0]) > 1 and shapes[0][0] == shapes[1][0]:
        msg = (
            f"a tuple of arrays {shapes[0]} and {shapes[1]} was given as data, which would be two batches; give the "
            "inputs as data and the labels as targets={'label': y}, or one batch as [(X, y)]"
        )
        raise SourceError(msg)


def _labels(name: str, values: Any, item: SplitData, data: object) -> Any:
    if getattr(item.source, "shuffled", False):
        msg = (
            f"{item.source.spec} shuffles its rows (RandomSampler), so labels of target {name!r} would be those of "
            f"other rows; let it give its labels itself, (inputs, {{{name!r}: labels}}), or read it with shuffle=False"
        )
        raise SourceError(msg)
    if isinstance(values, str) or not isinstance(values, Iterable):
        msg = f"target {name!r} is {values!r}; expected one label per row"
        raise SourceError(msg)
    return without(in_rows_order(values, data, f"target {name!r}"), item.columns.ignore)
