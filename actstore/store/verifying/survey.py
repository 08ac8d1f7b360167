"""Read the documents of a store's folder for all that can be told from them, however much of it is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actstore.errors import StoreError
from actstore.store.disk.locks import read_note
from actstore.store.documents.documents import Header, undamaged
from actstore.store.documents.records import text
from actstore.store.documents.steps import JOURNAL_LOCK, STEP, TARGET
from actstore.store.format import COMPLETE, JOURNAL, STEPS, STORE_JSON, TARGETS, is_attached_name, is_step
from actstore.store.verifying.account import DOCUMENT, Account, entries_of
from actstore.store.verifying.rehash import SealedFile
from actstore.store.verifying.report import RowNumbers
from actstore.store.verifying.survey_step import StepSurvey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def survey(folder: Path) -> Account:
    """Read the documents in ``folder``, and say what they say. None of the sealed files is opened."""
    account = Account(folder)
    header = _read_header(account)
    entries, _ = account.journal(folder / JOURNAL, header.identity if header else None)
    listed = {entry[STEP] for _, entry in entries if is_step(entry.get(STEP))}
    for number, entry in entries:
        if TARGET not in entry and not is_step(entry.get(STEP)):
            account.damage(folder / JOURNAL, f"record {number:,}", "it lists neither a step nor a target")
    for step in sorted(listed | _unlisted_steps(account, listed)):
        StepSurvey(account, header, step).run()
    _survey_targets(account, entries)
    _survey_end(account)
    return account


def _read_header(account: Account) -> Header | None:
    path = account.folder / STORE_JSON
    document = account.document(path)
    if document is None:
        return None
    try:
        with undamaged(path):
            return Header.parse(document)
    except StoreError as error:
        account.damage(path, DOCUMENT, str(error))
        return None


def _unlisted_steps(account: Account, listed: set[int]) -> set[int]:
    """Steps that are whole though the journal of the store does not say that they are there."""
    found = set()
    for path in entries_of(account.folder / STEPS):
        step = int(path.name) if path.name.isdecimal() and path.name.isascii() and len(path.name) < 13 else -1
        if str(step) != path.name:
            account.unlisted(path, strict=True)
        elif step not in listed and (path / COMPLETE).exists():
            found.add(step)
            account.damage(
                account.folder / JOURNAL, f"step {step}", f"{path} is complete, and no record lists it"
            )
        elif step not in listed:
            account.leftovers.append(path)
    return found


def _survey_targets(account: Account, entries: Sequence[tuple[int, dict[str, Any]]]) -> None:
    """Of two targets of one name the later holds."""
    path = account.folder / JOURNAL
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
                files[text(entry[TARGET])] = SealedFile.recorded(account.folder / name, entry, RowNumbers(0))
                listed.add(account.folder / name)
        except StoreError as error:
            account.damage(path, f"record {number:,}", str(error))
    account.files += files.values()
    damaged = account.is_damaged(path)
    announced = account.folder / read_note(account.folder / JOURNAL_LOCK)
    for found in entries_of(account.folder / TARGETS):
        if found in listed:
            continue
        if found == announced and not damaged:
            account.leftovers.append(found)
        elif account.complete and not damaged and is_attached_name(f"{TARGETS}/{found.name}"):
            lost = "is there, no record lists it, and nobody was attaching it: a record of the journal is lost"
            account.damage(path, f"{TARGETS}/{found.name}", lost)
        else:
            account.unlisted(found, strict=account.complete or damaged)


def _survey_end(account: Account) -> None:
    """Bytes after the last record of the store's journal: a step or labels were being listed, or they do not belong."""
    path = account.folder / JOURNAL
    begun = any(
        found.parent in (account.folder / STEPS, account.folder / TARGETS) for found in account.leftovers
    )
    begun |= any(damage.path == path and is_attached_name(damage.place) for damage in account.damages)
    if path in account.leftovers and account.complete and not begun:
        account.leftovers.remove(path)
        account.damage(path, "the end", "bytes follow the last record, and nothing was being added")
