"""Read the documents of a store's folder for all that can be told from them, however much of it is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.documents.documents import Header, digest, undamaged, unseal
from actstore.store.documents.folder import TARGET
from actstore.store.documents.journal import examine_journal
from actstore.store.documents.rank import BEGIN, END, journal_start, parse_records, ranks_of
from actstore.store.documents.records import Begin, End, natural, text
from actstore.store.documents.running_hashes import fingerprint
from actstore.store.documents.steps import STEP
from actstore.store.format import (
    COMPLETE,
    JOURNAL,
    LOCK,
    STEP_JSON,
    STEPS,
    STORE_JSON,
    TARGETS,
    is_attached_name,
    is_shard_name,
    is_step,
    rank_folder,
    step_folder,
)
from actstore.store.verifying.rehash import SealedFile
from actstore.store.verifying.report import Damage, RowNumbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DOCUMENT = "document"
UNLISTED = "the whole file"


class Survey:
    """What the documents in a folder say: ``files`` to check, ``damages`` of the documents, ``leftovers``."""

    def __init__(self, folder: Path) -> None:
        """Read the documents in ``folder``. None of the sealed files is opened."""
        self.folder = folder
        self.files: list[SealedFile] = []
        self.damages: list[Damage] = []
        self.leftovers: list[Path] = []
        self.document_bytes = 0
        self.steps: dict[int, tuple[int, bool]] = {}
        """By step: how many rows are sealed, and whether it is complete."""
        self._header = self._read_header()
        entries, _ = self._journal(folder / JOURNAL, self._header.identity if self._header else None)
        listed = {entry[STEP] for _, entry in entries if is_step(entry.get(STEP))}
        for number, entry in entries:
            if TARGET not in entry and not is_step(entry.get(STEP)):
                self.damage(folder / JOURNAL, f"record {number:,}", "it lists neither a step nor a target")
        for step in sorted(listed | self._unlisted_steps(listed)):
            self._survey_step(step)
        self._survey_targets(entries)
        self._survey_end()

    @property
    def complete(self) -> bool:
        """Whether every step is."""
        return bool(self.steps) and all(complete for _, complete in self.steps.values())

    @property
    def rows(self) -> int:
        """How many rows are sealed: of the step that speaks for all, the first complete one, else the first."""
        found = list(self.steps.values())
        return next((rows for rows, complete in found if complete), found[0][0] if found else 0)

    def damage(self, path: Path, place: str, reason: str) -> None:
        """Take down what is wrong with a document."""
        self.damages.append(Damage(path, place, reason))

    def _document(self, path: Path) -> dict[str, Any] | None:
        try:
            data = durable.read_whole(path)
            self.document_bytes += len(data)
            return unseal(data, path)
        except StoreError as error:
            self.damage(path, DOCUMENT, str(error))
            return None

    def _read_header(self) -> Header | None:
        path = self.folder / STORE_JSON
        document = self._document(path)
        if document is None:
            return None
        try:
            with undamaged(path):
                return Header.parse(document)
        except StoreError as error:
            self.damage(path, DOCUMENT, str(error))
            return None

    def _journal(
        self, path: Path, start: str | None, *, whole: bool = False
    ) -> tuple[Sequence[tuple[int, dict[str, Any]]], bool]:
        """The sound records, each with its number, and whether these are all."""
        if not path.exists() and not whole:
            return [], True
        try:
            data = durable.read_whole(path)
        except StoreError as error:
            self.damage(path, DOCUMENT, str(error))
            return [], False
        self.document_bytes += len(data)
        found = examine_journal(data, start)
        for number in found.damaged:
            self.damage(path, f"record {number:,}", "its checksum does not fit it and the records before it")
        if found.torn and whole:
            self.damage(path, f"record {found.lines:,}", "the last record has no end")
        elif found.torn:
            self.leftovers.append(path)
        return found.entries, not found.damaged and not (found.torn and whole)

    def _unlisted_steps(self, listed: set[int]) -> set[int]:
        """Steps that are whole though the journal of the store does not say that they are there."""
        found = set()
        for path in _entries(self.folder / STEPS):
            step = (
                int(path.name) if path.name.isdecimal() and path.name.isascii() and len(path.name) < 13 else -1
            )
            if str(step) != path.name:
                self._unlisted(path, strict=True)
            elif step not in listed and (path / COMPLETE).exists():
                found.add(step)
                self.damage(
                    self.folder / JOURNAL, f"step {step}", f"{path} is complete, and no record lists it"
                )
            elif step not in listed:
                self.leftovers.append(path)
        return found

    def _survey_step(self, step: int) -> None:
        place = self.folder / step_folder(step)
        strict = (place / COMPLETE).exists()
        proof = self._document(place / COMPLETE) if strict else None
        self._document(place / STEP_JSON)
        try:
            numbers = ranks_of(place)
        except StoreError as error:
            self.damage(place, DOCUMENT, str(error))
            numbers = []
        ranks = [self._survey_rank(step, number, strict=strict) for number in numbers]
        if proof is not None:
            self._check_proof(step, proof, dict(zip(numbers, ranks, strict=True)))
        self.steps[step] = sum(rows for rows, _ in ranks), strict
        known = {STEP_JSON, COMPLETE, *(place.parent.joinpath(rank_folder(step, n)).name for n in numbers)}
        for path in _entries(place):
            if path.name not in known:
                self._unlisted(path, strict=strict)

    def _check_proof(self, step: int, proof: Mapping[str, Any], ranks: Mapping[int, tuple[int, Any]]) -> None:
        path = self.folder / step_folder(step) / COMPLETE
        try:
            with undamaged(path):
                if natural(proof[STEP]) != step:
                    msg = f"it is of step {proof[STEP]}"
                    raise ValueError(msg)
                promised, rows, files = natural(proof["ranks"]), natural(proof["rows"]), dict(proof["files"])
                mark = text(proof["fingerprint"])
        except StoreError as error:
            self.damage(path, DOCUMENT, str(error))
            return
        if len(ranks) != promised or list(ranks) != list(range(len(ranks))):
            self.damage(path.parent, "ranks", f"{len(ranks):,} of {promised:,} ranks are there")
        journals = [f"{rank_folder(step, number)}/{JOURNAL}" for number in ranks]
        for name in (STORE_JSON, f"{step_folder(step)}/{STEP_JSON}", *journals):
            if not self._is_damaged(self.folder / name) and self._mark(name) != files.get(name):
                self.damage(
                    self.folder / name, DOCUMENT, f"it is not what it was when step {step} was completed"
                )
        if self.damages or self._header is None:
            return
        shares = [(count, hashes) for count, hashes in ranks.values()]
        if sum(count for count, _ in shares) != rows or fingerprint(self._header.identity, shares) != mark:
            self.damage(
                path, DOCUMENT, "its rows or its fingerprint are not those that the journals of the ranks give"
            )

    def _is_damaged(self, path: Path) -> bool:
        return any(damage.path == path for damage in self.damages)

    def _mark(self, name: str) -> str:
        try:
            return digest(durable.read_whole(self.folder / name))
        except StoreError:  # reported where it was to be read
            return ""

    def _survey_rank(self, step: int, rank: int, *, strict: bool) -> tuple[int, Mapping[str, str]]:
        """The sealed rows of a rank and the hashes that its end gives."""
        place = self.folder / rank_folder(step, rank)
        start = journal_start(self._header, step, rank) if self._header else None
        entries, sound = self._journal(place / JOURNAL, start, whole=strict)
        if sound and self._header is not None:
            try:
                with undamaged(place / JOURNAL):
                    parse_records(place, [entry for _, entry in entries], self._header, rank, "")
            except StoreError as error:
                self.damage(place / JOURNAL, "records", str(error))
                sound = False
        first = _first_row(entries, rank)
        numbers = RowNumbers(first) if first is not None else RowNumbers(0, f" of rank {rank}")
        files = self._sealed(place, entries, numbers)
        known = {JOURNAL, LOCK, *(file.path.name for file in files)}
        for path in _entries(place):
            if path.name not in known:
                self._unlisted(path, strict=strict or not sound)
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
                self.damage(place / JOURNAL, f"record {number:,}", str(error))
                continue
            files[entry["shard"]] = file
        self.files += files.values()
        return list(files.values())

    def _survey_targets(self, entries: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Of two targets of one name the later holds."""
        path = self.folder / JOURNAL
        files: dict[str, SealedFile] = {}
        listed = set()
        for number, entry in entries:
            if TARGET not in entry:
                continue
            try:
                with undamaged(path):
                    name = text(entry["file"])
                    if not is_attached_name(name):
                        msg = f"{name!r} is no target"
                        raise ValueError(msg)
                    files[text(entry[TARGET])] = SealedFile.recorded(self.folder / name, entry, RowNumbers(0))
                    listed.add(self.folder / name)
            except StoreError as error:
                self.damage(path, f"record {number:,}", str(error))
        self.files += files.values()
        damaged = self._is_damaged(path)
        for found in _entries(self.folder / TARGETS):
            if found in listed:
                continue
            if self.complete and not damaged and is_attached_name(f"{TARGETS}/{found.name}"):
                lost = "is there, and no record lists it: a record is lost, or attaching it was interrupted"
                self.damage(path, f"{TARGETS}/{found.name}", lost)
            else:
                self._unlisted(found, strict=self.complete or damaged)

    def _survey_end(self) -> None:
        """Bytes after the last record of the store's journal: a new step was being listed, or they do not belong."""
        path = self.folder / JOURNAL
        begun = any(found.parent == self.folder / STEPS for found in self.leftovers)
        if path in self.leftovers and self.complete and not begun:
            self.leftovers.remove(path)
            self.damage(path, "the end", "bytes follow the last record, and nothing was being added")

    def _unlisted(self, path: Path, *, strict: bool) -> None:
        """What no record lists: left by a writer that was killed, unless nothing is to be missing any more."""
        passing = path.name.endswith(durable.TEMPORARY_SUFFIX) or path.name.startswith((LOCK, "."))
        if strict and not passing and not path.name.endswith(f".{LOCK}"):
            self.damage(path, UNLISTED, "no sound record lists it, so it can not be checked")
        elif LOCK not in path.name:
            self.leftovers.append(path)


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


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
