"""Stores that are to become one: what each has, and which rank of the new one each of its ranks becomes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actstore.errors import InUseError, StoreError
from actstore.store.disk import durable
from actstore.store.disk.locks import is_locked
from actstore.store.documents.documents import Header, differences, natural, undamaged, unseal
from actstore.store.documents.folder import listed_steps, read_header, read_step
from actstore.store.documents.rank import Rank, locks_of, ranks_of, read_rank
from actstore.store.documents.steps import STEP
from actstore.store.documents.versions import VERSIONS, other_versions
from actstore.store.format import COMPLETE, FOLDER_SUFFIX, STEP_JSON, step_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from actstore.store.documents.records import Begin

SAME = ("model", "reductions")  # of the provenance: what all rows of a store have in common
IMPORT = "import"  # in the provenance of rows that were not computed here
SHOWN = 8  # ranks in a message


@dataclass(frozen=True)
class StepShare:
    """What a store has of one step: the provenance in step.json, and the ranks, ascending, all of which have ended."""

    provenance: Mapping[str, Any]
    ranks: Sequence[Rank]


@dataclass(frozen=True)
class Share:
    """A store that is to be a part of another: some ranks of one dump, or all (then it is ``whole``)."""

    folder: Path
    header: Header
    steps: Mapping[int, StepShare]
    whole: bool


@dataclass(frozen=True)
class NewRank:
    """A rank of the new store: the one that has its shards now, and how its journal is to begin."""

    rank: Rank
    begin: Begin


@dataclass(frozen=True)
class NewStep:
    """A step of the new store; its ranks' rows follow one another."""

    provenance: Mapping[str, Any]
    ranks: Sequence[NewRank]


def read_share(path: str | PathLike[str]) -> Share:
    """The store in a folder, to be merged. StoreError where there is none, or it is unfinished or being written."""
    folder = Path(os.path.abspath(path))
    if not folder.is_dir():
        what = (
            f"is one file; stores that are merged are folders (NAME{FOLDER_SUFFIX})"
            if folder.exists()
            else "is not there"
        )
        msg = f"{path} {what}"
        raise StoreError(msg)
    header = read_header(folder)
    check_not_written(folder)
    numbers = listed_steps(folder, header)
    if not numbers:
        msg = f"{folder} has no rows; leave it out, or dump it first"
        raise StoreError(msg)
    steps = {step: _read_step(folder, header, step) for step in numbers}
    whole = {len(share.ranks) == share.ranks[0].begin.world_size for share in steps.values()}
    if len(whole) > 1:
        msg = f"{folder} has all ranks of some steps and not of others; dump the other ranks of these first"
        raise StoreError(msg)
    return Share(folder, header, steps, whole.pop())


def check_not_written(folder: Path) -> None:
    """StoreError where a process writes to the store in ``folder``."""
    if any(map(is_locked, locks_of(folder))):
        msg = f"{folder} is being written by another process; merge it when that has ended"
        raise InUseError(msg)


def _read_step(folder: Path, header: Header, step: int) -> StepShare:
    place = folder / step_folder(step)
    ranks: list[Rank] = []
    for number in ranks_of(place):
        rank = read_rank(folder, header, step, number)
        if rank is None or rank.end is None:
            msg = f"{folder}: rank {number} of step {step} is unfinished; finish it first (--resume)"
            raise StoreError(msg)
        ranks.append(rank)
    if len({rank.begin.world_size for rank in ranks}) != 1:
        msg = f"{folder}: step {step} has ranks of different world sizes; dump them again, with one"
        raise StoreError(msg)
    if len(ranks) == ranks[0].begin.world_size:
        if not (place / COMPLETE).exists():
            msg = f"{folder} has all ranks of step {step}, but not its {COMPLETE}; actstore merge {folder} writes it"
            raise StoreError(msg)
        read_step(folder, header, step)
    document = unseal(durable.read_whole(place / STEP_JSON), place / STEP_JSON)
    with undamaged(place / STEP_JSON):
        if natural(document[STEP]) != step:
            msg = f"it is of step {document[STEP]}"
            raise ValueError(msg)
        return StepShare(dict(document["provenance"]), ranks)


def new_steps(shares: Sequence[Share], *, anyway: bool = False) -> dict[int, NewStep]:
    """The steps that come of several stores; ``anyway`` also where other versions of the libraries computed them.

    Shares of one dump keep their ranks; whole stores become consecutive ranks, in the order given.

    Raises:
        StoreError: other layers, steps, models or reductions (each difference is named); ranks that are missing,
            there twice, or of another dump.
    """
    first, *others = shares
    for share in others:
        _refuse(first.folder, share.folder, differences(first.header.by_name(), share.header.by_name()))
        _refuse(first.folder, share.folder, differences(list(first.steps), list(share.steps), "steps"))
        if share.whole != first.whole:
            one, rest = (share, first) if share.whole else (first, share)
            msg = f"{one.folder} is a whole store, {rest.folder} has {_named(rest)}; merge the shares of one dump first"
            raise StoreError(msg)
        if not anyway:
            _refuse_versions(first, share)
    join = _join_whole if first.whole else _join_ranks
    return {step: join(step, {share.folder: share.steps[step] for share in shares}) for step in first.steps}


