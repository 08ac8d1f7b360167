"""Where an output is written until it is whole, and how it takes its name."""

from __future__ import annotations

import os
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.disk.held_file import HELD_SUFFIX
from actstore.store.disk.locks import Lock, is_locked
from actstore.store.documents.rank import ranks_of
from actstore.store.format import (
    COMPLETE,
    FILE_SUFFIX,
    FOLDER_SUFFIX,
    JOURNAL,
    LOCK,
    PACKED,
    PARTIAL_SUFFIX,
    STEPS,
    STORE_JSON,
    TARGETS,
    rank_folder,
    step_folder,
)

if TYPE_CHECKING:
    from actstore.store.documents.write_place import WritePlace

REPLACED_SUFFIX = ".replaced"
REMOVED_SUFFIX = ".removed"
RESUME = "pass resume=True (--resume) to continue it"
OVERWRITE = "overwrite=True (--overwrite) to replace it"


class Destination:
    """An output's final name, and the folder it is staged in.

    ``NAME.h5`` is staged in ``NAME.h5.partial``. ``NAME.acts`` is written in place, so that it can be read meanwhile,
    or in ``NAME.acts.partial`` where it is to replace another one, which stays until then.
    """

    def __init__(
        self, path: str | PathLike[str], place: WritePlace, *, overwrite: bool = False, resume: bool = False
    ) -> None:
        """Choose the names; nothing is written. StoreError where the output may not be written."""
        self.final = Path(os.path.abspath(path))
        self.single_file = self.final.suffix == FILE_SUFFIX
        self._partial = self.final.with_name(self.final.name + PARTIAL_SUFFIX)
        self._replaced = self.final.with_name(self.final.name + REPLACED_SUFFIX)
        self._removed = self.final.with_name(self.final.name + REMOVED_SUFFIX)
        self._place, self._overwrite, self._resume = place, overwrite, resume
        self._publishing = self._fresh = self._alone = False
        self._lock: Lock | None = None
        self._check_name(path)
        earlier = self.final.exists() or self._replaced.exists() or self._partial.is_dir()
        replacing = (overwrite and earlier) or (resume and self._partial.is_dir())
        self.staging = self._partial if self.single_file or replacing else self.final
        self._source = self.staging / PACKED if self.single_file else self.staging
        self._check_existing()

    def _check_name(self, path: str | PathLike[str]) -> None:
        msg = ""
        if self.final.suffix not in (FOLDER_SUFFIX, FILE_SUFFIX):
            msg = (
                f"{path} is not the name of a store: NAME{FOLDER_SUFFIX} (a folder) "
                f"or NAME{FILE_SUFFIX} (a single file) was expected"
            )
        elif not self.final.parent.is_dir():
            msg = f"{path} can not be written: there is no folder {self.final.parent}. Make it first"
        elif self._overwrite and self._resume:
            msg = "overwrite and resume exclude each other: begin again, or go on"
        elif self._place.shared and self.single_file:
            folder = f"{self.final.stem}{FOLDER_SUFFIX}"
            msg = f"{path} is one file; steps and ranks need the folder of a store: name {folder}"
        elif self._place.world_size > 1 and self._overwrite and self.final.exists():
            msg = f"{path} exists, and one rank of several can not replace it for all; remove it first"
        if msg:
            raise StoreError(msg)

    @property
    def rank_folder(self) -> Path:
        """Where the shards go."""
        return self.staging / rank_folder(self._place.number, self._place.rank)

    @property
    def whole(self) -> bool:
        """Whether there is nothing left to resume: the output has its name and all its rows."""
        return self._resume and self.single_file and self.final.exists() and not self._partial.exists()

    def _check_existing(self) -> None:
        if is_locked(self.rank_folder / LOCK):
            raise _in_use(self.staging)
        for path in (self.final, self._partial):
            if not path.exists():
                continue
            if path.is_dir():
                _check_folder(path)
                if not self._place.shared and any(map(is_locked, locks_of(path))):
                    raise _in_use(path)
            if path.is_dir() == (self.single_file and path == self.final):
                msg = f"{path} is in the way: a {'folder' if path.is_dir() else 'file'} of that name. Move it"
                raise StoreError(msg)
            joins = path == self.staging and self._place.shared and self._joins()
            if not (self._overwrite or self._resume or joins or _is_bare(path)):
                raise self._taken(path)

    def _joins(self) -> bool:
        """Whether the place is still free in a store that is there."""
        step = self.staging / step_folder(self._place.number)
        if not step.exists() or _is_bare(self.staging):
            return True
        free = not (self.rank_folder / JOURNAL).exists()
        return free and self._place.world_size > 1 and not (step / COMPLETE).exists()

    def _taken(self, path: Path) -> StoreError:
        if self._place.shared and path == self.staging:
            done = (path / step_folder(self._place.number) / COMPLETE).exists()
            what = (
                f"{path} already holds {self._place}" if done else f"{path} holds an unfinished {self._place}"
            )
            hint = "choose another step" if done else f"{RESUME}, or remove it"
            return StoreError(f"{what}; {hint}, or choose another name")
        if path.is_file() or (path == self.final and _is_whole(path)):
            more = "" if self.single_file else ", name a step (--step) to add one"
            return StoreError(f"{path} already exists; pass {OVERWRITE}{more}, or choose another name")
        return StoreError(f"{path} is an unfinished dump; {RESUME}, {OVERWRITE}, or choose another name")

    def claim(self) -> None:
        """Make the folders that are missing, and keep other writers out of this place."""
        self._check_existing()
        self.settle()
        self._check_existing()
        if self.staging == self._partial and not self._resume:
            self._remove(self._partial)
        new = not self.staging.exists()
        self.rank_folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = Lock(self.rank_folder / LOCK)
        except BlockingIOError:
            raise _in_use(self.staging) from None
        if (
            not self._resume and (self.rank_folder / JOURNAL).exists()
        ):  # another process was quicker, and has ended
            self.release()
            raise self._taken(self.staging)
        self._fresh = not (self.rank_folder / JOURNAL).exists()
        self._alone = not (self.staging / STORE_JSON).exists()
        if new:
            durable.sync_folder(self.staging.parent)

    def settle(self) -> None:
        """Finish, or undo, what an interrupted process left of giving an output its name."""
        durable.remove_folder(self._removed)
        if self._replaced.exists():
            _check_folder(self._replaced)
            if self.final.exists():
                self._remove(self._replaced)
            elif not (self._resume and self.staging == self._partial):  # there, publishing does the other half
                durable.rename(self._replaced, self.final)

    def _remove(self, folder: Path) -> None:
        """Remove a folder of ours, renamed first: a crash half way leaves no half of a store under a name of one."""
        if folder.exists():
            durable.rename(folder, self._removed)
            durable.remove_folder(self._removed)

    def publish(self) -> None:
        """Give the output its name; what had it is replaced."""
        if self.single_file and self.final.exists() and not (self._overwrite or self._resume):
            msg = f"{self.final} has appeared meanwhile; the dump is in {self.staging}. Move one of them"
            raise StoreError(msg)
        self._publishing = True
        if self.single_file:
            durable.rename(self._source, self.final)
        elif self.staging != self.final:
            self._swap()
        self.tidy_up()

    def _swap(self) -> None:
        """Two renames: a folder, unlike a file, can not be replaced in one."""
        if self.final.exists():
            if any(map(is_locked, locks_of(self.final))):
                raise _in_use(self.final)
            self._remove(self._replaced)
            os.replace(self.final, self._replaced)
        try:
            durable.rename(self.staging, self.final)
        except BaseException:
            if self.staging.exists() and self._replaced.exists():
                os.replace(self._replaced, self.final)
            raise

    @property
    def published(self) -> bool:
        """Whether the output has its name."""
        return self._publishing and (self.staging == self.final or not self._source.exists())

    def tidy_up(self) -> None:
        """Remove what a published output makes superfluous, and let other writers in."""
        if self.single_file:
            self._remove(self.staging)
        elif self.staging != self.final:
            self._remove(self._replaced)
        self.release()

    def discard(self) -> None:
        """Remove what was claimed, unless it was there before; other ranks and steps stay."""
        if self._lock is None:
            step = self.rank_folder.parent
            with suppress(OSError):  # claiming failed half way: what it made is empty
                for folder in (self.rank_folder, step, step.parent, self.staging):
                    if folder.exists():
                        folder.rmdir()
        elif self._fresh:
            durable.remove_folder(self.rank_folder)
            step = self.rank_folder.parent
            if not ranks_of(step):
                durable.remove_folder(step)
            with suppress(OSError):  # what others use is not empty, and stays
                step.parent.rmdir()
                if self._alone:
                    durable.remove_folder(self.staging)
                self.staging.rmdir()
        self.release()

    def release(self) -> None:
        """Let other writers in."""
        if self._lock is not None:
            self._lock.release()


