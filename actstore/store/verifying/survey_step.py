"""Survey one step of a store: its documents, its ranks, and the files that their journals list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actstore.errors import StoreError
from actstore.store.documents.documents import undamaged
from actstore.store.documents.rank import (
    BEGIN,
    END,
    journal_start,
    parse_records,
    rank_folders,
    rank_number,
    ranks_of,
)
from actstore.store.documents.records import Begin, End, natural, text
from actstore.store.documents.running_hashes import fingerprint
from actstore.store.documents.steps import STEP
from actstore.store.format import (
    COMPLETE,
    JOURNAL,
    LOCK,
    STEP_JSON,
    STORE_JSON,
    is_rank_folder,
    is_shard_name,
    rank_folder,
    step_folder,
)
from actstore.store.verifying.account import DOCUMENT, entries_of
from actstore.store.verifying.rehash import SealedFile
from actstore.store.verifying.report import RowNumbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from actstore.store.documents.documents import Header
    from actstore.store.verifying.account import Account


class StepSurvey:
    """Reads the documents of one step, and takes down in an account what they say."""

    def __init__(self, account: Account, header: Header | None, step: int) -> None:
        """``header`` is None where it could not be read: then records are taken by their own checksums."""
        self._account, self._header, self._step = account, header, step
        self._folder = account.folder

    def run(self) -> None:
        """Take down all that can be told of the step, however much of it is damaged."""
        step = self._step
        place = self._folder / step_folder(step)
        strict = (place / COMPLETE).exists()
        proof = self._account.document(place / COMPLETE) if strict else None
        self._account.document(place / STEP_JSON)
        try:
            numbers = self._ranks(proof)
        except StoreError as error:
            self._account.damage(place, DOCUMENT, str(error))
            numbers = []
        ranks = [self._survey_rank(number, strict=strict) for number in numbers]
        if proof is not None:
            self._check_proof(proof, dict(zip(numbers, ranks, strict=True)))
        self._account.steps[step] = sum(rows for rows, _ in ranks), strict
        self._take_down_unlisted(place, numbers, strict=strict)

    def _take_down_unlisted(self, place: Path, numbers: Sequence[int], *, strict: bool) -> None:
        """Return what is in the folder of the step besides its documents and its ranks."""
        ranks = (place.parent.joinpath(rank_folder(self._step, number)).name for number in numbers)
        known = {STEP_JSON, COMPLETE, *ranks}
        for path in entries_of(place):
            if path.name not in known:
                # A rank past those that are there died before it began.
                beyond = is_rank_folder(path.name) and rank_number(path.name) >= len(numbers)
                self._account.unlisted(path, strict=strict and not beyond)

    def _ranks(self, proof: Mapping[str, Any] | None) -> list[int]:
        """The ranks that have begun; where some were proven to be there, also those whose journals are gone."""
        place = self._folder / step_folder(self._step)
        begun = set(ranks_of(place))
        promised = proof.get("ranks") if proof else None
        if isinstance(promised, int):
            begun |= {n for n in map(rank_number, (path.name for path in rank_folders(place))) if n < promised}
        return sorted(begun)

    def _check_proof(self, proof: Mapping[str, Any], ranks: Mapping[int, tuple[int, Any]]) -> None:
        step = self._step
        path = self._folder / step_folder(step) / COMPLETE
        try:
            with undamaged(path):
                if natural(proof[STEP]) != step:
                    msg = f"it is of step {proof[STEP]}"
                    raise ValueError(msg)
                promised, rows, files = natural(proof["ranks"]), natural(proof["rows"]), dict(proof["files"])
                mark = text(proof["fingerprint"])
        except StoreError as error:
            self._account.damage(path, DOCUMENT, str(error))
            return
        if len(ranks) != promised or list(ranks) != list(range(len(ranks))):
            self._account.damage(path.parent, "ranks", f"{len(ranks):,} of {promised:,} ranks are there")
        journals = [f"{rank_folder(step, number)}/{JOURNAL}" for number in ranks]
        for name in (STORE_JSON, f"{step_folder(step)}/{STEP_JSON}", *journals):
            if not self._account.is_damaged(self._folder / name) and self._account.mark(name) != files.get(
                name
            ):
                self._account.damage(
                    self._folder / name, DOCUMENT, f"it is not what it was when step {step} was completed"
                )
        if self._account.damages or self._header is None:
            return
        shares = [(count, hashes) for count, hashes in ranks.values()]
        if sum(count for count, _ in shares) != rows or fingerprint(self._header.identity, shares) != mark:
            self._account.damage(
                path, DOCUMENT, "its rows or its fingerprint are not those that the journals of the ranks give"
            )

    def _survey_rank(self, rank: int, *, strict: bool) -> tuple[int, Mapping[str, str]]:
        """The sealed rows of a rank and the hashes that its end gives."""
        step = self._step
        place = self._folder / rank_folder(step, rank)
        start = journal_start(self._header, step, rank) if self._header else None
        entries, sound = self._account.journal(place / JOURNAL, start, whole=strict)
        if sound and self._header is not None:
            try:
                with undamaged(place / JOURNAL):
                    parse_records(place, [entry for _, entry in entries], self._header, rank, "")
            except StoreError as error:
                self._account.damage(place / JOURNAL, "records", str(error))
                sound = False
        first = _first_row(entries, rank)
        numbers = RowNumbers(first) if first is not None else RowNumbers(0, f" of rank {rank}")
        files = self._sealed(place, entries, numbers)
        known = {JOURNAL, LOCK, *(file.path.name for file in files)}
        for path in entries_of(place):
            if path.name not in known:
                self._account.unlisted(path, strict=strict or not sound)
        return sum(file.rows for file in files), _end_hashes(entries)

    def _sealed(
        self, place: Path, entries: Sequence[tuple[int, dict[str, Any]]], numbers: RowNumbers
    ) -> list[SealedFile]:
        files: dict[str, SealedFile] = {}
        for number, entry in entries:
            if BEGIN in entry or END in entry:
                continue
            try:
                with undamaged(place / JOURNAL):
                    if not is_shard_name(entry["shard"]):
                        msg = f"{entry['shard']!r} is no shard"
                        raise ValueError(msg)
                    counted = RowNumbers(numbers.first + natural(entry["first_row"]), numbers.of)
                    file = SealedFile.recorded(place / entry["shard"], entry, counted)
            except StoreError as error:
                self._account.damage(place / JOURNAL, f"record {number:,}", str(error))
                continue
            files[entry["shard"]] = file
        self._account.files += files.values()
        return list(files.values())


def _first_row(entries: Sequence[tuple[int, dict[str, Any]]], rank: int) -> int | None:
    try:
        return next(Begin.parse(entry[BEGIN], rank).first_row for _, entry in entries if BEGIN in entry)
    except (StopIteration, ValueError, LookupError, TypeError, AttributeError):
        return None  # reported with the records


def _end_hashes(entries: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, str]:
    try:
        return next(dict(End.parse(e[END], natural(e[END]["rows"])).hashes) for _, e in entries if END in e)
    except (StopIteration, ValueError, LookupError, TypeError, AttributeError):
        return {}  # likewise