def _refuse_versions(first: Share, share: Share) -> None:
    """StoreError where other versions computed the rows of two stores. What was imported was computed elsewhere."""
    for step, found in share.steps.items():
        before = _told(first.steps[step], first.steps[step].ranks[0])
        for now in [_told(found, rank) for rank in found.ranks]:
            names = other_versions(before.get(VERSIONS), now.get(VERSIONS))
            if names and IMPORT not in before and IMPORT not in now:
                msg = (
                    f"{share.folder} was computed by other versions than {first.folder}: {'; '.join(names)}. Dump them "
                    "alike, or pass anyway=True (--anyway): the versions of each stay recorded"
                )
                raise StoreError(msg)


def _told(share: StepShare, rank: Rank) -> dict[str, Any]:
    """All that a rank says of how its rows came about."""
    return {**share.provenance, **rank.begin.provenance, **(rank.end.provenance if rank.end else {})}


def _join_ranks(step: int, shares: Mapping[Path, StepShare]) -> NewStep:
    """The ranks of one dump, each in a store of its own (or several in one)."""
    first, *others = shares
    for folder in others:
        _refuse(first, folder, differences(shares[first].provenance, shares[folder].provenance))
    ranks = sorted(
        (rank for share in shares.values() for rank in share.ranks), key=lambda rank: rank.begin.rank
    )
    _check_numbers(step, ranks)
    rows = 0
    for rank in ranks:
        if rank.begin.first_row != rows:
            what = "overlaps" if rank.begin.first_row < rows else "leaves a gap"
            msg = (
                f"{rank.folder}, rank {rank.begin.rank} of step {step}, begins with row {rank.begin.first_row:,} where "
                f"the ranks before it end at {rows:,}: it {what}. Dump all ranks of the same data again"
            )
            raise StoreError(msg)
        rows += rank.rows
    return NewStep(shares[first].provenance, [NewRank(rank, rank.begin) for rank in ranks])


def _check_numbers(step: int, ranks: Sequence[Rank]) -> None:
    """StoreError unless every rank of one dump is there, once."""
    sizes = {rank.begin.world_size: rank for rank in ranks}
    if len(sizes) > 1:
        one, other, *_ = sizes.values()
        msg = (
            f"{one.folder} is a rank of {one.begin.world_size}, {other.folder} one of {other.begin.world_size}; "
            "expected ranks of one dump"
        )
        raise StoreError(msg)
    known: dict[int, Rank] = {}
    for rank in ranks:
        twin = known.setdefault(rank.begin.rank, rank)
        if twin is not rank:
            msg = (
                f"rank {rank.begin.rank} of step {step} appears twice, in {twin.folder} and in {rank.folder}; "
                "name one"
            )
            raise StoreError(msg)
    world_size = ranks[0].begin.world_size
    missing = [number for number in range(world_size) if number not in known]
    if missing:
        shown = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        msg = f"of step {step}, {len(missing):,} of {world_size:,} ranks are missing: {shown}; name their stores too"
        raise StoreError(msg)


def _join_whole(step: int, shares: Mapping[Path, StepShare]) -> NewStep:
    """Whole stores, one behind the other. What their provenances have in common is that of the new store."""
    _check_same_model(shares)
    provenances = [share.provenance for share in shares.values()]
    common = {
        key: value
        for key, value in provenances[0].items()
        if all(key in other and other[key] == value for other in provenances)
    }
    world_size = sum(len(share.ranks) for share in shares.values())
    rows, ranks = 0, list[NewRank]()
    for share in shares.values():
        own = {key: value for key, value in share.provenance.items() if key not in common}
        for rank in share.ranks:
            begin = replace(
                rank.begin,
                rank=len(ranks),
                world_size=world_size,
                first_row=rows,
                provenance={**own, **rank.begin.provenance},
            )
            ranks.append(NewRank(rank, begin))
            rows += rank.rows
    return NewStep(common, ranks)


def _check_same_model(shares: Mapping[Path, StepShare]) -> None:
    told = {folder: _told(share, share.ranks[0]) for folder, share in shares.items()}
    first, *others = told
    for folder in others:
        before, now = (
            {key: told[place][key] for key in SAME if key in told[place]} for place in (first, folder)
        )
        _refuse(first, folder, differences(before, now))


def _named(share: Share) -> str:
    ranks = next(iter(share.steps.values())).ranks
    return (
        f"rank {ranks[0].begin.rank} of {ranks[0].begin.world_size}"
        if len(ranks) == 1
        else "some ranks of a dump"
    )


def _refuse(first: Path, other: Path, names: Sequence[str]) -> None:
    """StoreError where two stores differ in something."""
    if names:
        msg = f"{other} does not go with {first}: {'; '.join(names)}. Merge what was dumped alike"
        raise StoreError(msg)