def _in_use(folder: Path) -> StoreError:
    return StoreError(f"{folder} is being written by another process; wait for it, or choose another name")


def _is_bare(folder: Path) -> bool:
    """Whether a folder of ours was only claimed: its writer died before the first rows were sealed."""
    return folder.is_dir() and not (folder / STORE_JSON).exists()


def _is_whole(folder: Path) -> bool:
    steps = folder / STEPS
    return steps.is_dir() and all((step / COMPLETE).exists() for step in steps.iterdir() if step.is_dir())


def _check_folder(folder: Path) -> None:
    """StoreError where a folder is not one of ours: there are files in it that are not a store's."""
    known = {STORE_JSON, JOURNAL, f"{JOURNAL}.lock", f"{JOURNAL}.lock{HELD_SUFFIX}", STEPS, TARGETS, PACKED}
    names = sorted(
        entry.name for entry in folder.iterdir() if not entry.name.endswith(durable.TEMPORARY_SUFFIX)
    )
    foreign = [name for name in names if name not in known]
    if foreign:
        msg = f"{folder} is in the way: {foreign[0]!r} in it is not part of a store. Move it, or choose another name"
        raise StoreError(msg)


def locks_of(folder: Path) -> list[Path]:
    """The locks of all ranks of all steps of a store."""
    steps = [step for step in (folder / STEPS).glob("*") if step.is_dir()]
    return [step / f"rank-{rank:04d}" / LOCK for step in steps for rank in ranks_of(step)]
