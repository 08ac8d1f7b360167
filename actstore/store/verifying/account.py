"""What a survey of a store's folder takes down: files to check, damages of the documents, what belongs to no row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actstore.errors import StoreError
from actstore.store.disk import cures, durable
from actstore.store.documents.documents import digest, unseal
from actstore.store.documents.journal import examine_journal
from actstore.store.format import LOCK
from actstore.store.verifying.report import Damage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from actstore.store.verifying.rehash import SealedFile

DOCUMENT = "document"
UNLISTED = "the whole file"


class Account:
    """What the documents in a folder say: ``files`` to check, ``damages`` of the documents, ``leftovers``."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self.folder = folder
        self.files: list[SealedFile] = []
        self.damages: list[Damage] = []
        self.leftovers: list[Path] = []
        self.document_bytes = 0
        self.steps: dict[int, tuple[int, bool]] = {}
        """By step: how many rows are sealed, and whether it is complete."""

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

    def document(self, path: Path) -> dict[str, Any] | None:
        """Return what a sealed document says; None, and a damage, where that cannot be told."""
        try:
            data = durable.read_whole(path)
            self.document_bytes += len(data)
            return unseal(data, path)
        except StoreError as error:
            self._take_down(path, error)
            return None

    def journal(
        self, path: Path, start: str | None, *, whole: bool = False
    ) -> tuple[Sequence[tuple[int, dict[str, Any]]], bool]:
        """The sound records, each with its number, and whether these are all."""
        if not path.exists() and not whole:
            return [], True
        try:
            data = durable.read_whole(path)
        except StoreError as error:
            self._take_down(path, error)
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

    def _take_down(self, path: Path, error: StoreError) -> None:
        """Take down why a document was not read. StoreError where that says nothing of the document."""
        if cures.says_nothing(error.__cause__):
            raise error
        self.damage(path, DOCUMENT, str(error))

    def is_damaged(self, path: Path) -> bool:
        """Whether a damage of ``path`` was taken down."""
        return any(damage.path == path for damage in self.damages)

    def mark(self, name: str) -> str:
        """Return what identifies the bytes of a document."""
        try:
            return digest(durable.read_whole(self.folder / name))
        except StoreError:  # reported where it was to be read
            return ""

    def unlisted(self, path: Path, *, strict: bool) -> None:
        """Return what no record lists: left by a writer that was killed, unless nothing is to be missing any more."""
        passing = path.name.endswith(durable.TEMPORARY_SUFFIX) or path.name.startswith((LOCK, "."))
        if strict and not passing and not path.name.endswith(f".{LOCK}"):
            self.damage(path, UNLISTED, "no sound record lists it, so it cannot be checked")
        elif LOCK not in path.name:
            self.leftovers.append(path)


def entries_of(folder: Path) -> list[Path]:
    """Return what is in a folder, in order of name; nothing where there is none."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
