"""Attach labels to the rows of a store that is there: each target is a file of its own, listed in the journal."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError, StoreError, TargetError
from actstore.rows.ids import counts_in_other_order, index_of, place_by_id
from actstore.rows.label_marks import warn_of_marks
from actstore.rows.labels import plain_labels, without
from actstore.store.disk import cures, durable
from actstore.store.disk.output import WholeFile
from actstore.store.documents.coding import as_labels
from actstore.store.documents.folder import read_folder, read_header
from actstore.store.documents.records import FileRecord
from actstore.store.documents.row_table import target_columns
from actstore.store.documents.shard import write_columns
from actstore.store.documents.steps import TARGET, store_journal
from actstore.store.format import FOLDER_SUFFIX, TARGETS, attached_name, encode_text, is_attached_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from actstore.store.documents.catalog import Catalog, Part
    from actstore.store.documents.journal import Journal
    from actstore.store.reading.reader import Store


def attach(
    store: Store,
    name: str,
    values: ArrayLike,
    ids: ArrayLike | None,
    *,
    overwrite: bool,
    ignore: Sequence[object] = (),
) -> Mapping[str, Part]:
    """Give the rows of a store labels; see ``Store.attach``.

    A crash on the way leaves the store as it was; other processes may attach targets meanwhile.

    Returns:
        all attached targets that the store has now, by name.
    """
    check_attachable(store)
    encode_text(name, "target name")
    if name in store.targets and not overwrite:
        raise _taken(store.path, name)
    labels = _labels(store, name, values, ids, ignore)
    warn_of_marks({name: labels}, stacklevel=3)
    try:
        with store_journal(store.path, read_header(store.path)) as journal:
            _check_same_rows(store, read_folder(store.path))
            if name in read_folder(store.path).attached and not overwrite:  # another process was quicker
                raise _taken(store.path, name)
            write_target(store.path, journal, name, labels)
    except OSError as error:
        msg = f"{store.path} cannot be written: {_reason(error)}"
        raise StoreError(msg) from error
    return read_folder(store.path).attached


def _check_same_rows(store: Store, now: Catalog) -> None:
    """StoreError where a store was replaced since it was opened."""
    for step, mark in store.fingerprints.items():
        if step not in now.steps or now.steps[step].fingerprint != mark:
            msg = f"{store.path} holds other rows than when it was opened; open it again"
            raise StoreError(msg)


def check_attachable(store: Store) -> None:
    """StoreError unless ``store`` is a folder whose rows are final."""
    if not store.path.is_dir():
        msg = (
            f"{store.path} is one file; labels are attached to a folder: dump or keep it as "
            f"{store.path.stem}{FOLDER_SUFFIX}"
        )
        raise StoreError(msg)
    if not store.complete:
        msg = (
            f"{store.path} is unfinished, so that its rows are not final; finish the dump (--resume), "
            "then attach labels"
        )
        raise StoreError(msg)


def write_target(folder: Path, journal: Journal, name: str, labels: np.ma.MaskedArray) -> None:
    """Write the next file of labels, then list it in the journal of the store, which the caller holds.

    What an interrupted writer left under the file's name was never listed, and is replaced; half a file is removed.

    Raises:
        StoreError: the disk takes no more; the store is as it was.
    """
    file = attached_name(sum(TARGET in record for record in journal.records))
    path = folder / file
    try:
        if not path.parent.exists():
            path.parent.mkdir()
            durable.sync_folder(folder)
        with suppress(OSError):  # of writers that were killed: whoever holds the journal is the only one
            durable.remove_temporaries(path.parent, lambda of: is_attached_name(f"{TARGETS}/{of}"))
        journal.announce(file)
        written = write_columns(
            WholeFile(path, replace=True, fence=journal.check), target_columns(name, labels)
        )
        record = FileRecord(*written).document()
        journal.append({TARGET: name, "file": file, "rows": len(labels), **record})
        with suppress(OSError):  # the labels are there; the next writer announces its own
            journal.announce("")
    except OSError as error:
        msg = f"{folder / TARGETS} cannot be written: {_reason(error)}"
        raise StoreError(msg) from error


def _reason(error: OSError) -> str:
    return f"{error.strerror or error}. The store is as it was. {cures.to_write(error)}"


def _taken(folder: Path, name: str) -> TargetError:
    return TargetError(
        f"{folder} has a target {name!r} already; pass overwrite=True (--overwrite) to put these labels in its place, "
        "or choose another name"
    )


def _labels(
    store: Store, name: str, values: ArrayLike, ids: ArrayLike | None, ignore: Sequence[object]
) -> np.ma.MaskedArray:
    """Labels of all rows: joined by ids, or by the index of a pandas object, where there are such."""
    labels = as_labels(name, without(_plain(name, values), ignore))
    index = None if ids is not None else index_of(values)
    if ids is None and counts_in_other_order(values, store.ids.tolist()):
        msg = (
            f"target {name!r} has an index of the ids of the rows, in another order; give ids= (as text) to join the "
            "labels, or .to_numpy() to take them by position"
        )
        raise TargetError(msg)
    if ids is None and index is None:
        return _by_position(name, labels, store.rows)
    given = index if ids is None else ids
    if index is not None and not all(isinstance(row_id, str) for row_id in index):
        msg = (
            f"target {name!r} has an index that is neither 0 to {store.rows - 1:,} in order nor the ids of rows (it "
            f"begins with {index.tolist()[0]!r}); give ids= to join the labels, or .to_numpy() to take them by position"
        )
        raise TargetError(msg)
    return _by_id(name, labels, np.asarray(given), store.ids)


def _plain(name: str, values: ArrayLike) -> np.ndarray:
    """Labels as ``plain_labels`` has them. StoreError for what is none."""
    try:
        return plain_labels(values, f"target {name!r}")
    except SourceError as error:
        came = np.asarray(values)
        msg = (
            f"target {name!r} is {came.ndim}-dimensional {came.dtype}; expected one int, bool or text per row. "
            f"Mask the rows without a label (numpy.ma), turn other values into classes ({error})"
        )
        raise StoreError(msg) from error


def _by_position(name: str, labels: np.ma.MaskedArray, rows: int) -> np.ma.MaskedArray:
    if len(labels) != rows:
        msg = (
            f"target {name!r} has {len(labels):,} labels for {rows:,} rows; expected one label per row. "
            "Mask the rows without a label (numpy.ma), or give the ids of those that have one"
        )
        raise TargetError(msg)
    return labels


def _by_id(name: str, given: np.ma.MaskedArray, ids: ArrayLike, known: np.ndarray) -> np.ma.MaskedArray:
    """Labels of all rows, of which only ``ids`` have one."""
    asked = _texts(name, ids)
    if len(asked) != len(given):
        msg = f"target {name!r} has {len(given):,} labels for {len(asked):,} ids; expected one label per id"
        raise TargetError(msg)
    return place_by_id(given, asked, known.tolist(), lambda what: TargetError(f"target {name!r}: {what}"))


def _texts(name: str, ids: ArrayLike) -> list[str]:
    found = np.asarray(ids)
    texts = found.dtype.kind == "O" and all(isinstance(row_id, str) for row_id in found.flat)
    if texts or not found.size:
        found = found.astype(np.str_)
    if found.dtype.kind not in "UT" or found.ndim != 1:
        came = f"{found.ndim}-dimensional {found.dtype}"
        msg = f"target {name!r}: its ids are {came}; expected one text per label"
        raise TargetError(msg)
    return found.tolist()
