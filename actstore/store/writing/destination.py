"""Where an output goes: its name, the folder it is written in until it is whole, and whether both may be taken."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.errors import InUseError, StoreError
from actstore.store.disk import durable
from actstore.store.disk.locks import is_locked, read_note
from actstore.store.disk.output import check_kind, check_not_input, check_room, followed, identity
from actstore.store.documents.documents import digest, seal, unseal
from actstore.store.documents.journal import has_records
from actstore.store.documents.own_files import foreign, marked
from actstore.store.documents.rank import locks_of
from actstore.store.format import (
    COMPLETE,
    FILE_SUFFIX,
    FOLDER_SUFFIX,
    JOURNAL,
    LOCK,
    PARTIAL_SUFFIX,
    STEPS,
    STORE_JSON,
    rank_folder,
    step_folder,
)
from actstore.store.reading.single_file import is_single_file, read_packed
from actstore.store.writing.pending import row_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from pathlib import Path

    from actstore.store.documents.documents import Header
    from actstore.store.documents.write_place import WritePlace

REPLACED_SUFFIX = ".replaced"
REMOVED_SUFFIX = ".removed"
MERGING_SUFFIX = ".merging"  # what has it was left by a merge, never by a dump, and can be removed
RESUME = "pass resume=True (--resume) to continue it"
OVERWRITE = "overwrite=True (--overwrite) to replace it"


@dataclass(frozen=True)
class Destination:
    """An output's final name, the folder it is staged in, and what was asked for.

    ``NAME.h5`` is staged in ``NAME.h5.partial``. ``NAME.acts`` is written in place, so that it can be read meanwhile,
    or in ``NAME.acts.partial`` where it is to replace another one, which stays until then.
    """

    final: Path
    staging: Path
    place: WritePlace
    overwrite: bool = False
    resume: bool = False

    @property
    def single_file(self) -> bool:
        """Whether the output is one file, packed from the folder."""
        return self.final.suffix == FILE_SUFFIX

    @property
    def partial(self) -> Path:
        """Return what lies beside the final name until the output is whole."""
        return self.final.with_name(self.final.name + PARTIAL_SUFFIX)

    @property
    def in_place(self) -> bool:
        """Whether the output is written where it stays."""
        return self.staging == self.final

    @property
    def rank_folder(self) -> Path:
        """Where the shards go."""
        return self.staging / rank_folder(self.place.number, self.place.rank)

    @property
    def whole(self) -> bool:
        """Whether there is nothing left to resume: the output has its name and all its rows.

        A folder is resumed nevertheless, which compares the data again, unless nobody can write to it.
        """
        if not self.resume or is_begun(self.partial):
            return False
        if self.single_file:
            return self.final.exists()
        step = self.final / step_folder(self.place.number)
        return (step / COMPLETE).exists() and not os.access(self.final, os.W_OK)


def choose(
    path: str | PathLike[str],
    place: WritePlace,
    *,
    overwrite: bool = False,
    resume: bool = False,
    inputs: Iterable[str | PathLike[str]] = (),
) -> Destination:
    """Choose the names; nothing is written. StoreError where the output may not be written.

    A symbolic link of the output's name is followed: what it leads to is written. None of ``inputs``, the files and
    folders that the rows come from, is ever replaced.
    """
    final = followed(path)
    _check_name(path, final, place, overwrite=overwrite, resume=resume)
    partial = final.with_name(final.name + PARTIAL_SUFFIX)
    for name in (final, partial):
        check_not_input(name, inputs)
    earlier = final.exists() or marked(final, REPLACED_SUFFIX) or partial.is_dir()
    replacing = (overwrite and earlier) or (resume and is_begun(partial))
    staging = partial if final.suffix == FILE_SUFFIX or replacing else final
    destination = Destination(final, staging, place, overwrite, resume)
    check_free(destination)
    return destination


def _check_name(
    path: str | PathLike[str], final: Path, place: WritePlace, *, overwrite: bool, resume: bool
) -> None:
    msg = ""
    if final.suffix not in (FOLDER_SUFFIX, FILE_SUFFIX):
        msg = (
            f"{path} is not the name of a store; expected NAME{FOLDER_SUFFIX} (a folder) "
            f"or NAME{FILE_SUFFIX} (a single file)"
        )
    elif not final.parent.is_dir():
        msg = f"{path} cannot be written: there is no folder {final.parent}. Make it first"
    elif overwrite and resume:
        msg = "overwrite and resume exclude each other: begin again, or go on"
    elif place.shared and final.suffix == FILE_SUFFIX:
        folder = f"{final.stem}{FOLDER_SUFFIX}"
        msg = f"{path} is one file; steps and ranks need the folder of a store: name {folder}"
    elif place.world_size > 1 and overwrite and final.exists():
        msg = f"{path} exists, and one rank of several cannot replace it for all; remove it first"
    if msg:
        raise StoreError(msg)


def check_free(destination: Destination) -> None:
    """StoreError where something is in the way: another writer, a store, somebody's own files."""
    if is_locked(destination.rank_folder / LOCK):
        raise in_use(destination.staging)
    for path in (destination.final, destination.partial):
        if path.exists():
            try:
                _check_ours(destination, path)
                _check_asked(destination, path)
            except StoreError:
                if path.exists():  # another process may have put away a claim of nothing meanwhile
                    raise
    if destination.resume and not destination.in_place and is_begun(destination.partial):
        check_replaces(destination, read_note(destination.rank_folder / LOCK))


