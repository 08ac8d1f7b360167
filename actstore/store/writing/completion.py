"""Say that a step of a store is whole, once every row is proven to be there, once, and to be the same at every step."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.disk.locks import Lock
from actstore.store.disk.output import write_new
from actstore.store.documents.coding import common_dtype
from actstore.store.documents.documents import digest, natural, seal, undamaged, unseal, versioned
from actstore.store.documents.folder import one_rank
from actstore.store.documents.journal import has_records
from actstore.store.documents.own_files import remove_own
from actstore.store.documents.rank import rank_folders, rank_number
from actstore.store.documents.running_hashes import fingerprint
from actstore.store.documents.steps import proven, read_ended
from actstore.store.documents.unique import SeenIds
from actstore.store.format import (
    COMPLETE,
    JOURNAL,
    LOCK,
    ROW_GROUP,
    ROW_POSITION,
    STEP_JSON,
    STEPS,
    STORE_JSON,
    TARGETS,
    step_folder,
    values_path,
)
from actstore.store.reading.reader import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actstore.store.documents.documents import Header
    from actstore.store.documents.rank import Rank


def complete_step(folder: Path, header: Header, step: int) -> bool:
    """Write COMPLETE, once the journals on the disk are seen to list every row once, in order.

    Returns:
        whether all ranks have ended.

    Raises:
        StoreError: ranks that are no shares of one dump, rows that came twice, or other rows than at other steps.
    """
    ranks = read_ended(folder, header, step)
    if ranks is None:
        return False
    rows = sum(rank.rows for rank in ranks)
    _check_other_steps(folder, step, rows)
    check_ranks(folder, header, step, ranks)
    mark = fingerprint(header.identity, [(rank.rows, rank.end.hashes) for rank in ranks if rank.end])
    files = {name: digest(durable.read_whole(folder / name)) for name in proven(step, len(ranks))}
    proof = versioned(step=step, rows=rows, ranks=len(ranks), fingerprint=mark, files=files)
    # ranks that end at once write the same
    write_new(folder / step_folder(step) / COMPLETE, seal(proof))
    _remove_unbegun(folder, folder / step_folder(step), len(ranks))
    for place in (folder, folder / step_folder(step)):  # whoever wrote there by now has, or was killed
        durable.remove_temporaries(place, lambda name: name in (STORE_JSON, STEP_JSON, COMPLETE))
    return True


def _remove_unbegun(folder: Path, step: Path, world_size: int) -> None:
    """Remove the folders of ranks that there are none of: left by processes that died before their first record."""
    for place in [place for place in rank_folders(step) if rank_number(place.name) >= world_size]:
        with suppress(BlockingIOError, OSError):  # a process that is about to begin is refused when it does
            lock = Lock(place / LOCK)
            try:
                if not has_records(place / JOURNAL):
                    remove_own(place, folder)
            finally:
                lock.release()


def _check_other_steps(folder: Path, step: int, rows: int) -> None:
    for path in sorted((folder / STEPS).glob(f"*/{COMPLETE}")):
        document = unseal(durable.read_whole(path), path)
        with undamaged(path):
            other, expected = natural(document["step"]), natural(document["rows"])
        if other != step and expected != rows:
            msg = (
                f"step {step} has {rows:,} rows where step {other} of {folder} has {expected:,}; every step of a store "
                "has the same rows. Dump the same data, or to another name"
            )
            raise StoreError(msg)


def check_ranks(folder: Path, header: Header, step: int, ranks: Sequence[Rank]) -> None:
    """StoreError unless the rows of ranks, in the order given, can follow one another in one store."""
    if len(ranks) > 1:
        _check_columns(ranks)
        _check_ids(folder, header, step, ranks)


def _check_columns(ranks: Sequence[Rank]) -> None:
    """All ranks have groups and positions or none has; labels of one name are of one kind."""
    first, *others = ranks
    known = _columns(first)
    for rank in others:
        found = _columns(rank)
        for column in (values_path(ROW_GROUP), ROW_POSITION):
            if (column in found) != (column in known):
                having, lacking = (rank, first) if column in found else (first, rank)
                msg = f"{having.folder} has {column}, {lacking.folder} has not; give groups and positions throughout"
                raise StoreError(msg)
        try:
            known |= {
                name: common_dtype(name, [known.get(name, dtype), dtype]) for name, dtype in found.items()
            }
        except StoreError as error:
            msg = f"{rank.folder} does not go with {first.folder}: {error}"
            raise StoreError(msg) from error


def _columns(rank: Rank) -> dict[str, np.dtype]:
    """Return a rank's row table beside ids and splits: the groups, the positions, the labels of each target."""
    found: dict[str, np.dtype] = {}
    for path, extent in [item for record in rank.shards for item in record.file.extents.items()]:
        labels = path.startswith(f"{TARGETS}/") and path.endswith(values_path(""))
        if labels or path in (values_path(ROW_GROUP), ROW_POSITION):
            dtype = np.dtype(np.str_) if extent.dtype.startswith("S") else np.dtype(extent.dtype)
            found[path] = common_dtype(path, [found.get(path, dtype), dtype])
    return found


def _check_ids(folder: Path, header: Header, step: int, ranks: Sequence[Rank]) -> None:
    """A rank's own ids are unique already."""
    seen = SeenIds()
    for number, rank in enumerate(ranks):
        with Store(one_rank(folder, header, step, rank)) as store:
            ids = store.ids.tolist()
        hashes = SeenIds.hashes([row_id.encode("utf-8") for row_id in ids])
        suspects = {ids[place] for place in seen.suspects(hashes)}
        for other in ranks[:number] if suspects else ():
            with Store(one_rank(folder, header, step, other)) as store:
                repeated = suspects.intersection(store.ids.tolist())
            if repeated:
                msg = (
                    f"id {min(repeated)!r} is in {other.folder} and in {rank.folder}; every row of a store needs an id "
                    "of its own"
                )
                raise StoreError(msg)
        seen.add(hashes)
