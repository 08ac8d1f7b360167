"""Make one store of several: the ranks of one dump, or whole stores one behind the other. No activations are moved."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import StoreError
from actstore.store.disk import cures, durable
from actstore.store.disk.output import check_room, write_whole
from actstore.store.documents.coding import common_dtype
from actstore.store.documents.documents import seal, versioned
from actstore.store.documents.folder import listed_steps, read_folder, read_header
from actstore.store.documents.journal import journal_bytes, read_journal
from actstore.store.documents.rank import BEGIN, END, check_size, journal_start, ranks_of, read_rank
from actstore.store.documents.steps import list_step, store_journal
from actstore.store.format import (
    COMPLETE,
    FOLDER_SUFFIX,
    JOURNAL,
    STEP_JSON,
    STORE_JSON,
    rank_folder,
    step_folder,
)
from actstore.store.merging.sources import check_not_written, new_steps, read_share
from actstore.store.merging.staging import new_folder, staged
from actstore.store.merging.transfer import CheckedCopy, link
from actstore.store.reading.reader import Store
from actstore.store.reading.reader import open as open_store
from actstore.store.writing.attach import write_target
from actstore.store.writing.completion import check_ranks, complete_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from actstore.store.documents.documents import Header
    from actstore.store.merging.sources import NewRank, NewStep, Share


class UnlabelledRowsWarning(UserWarning):
    """Some of the stores that were merged lack a target that others have."""


def merge(
    sources: Sequence[str | PathLike[str]],
    out: str | PathLike[str] | None = None,
    *,
    copy: bool = False,
    anyway: bool = False,
) -> Store:
    """Make one store of several, without moving activations: the shards become names of the same files.

    The sources are the ranks of one dump, in any order; or whole stores of the same layers, model and reductions, whose
    rows follow one another in the order given. They are left as they are, and the result is there whole or not at all.
    A target that was attached to one of several whole stores is merged too; the rows of those that lack it have no
    label, and an ``UnlabelledRowsWarning`` says so.

    Args:
        sources: folders, ``NAME.acts``.
        out: the folder to make, ``NAME.acts``. Without it, the one source has all its ranks already, and is completed.
        copy: whether to copy the activations, each checked on the way, because ``out`` is on another disk.
        anyway: whether to merge what other versions of the libraries computed; the versions of each stay recorded.

    Returns:
        the store, open.

    Raises:
        StoreError: rows that are missing or there twice, stores that do not go together (each difference is named),
            sources that are unfinished or being written, an ``out`` that exists, or a disk that takes no more.
    """
    if not sources:
        msg = "no store to merge; name one at least"
        raise StoreError(msg)
    if out is None:
        if len(sources) > 1:
            msg = f"there are {len(sources)} stores; say where the merged store goes (-o NAME{FOLDER_SUFFIX})"
            raise StoreError(msg)
        return complete(sources[0])
    final = new_folder(out, sources)
    shares = [read_share(source) for source in sources]
    header, steps = shares[0].header, new_steps(shares, anyway=anyway)
    for step, new in steps.items():
        check_ranks(final, header, step, [place.rank for place in new.ranks])
    targets = _targets(shares) if shares[0].whole else {}
    if copy:
        check_room(
            final, sum(r.file.file_bytes for new in steps.values() for p in new.ranks for r in p.rank.shards)
        )
    try:
        with staged(final, rank_folder(min(steps), 0)) as staging:
            _write_documents(staging, header, steps)
            for step, new in steps.items():
                for place in new.ranks:
                    _write_rank(staging, header, step, place, copy=copy)
                _complete(staging, header, step)
            for name, labels in targets.items():
                with store_journal(staging, header) as journal:
                    write_target(staging, journal, name, labels)
    except OSError as error:
        reason = f"{error.strerror or error}. {cures.to_write(error)}"
        msg = f"{final} cannot be written: {reason}; the sources are as they were"
        raise StoreError(msg) from error
    return open_store(final)


def complete(path: str | PathLike[str]) -> Store:
    """Complete a store all of whose ranks have ended, where the last one to end could not.

    Returns:
        the store, open.

    Raises:
        StoreError: a rank is missing, unfinished or being written; rows that came twice.
    """
    folder = Path(os.path.abspath(path))
    if not folder.is_dir():
        msg = f"{path} is no folder; expected a store of several ranks (NAME{FOLDER_SUFFIX})"
        raise StoreError(msg)
    header = read_header(folder)
    check_not_written(folder)
    for step in listed_steps(folder, header):
        if not (folder / step_folder(step) / COMPLETE).exists():
            _complete(folder, header, step)
    return open_store(folder)


def _complete(folder: Path, header: Header, step: int) -> None:
    if complete_step(folder, header, step):
        return
    found = {number: read_rank(folder, header, step, number) for number in ranks_of(folder / step_folder(step))}
    begun = [rank for rank in found.values() if rank is not None]
    world_size = begun[0].begin.world_size if begun else 1
    ended = {rank.begin.rank for rank in begun if rank.end is not None}
    lacking = ", ".join(str(number) for number in range(world_size) if number not in ended)
    msg = f"{folder}: of {world_size:,} ranks of step {step}, these have not ended: {lacking}. Finish them (--resume)"
    raise StoreError(msg)


def _write_documents(staging: Path, header: Header, steps: Mapping[int, NewStep]) -> None:
    write_whole(staging / STORE_JSON, seal(header.document()))
    for step, new in steps.items():
        folder = staging / step_folder(step)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / STEP_JSON, seal(versioned(step=step, provenance=dict(new.provenance))))
    durable.sync_folder(folder.parent)


def _write_rank(staging: Path, header: Header, step: int, new: NewRank, *, copy: bool) -> None:
    """The shards of a rank, then the journal that lists them."""
    rank, number = new.rank, new.begin.rank
    if rank.end is None:
        msg = f"{rank.folder} has not ended; finish it first (--resume)"
        raise StoreError(msg)
    folder = staging / rank_folder(step, number)
    folder.mkdir(exist_ok=True)
    for record in rank.shards:
        source, path = rank.folder / record.shard, folder / record.shard
        check_size(source, record.file.file_bytes)
        if copy:
            first_row = rank.begin.first_row + record.first_row
            CheckedCopy(source, record.file, header.layers, first_row).write(path)
        else:
            link(source, path)
    if (
        read_journal(rank.folder / JOURNAL, journal_start(header, step, rank.begin.rank)).checksum
        != rank.checksum
    ):
        msg = f"{rank.folder} was replaced while it was merged; merge again"
        raise StoreError(msg)
    shards = [record.document() for record in rank.shards]
    records: list[Mapping[str, Any]] = [{BEGIN: asdict(new.begin)}, *shards, {END: asdict(rank.end)}]
    write_whole(folder / JOURNAL, journal_bytes(journal_start(header, step, number), records))
    durable.sync_folder(folder.parent)
    list_step(staging, header, step)


def _targets(shares: Sequence[Share]) -> dict[str, np.ma.MaskedArray]:
    """The labels of all rows, of each target that was attached to one of several whole stores."""
    catalogs = [read_folder(share.folder) for share in shares]
    with ExitStack() as opened:
        stores = [opened.enter_context(Store(catalog)) for catalog in catalogs]
        _warn_of_unlabelled(stores)
        names = dict.fromkeys(name for catalog in catalogs for name in catalog.attached)
        return {name: _joined(name, stores) for name in names}


def _joined(name: str, stores: Sequence[Store]) -> np.ma.MaskedArray:
    """The labels of one target over all stores; the rows of those that lack it have none."""
    dtype = common_dtype(name, [store.targets[name].dtype for store in stores if name in store.targets])
    labels = np.ma.MaskedArray(np.zeros(sum(store.rows for store in stores), dtype), mask=True)
    start = 0
    for store in stores:
        if name in store.targets:
            labels[start : start + store.rows] = store.targets[name]
        start += store.rows
    return labels


def _warn_of_unlabelled(stores: Sequence[Store]) -> None:
    for name in dict.fromkeys(name for store in stores for name in store.targets):
        lacking = [store for store in stores if name not in store.targets]
        if lacking:
            rows = sum(store.rows for store in lacking)
            where = ", ".join(store.path.name for store in lacking)
            msg = f"target {name!r} is not in {where}: {rows:,} rows have no label"
            warnings.warn(msg, UnlabelledRowsWarning, stacklevel=4)
