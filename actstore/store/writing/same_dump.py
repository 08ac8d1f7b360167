"""Whether a dump is the one that was begun: whoever goes on with rows, or joins them, has to be the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.documents.documents import Header, differences, undamaged, unseal
from actstore.store.documents.rank import ranks_of, read_rank
from actstore.store.documents.records import Begin
from actstore.store.documents.versions import VERSIONS, other_versions
from actstore.store.format import STEP_JSON, STORE_JSON, step_folder

if TYPE_CHECKING:
    from pathlib import Path

    from actstore.store.documents.rank import Rank
    from actstore.store.documents.write_place import WritePlace
    from actstore.store.format import JSON
    from actstore.store.reading.reader import Store

PER_RANK = ("command", VERSIONS)  # what ranks of one dump may differ in, or are asked about


def check_header(folder: Path, header: Header) -> None:
    """StoreError unless the store has this row unit and these layers; each difference is named."""
    path = folder / STORE_JSON
    document = unseal(durable.read_whole(path), path)
    with undamaged(path):
        found = Header.parse(document)
    names = differences(found.by_name(), header.by_name())
    if names:
        raise refusal(folder, names)


def check_step(folder: Path, step: int, provenance: Mapping[str, JSON]) -> None:
    """StoreError unless the step was begun with this provenance."""
    path = folder / step_folder(step) / STEP_JSON
    document = unseal(durable.read_whole(path), path)
    with undamaged(path):
        names = differences(dict(document["provenance"]), dict(provenance))
    if names:
        raise refusal(folder, names)


def other_ranks(folder: Path, header: Header, place: WritePlace) -> list[Rank]:
    """The ranks that have begun beside the one at ``place``. StoreError where they are shares among another number."""
    step = folder / step_folder(place.number)
    found = [
        read_rank(folder, header, place.number, number) for number in ranks_of(step) if number != place.rank
    ]
    ranks = [rank for rank in found if rank is not None]
    for rank in ranks:
        if rank.begin.world_size != place.world_size:
            raise refusal(rank.folder, differences(rank.begin.world_size, place.world_size, "world_size"))
    return ranks


def check_share(path: Path, begin: Begin, place: WritePlace) -> None:
    """StoreError unless a rank was begun as this share of the rows."""
    ours = Begin(place.rank, place.world_size, place.first_row, place.rows, begin.provenance)
    names = differences(asdict(begin), asdict(ours))
    if names:
        raise refusal(path, names)


def check_versions(where: Path, before: object, now: object) -> None:
    """StoreError where other versions of the libraries computed what is there."""
    names = other_versions(before, now)
    if names:
        msg = (
            f"{where} was begun with other versions: {'; '.join(names)}. Go on with those, or pass resume_anyway=True "
            "(--resume-anyway): both are recorded, and rows may differ where versions do"
        )
        raise StoreError(msg)


def check_same(path: Path, store: Store, header: Header, provenance: Mapping[str, JSON]) -> None:
    """StoreError unless a store is of these layers, and what was noted of it before its first row is the same."""
    known = store.provenance
    names = differences(store.header.by_name(), header.by_name())
    for key, value in shared(provenance).items():
        found = known.get(key)
        names += differences(found, value, key) if key != "data" else _other_data(found, value)
    if names:
        raise refusal(path, names)


def _other_data(before: Any, now: Any) -> list[str]:
    """Differences of what was told of the data before it was read; its hashes came later."""
    return differences(_told(before), _told(now), "data")


def _told(data: Any) -> Any:
    """Split and source of each item of data; what another writer noted in its place stays as it is."""
    if not isinstance(data, list) or not all(isinstance(item, Mapping) for item in data):
        return data
    return [{key: item.get(key) for key in ("split", "source")} for item in data]


def shared(provenance: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what all ranks of a dump have in common of its provenance."""
    return {key: value for key, value in provenance.items() if key not in PER_RANK}


def refusal(where: Path, names: list[str]) -> StoreError:
    """Return what to say where something was begun with other settings than these."""
    return StoreError(
        f"{where} was begun differently: {'; '.join(names)}. Go on with what it was begun with, "
        "or dump to another name"
    )
