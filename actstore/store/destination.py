"""Where an output is written until it is whole, and how it takes its name."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from actstore.errors import StoreError
from actstore.store import durable
from actstore.store.format import (
    COMPLETE,
    FILE_SUFFIX,
    FOLDER_SUFFIX,
    LOCK,
    PACKED,
    PARTIAL_SUFFIX,
    RANK_FOLDER,
    STEPS,
    STORE_JOURNAL,
    STORE_JSON,
)

REPLACED_SUFFIX = ".replaced"
DISCARD = "pass overwrite=True (--overwrite)"


class Destination:
    """An output's final name, and the folder it is staged in.

    ``NAME.h5`` is staged in ``NAME.h5.partial``. ``NAME.acts`` is written in place, so that it can be read meanwhile,
    or in ``NAME.acts.partial`` where it is to replace another one, which stays until then.
    """

    def __init__(self, path: str | PathLike[str], *, overwrite: bool) -> None:
        """Choose the names; nothing is written. StoreError where the output may not be written."""
        self.final = Path(os.path.abspath(path))
        self.single_file = self.final.suffix == FILE_SUFFIX
        self._partial = self.final.with_name(self.final.name + PARTIAL_SUFFIX)
        self._replaced = self.final.with_name(self.final.name + REPLACED_SUFFIX)
        self._overwrite = overwrite
        self._claimed = self._publishing = False
        self._lock: durable.Lock | None = None
        if self.final.suffix not in (FOLDER_SUFFIX, FILE_SUFFIX):
            msg = (
                f"{path} is not the name of a store: NAME{FOLDER_SUFFIX} (a folder) "
                f"or NAME{FILE_SUFFIX} (a single file) was expected"
            )
            raise StoreError(msg)
        if not self.final.parent.is_dir():
            msg = f"{path} can not be written: there is no folder {self.final.parent}. Make it first"
            raise StoreError(msg)
        in_place = not self.single_file and not self.final.exists()
        self.staging = self.final if in_place else self._partial
        self._source = self.staging / PACKED if self.single_file else self.staging
        self._check_existing()

    def _check_existing(self) -> None:
        for path in (self.final, self._partial):
            if not path.exists():
                continue
            if path.is_dir():
                _check_folder(path)
            if path.is_dir() == (self.single_file and path == self.final):
                msg = f"{path} is in the way: a {'folder' if path.is_dir() else 'file'} of that name. Move it"
                raise StoreError(msg)
            if not self._overwrite:
                whole = path.is_file() or (path == self.final and (path / COMPLETE).exists())
                what = "already exists" if whole else "is an unfinished dump"
                msg = f"{path} {what}; {DISCARD} to replace it, or choose another name"
                raise StoreError(msg)

    def claim(self) -> None:
        """Make the staging folder, and keep other writers out of it."""
        self._check_existing()
        durable.remove_folder(self._partial)
        try:
            self.staging.mkdir()
            self._claimed = True
        except FileExistsError:
            msg = f"{self.staging} has appeared meanwhile: another process writes it. Choose another name"
            raise StoreError(msg) from None
        (self.staging / RANK_FOLDER).mkdir(parents=True)
        self._lock = durable.Lock(self.staging / LOCK)
        durable.sync_folder(self.staging.parent)

    def publish(self) -> None:
        """Give the output its name; what had it is replaced."""
        if self.single_file and self.final.exists() and not self._overwrite:
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
        if self._replaced.exists():
            _check_folder(self._replaced)
            durable.remove_folder(self._replaced)
        os.replace(self.final, self._replaced)
        try:
            durable.rename(self.staging, self.final)
        except BaseException:
            if self.staging.exists():
                os.replace(self._replaced, self.final)
            raise

    @property
    def published(self) -> bool:
        """Whether the output has its name."""
        return self._publishing and (self.staging == self.final or not self._source.exists())

    def tidy_up(self) -> None:
        """Remove what a published output makes superfluous, and let other writers in."""
        if self.single_file:
            durable.remove_folder(self.staging)
        elif self.staging != self.final:
            durable.remove_folder(self._replaced)
        self.release()

    def discard(self) -> None:
        """Remove the staging folder, if it is this output's."""
        if self._claimed:
            durable.remove_folder(self.staging)
        self.release()

    def release(self) -> None:
        """Let other writers in."""
        if self._lock is not None:
            self._lock.release()


def _check_folder(folder: Path) -> None:
    """StoreError where a folder is not one to be replaced: in use, or with files in it that are not a store's."""
    if durable.is_locked(folder / LOCK):
        msg = f"{folder} is being written by another process; wait for it, or choose another name"
        raise StoreError(msg)
    known = {
        name + end
        for name in (STORE_JSON, STORE_JOURNAL, STEPS, PACKED)
        for end in ("", durable.TEMPORARY_SUFFIX)
    }
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in known)
    if foreign:
        msg = f"{folder} is in the way: {foreign[0]!r} in it is not part of a store. Move it, or choose another name"
        raise StoreError(msg)
