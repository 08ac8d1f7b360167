"""Say that a step of a store is whole, once every row is proven to be there, once, and to be the same at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store import durable
from actstore.store.documents import digest, natural, seal, undamaged, unseal, versioned
from actstore.store.folder import one_rank
from actstore.store.format import COMPLETE, STEPS, step_folder
from actstore.store.reader import Store
from actstore.store.steps import proven, read_ended
from actstore.store.streams import fingerprint
from actstore.store.unique import SeenIds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actstore.store.documents import Header
    from actstore.store.rank import Rank


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
    if len(ranks) > 1:
        _check_ids(folder, header, step, ranks)
    mark = fingerprint(header.identity, [(rank.rows, rank.end.hashes) for rank in ranks if rank.end])
    files = {name: digest(durable.read_whole(folder / name)) for name in proven(step, len(ranks))}
    proof = versioned(step=step, rows=rows, ranks=len(ranks), fingerprint=mark, files=files)
    durable.write_whole(folder / step_folder(step) / COMPLETE, seal(proof))
    return True


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


def _check_ids(folder: Path, header: Header, step: int, ranks: Sequence[Rank]) -> None:
    """A rank's own ids are unique already."""
    seen = SeenIds()
    for rank in ranks:
        with Store(one_rank(folder, header, step, rank)) as store:
            ids = store.ids.tolist()
        hashes = SeenIds.hashes([row_id.encode("utf-8") for row_id in ids])
        suspects = {ids[place] for place in seen.suspects(hashes)}
        for other in ranks[: rank.begin.rank] if suspects else ():
            with Store(one_rank(folder, header, step, other)) as store:
                repeated = suspects.intersection(store.ids.tolist())
            if repeated:
                msg = (
                    f"id {min(repeated)!r} is in {other.folder} and in {rank.folder}; every row of a store needs an id "
                    "of its own"
                )
                raise StoreError(msg)
        seen.add(hashes)