def _check_ours(destination: Destination, path: Path) -> None:
    """StoreError where what is there is somebody's own, of another kind, or being written."""
    folder = path.is_dir()
    if folder:
        check_folder(path)
        if not destination.place.shared and any(map(is_locked, locks_of(path))):
            raise in_use(path)
    if folder == (destination.single_file and path == destination.final):
        msg = f"{path} is in the way: a {'folder' if folder else 'file'} of that name. Move it"
        raise StoreError(msg)
    if not folder and destination.overwrite:
        check_kind(path, is_single_file)


def _check_asked(destination: Destination, path: Path) -> None:
    """StoreError where a store is there, and nobody asked to add to it, to go on with it or to replace it."""
    if path == destination.staging and _needs_a_step(destination):
        msg = f"{path} holds other steps; name the step (step=N, --step N) to add one, or choose another name"
        raise StoreError(msg)
    joins = path == destination.staging and destination.place.shared and _joins(destination)
    if not (destination.overwrite or destination.resume or joins or _is_bare(path)):
        raise taken(destination, path)


def check_replaces(destination: Destination, asked: str) -> None:
    """StoreError where something has the output's name that this dump was not begun to replace.

    ``asked`` is the ``store_mark`` of what it was to replace. A crash right after the output got its name leaves the
    same rows under both names; that is no other store.
    """
    final, staging = destination.final, destination.staging
    if not final.exists() or store_mark(final) in (asked, store_mark(staging)):
        return
    msg = (
        f"{final} is there, and {staging} is a dump that was not begun to replace it (or it has changed since): "
        "nothing is replaced. Move or remove one of them"
    )
    raise StoreError(msg)


def store_mark(path: Path) -> str:
    """Return what tells a store from others wherever it was copied: of its rows where all are there, else of its bytes.

    "" where there is nothing to tell.
    """
    if path.is_dir():
        proofs = sorted((path / STEPS).glob(f"*/{COMPLETE}"))
        with suppress(StoreError, LookupError, TypeError):
            header = unseal(durable.read_whole(path / STORE_JSON), path)
            fingerprints = [unseal(durable.read_whole(proof), proof)["fingerprint"] for proof in proofs]
            return " ".join(map(str, fingerprints)) or digest(seal(header))
        return ""
    try:
        return read_packed(path).fingerprint
    except StoreError:
        return digest(str(identity(path)).encode("ascii"))


def _needs_a_step(destination: Destination) -> bool:
    """Whether a dump that adds or goes on names no step, which is step 0, where only other steps have sealed rows."""
    adds = destination.resume or destination.place.world_size > 1
    if destination.place.step is not None or destination.overwrite or not adds:
        return False
    sealed = {
        path.parent.parent.name
        for path in destination.staging.glob(f"{STEPS}/*/*/{JOURNAL}")
        if has_records(path)
    }
    return bool(sealed) and "0" not in sealed


def _joins(destination: Destination) -> bool:
    """Whether the place is still free in a store that is there."""
    step = destination.staging / step_folder(destination.place.number)
    if not step.exists() or _is_bare(destination.staging):
        return True
    free = not (destination.rank_folder / JOURNAL).exists()
    return free and destination.place.world_size > 1 and not (step / COMPLETE).exists()


def taken(destination: Destination, path: Path) -> StoreError:
    """Return what to say where ``path`` is there, and nobody asked to go on with it or to replace it."""
    place = destination.place
    if place.shared and path == destination.staging:
        done = (path / step_folder(place.number) / COMPLETE).exists()
        what = f"{path} already holds {place}" if done else f"{path} holds an unfinished {place}"
        hint = "choose another step" if done else f"{RESUME}, or remove it"
        return StoreError(f"{what}; {hint}, or choose another name")
    if not path.is_dir() or (path == destination.final and _is_whole(path)):
        more = "" if destination.single_file else ", name a step (--step) to add one"
        return StoreError(f"{path} already exists; pass {OVERWRITE}{more}, or choose another name")
    return StoreError(f"{path} is an unfinished dump; {RESUME}, {OVERWRITE}, or choose another name")


def in_use(folder: Path) -> InUseError:
    """Return what to say where another process holds a lock."""
    return InUseError(f"{folder} is being written by another process; wait for it, or choose another name")


def is_begun(partial: Path) -> bool:
    """Whether there is something in a folder of ours to go on with."""
    return partial.is_dir() and not _is_bare(partial)


def _is_bare(folder: Path) -> bool:
    """Whether a folder of ours was only claimed: its writer died before the first rows were sealed."""
    return folder.is_dir() and not (folder / STORE_JSON).exists()


def _is_whole(folder: Path) -> bool:
    steps = folder / STEPS
    return steps.is_dir() and all((step / COMPLETE).exists() for step in steps.iterdir() if step.is_dir())


def check_folder(folder: Path) -> None:
    """StoreError where a folder is not one of ours: there are files in it that are not a store's."""
    other = foreign(folder)
    if other is not None:
        name = str(other.relative_to(folder))
        msg = f"{folder} is in the way: {name!r} in it is not part of a store. Move it, or choose another name"
        raise StoreError(msg)


def check_disk(destination: Destination, header: Header, rows: int, there: int) -> None:
    """StoreError where the disk has no room for ``rows`` of which ``there`` are on it already."""
    needed, what = (rows - there) * row_bytes(header), ""
    if destination.single_file:
        needed += rows * row_bytes(header)
        what = " for shards and the file that is packed from them"
    hint = "Make room, name fewer layers or rows, or reduce them (--pool, --random-features, --dtype)"
    check_room(destination.final, needed, what=what, hint=hint)
