"""Find out what is in the folder of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.documents.catalog import Catalog, Contents, Part
from actstore.store.documents.documents import Header, digest, natural, text, undamaged, unseal
from actstore.store.documents.journal import read_journal
from actstore.store.documents.rank import Rank, check_size, ranks_of, read_rank
from actstore.store.documents.records import FileRecord, check_targets
from actstore.store.documents.steps import STEP, TARGET, proven
from actstore.store.format import (
    COMPLETE,
    FOLDER_SUFFIX,
    JOURNAL,
    STEP_JSON,
    STEPS,
    STORE_JSON,
    is_attached_name,
    is_step,
    step_folder,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def read_folder(folder: Path) -> Catalog:
    """Return what is in the store in ``folder``. StoreError, naming the file, where it is not sound."""
    header = read_header(folder)
    whole = [path.parent.name for path in (folder / STEPS).glob(f"*/{COMPLETE}")]  # before what lists them
    steps = listed_steps(folder, header)
    lost = sorted(set(whole) - {str(step) for step in steps})
    if lost:
        path = folder / JOURNAL
        msg = f"{path} is damaged: it does not list step {lost[0]}, which is complete; restore it from a copy"
        raise StoreError(msg)
    if not steps:
        msg = f"{folder} has no rows yet: its dump ended before the first were sealed. Dump again with --resume"
        raise StoreError(msg)
    catalog = read_steps(folder, header, steps)
    rows = catalog.base.rows
    with undamaged(folder / JOURNAL):
        attached = {
            text(record[TARGET]): _attached(folder, record, rows)
            for record in store_records(folder, header)
            if TARGET in record
        }
    return Catalog(folder, header, catalog.steps, attached)


def read_steps(folder: Path, header: Header, steps: Sequence[int]) -> Catalog:
    """Some steps of a store, without the targets that were attached."""
    return Catalog(folder, header, {step: read_step(folder, header, step) for step in steps}, {})


def store_records(folder: Path, header: Header) -> Sequence[dict[str, Any]]:
    """The records of the steps and targets of a store, in the order in which they were added; none at its beginning."""
    path = folder / JOURNAL
    return read_journal(path, header.identity).records if path.exists() else []


def listed_steps(folder: Path, header: Header) -> list[int]:
    """The steps of a store, ascending."""
    records = store_records(folder, header)
    with undamaged(folder / JOURNAL):
        steps = sorted(natural(record[STEP]) for record in records if STEP in record)
        known = all(STEP in record or TARGET in record for record in records) and all(map(is_step, steps))
        if len(set(steps)) < len(steps) or not known:
            msg = "it lists a step twice, or what is neither a step nor a target"
            raise ValueError(msg)
    return steps


def read_header(folder: Path) -> Header:
    """The row unit and the layers, from store.json."""
    path = folder / STORE_JSON
    if not path.exists():
        what = (
            "holds no rows yet"
            if folder.suffix == FOLDER_SUFFIX or folder.suffix == ".partial"
            else "is no store"
        )
        msg = f"{folder} {what}: there is no {STORE_JSON} in it"
        raise StoreError(msg)
    document = unseal(durable.read_whole(path), path)
    with undamaged(path):
        return Header.parse(document)


def read_step(folder: Path, header: Header, step: int) -> Contents:
    """One step of the store in ``folder``."""
    place = folder / step_folder(step)
    proof = _read_proof(folder, step)  # before the journals: rows that are sealed in between are not missed
    document = unseal(durable.read_whole(place / STEP_JSON), place / STEP_JSON)
    numbers = range(proof[2]) if proof else ranks_of(place)
    found = [read_rank(folder, header, step, number, whole=proof is not None) for number in numbers]
    ranks = _contiguous(found)
    with undamaged(place / STEP_JSON):
        if natural(document[STEP]) != step:
            msg = f"it is of step {document[STEP]}"
            raise ValueError(msg)
        provenance = _provenance(document["provenance"], ranks)
    contents = Contents(
        path=folder,
        header=header,
        step=step,
        parts=[part for rank in ranks for part in rank.parts()],
        complete=proof is not None,
        provenance=provenance,
        fingerprint=proof[1] if proof else digest(" ".join(rank.checksum for rank in ranks).encode("ascii")),
        nonfinite=_nonfinite(header, ranks),
    )
    if proof is not None and (contents.rows != proof[0] or any(rank.end is None for rank in ranks)):
        msg = f"{place / COMPLETE} does not fit the journals of its ranks: one of them is damaged; restore them"
        raise StoreError(msg)
    return contents


def one_rank(folder: Path, header: Header, step: int, rank: Rank) -> Catalog:
    """The rows of one rank as a store of their own."""
    parts = [
        Part(part.path, part.first_row - rank.begin.first_row, part.rows, part.extents, part.stamp)
        for part in rank.parts()
    ]
    nonfinite = _nonfinite(header, [rank])
    return Catalog(folder, header, {step: Contents(folder, header, step, parts, False, {}, "", nonfinite)}, {})


def _contiguous(found: Sequence[Rank | None]) -> list[Rank]:
    """The ranks whose rows can be told: those up to the first that has not ended."""
    ranks: list[Rank] = []
    rows = 0
    for rank in found:
        if rank is None or rank.begin.rank != len(ranks) or rank.begin.first_row != rows:
            break
        ranks.append(rank)
        rows += rank.rows
        if rank.end is None:
            break
    return ranks


def _provenance(shared: Mapping[str, Any], ranks: Sequence[Rank]) -> dict[str, Any]:
    """Return what all ranks have in common; what each said of its own, under "ranks" where there are several."""
    own = [{**rank.begin.provenance, **(rank.end.provenance if rank.end else {})} for rank in ranks]
    if len(own) == 1:
        return {**shared, **own[0]}
    return {**shared, "ranks": own}


def _nonfinite(header: Header, ranks: Sequence[Rank]) -> dict[str, int]:
    shards = [record for rank in ranks for record in rank.shards]
    return {layer.name: sum(record.nonfinite[layer.name] for record in shards) for layer in header.layers}


def _read_proof(folder: Path, step: int) -> tuple[int, str, int] | None:
    """The rows, the fingerprint and the number of ranks that COMPLETE vouches for; None while there is none."""
    path = folder / step_folder(step) / COMPLETE
    if not path.exists():
        return None
    proof = unseal(durable.read_whole(path), path)
    with undamaged(path):
        promised = natural(proof["rows"]), text(proof["fingerprint"]), natural(proof["ranks"])
        if natural(proof[STEP]) != step:
            msg = f"it is of step {proof[STEP]}"
            raise ValueError(msg)
        if promised[2] < len(ranks_of(path.parent)):  # one that is missing is told where it is read
            msg = f"it vouches for {promised[2]} ranks where {len(ranks_of(path.parent))} are"
            raise ValueError(msg)
        if promised[2] > len(proof["files"]):
            msg = f"it vouches for {promised[2]} ranks by the hashes of {len(proof['files'])} files"
            raise ValueError(msg)
        expected = {name: text(proof["files"][name]) for name in proven(step, promised[2])}
    for name, mark in expected.items():
        if digest(durable.read_whole(folder / name)) != mark:
            msg = f"{folder / name} is not what it was when the store was completed; restore it from a copy"
            raise StoreError(msg)
    return promised


def _attached(folder: Path, record: Mapping[str, Any], rows: int) -> Part:
    """A target that was attached to all rows."""
    name = text(record["file"])
    if not is_attached_name(name) or natural(record["rows"]) != rows:
        msg = f"target {record[TARGET]!r} in {name!r} is of {record['rows']} rows, for {rows}"
        raise ValueError(msg)
    file = FileRecord.parse(record)
    check_targets(file.extents, rows)
    path = folder / name
    return Part(path, 0, rows, file.extents, check_size(path, file.file_bytes))
