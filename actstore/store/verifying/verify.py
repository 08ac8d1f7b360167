"""Verify a store: every byte of every file against what was recorded when it was written."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import cures
from actstore.store.disk.durable import temporary_of
from actstore.store.documents.folder import read_folder
from actstore.store.format import JOURNAL, MANIFEST, PACKED, STEPS, STORE_JSON
from actstore.store.reading.single_file import EXPECTED, FOOTER_BYTES, examine
from actstore.store.verifying.rehash import SealedFile, check_files
from actstore.store.verifying.report import Damage, Report, RowNumbers, VerifyProgress
from actstore.store.verifying.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

WORKERS = 8


def verify(
    path: str | PathLike[str],
    progress: Callable[[VerifyProgress], None] | None = None,
    workers: int | None = None,
) -> Report:
    """Read every byte of a store and say which are not as they were written; damage does not end the search.

    Our own code reads and hashes the files. The HDF5 library sees a file only once all its hashes agree, to confirm
    that it finds the datasets where the record has them.

    Args:
        path: a ``NAME.acts`` folder or a ``NAME.h5`` file. Of one that is being written, what is sealed is verified.
        progress: called now and then, in this thread.
        workers: how many threads read and hash; by default one per core, at most 8.

    Raises:
        StoreError: there is no store at ``path``.
        ValueError: ``workers`` is below 1.
    """
    place = Path(os.path.abspath(path))
    if workers is not None and workers < 1:
        msg = f"workers is {workers}; expected 1 or more"
        raise ValueError(msg)
    count = workers or min(WORKERS, os.cpu_count() or 1)
    return _folder(place, progress, count) if place.is_dir() else _single_file(place, progress, count)


def _folder(path: Path, progress: Callable[[VerifyProgress], None] | None, workers: int) -> Report:
    if not any((path / name).exists() for name in (STORE_JSON, JOURNAL, STEPS)):
        msg = f"{path} is no store: there is no {STORE_JSON} in it; {EXPECTED}"
        raise StoreError(msg)
    account = survey(path)
    damages = [*account.damages, *_check(account.files, progress, workers)]
    if not damages and account.steps:
        damages = _unreadable(path)
    leftovers = [*account.leftovers, *(path / name for name in (PACKED,) if (path / name).exists())]
    leftovers += sorted(
        each for each in path.iterdir() if temporary_of(each.name) in (STORE_JSON, JOURNAL, PACKED)
    )
    nbytes = account.document_bytes + sum(file.file_bytes for file in account.files)
    return Report(path, account.rows, nbytes, account.complete, damages, leftovers)


def _unreadable(path: Path) -> list[Damage]:
    """Return what keeps a store from being read though every byte is as it was written."""
    try:
        read_folder(path)
    except StoreError as error:
        return [Damage(path, "the documents together", str(error))]
    return []


def _single_file(path: Path, progress: Callable[[VerifyProgress], None] | None, workers: int) -> Report:
    try:
        status = path.stat()
    except OSError as error:
        msg = f"{path} cannot be opened ({error.strerror}); {cures.to_read(error, EXPECTED)}"
        raise StoreError(msg) from error
    if not stat.S_ISREG(status.st_mode):
        msg = f"{path} is no file; {EXPECTED}"
        raise StoreError(msg)
    try:
        packed = examine(path)
    except StoreError as error:
        return Report(path, 0, status.st_size, True, [Damage(path, MANIFEST, str(error))], [])
    contents = packed.contents
    (part,) = contents.parts
    file = SealedFile(
        path,
        status.st_size,
        status.st_size - FOOTER_BYTES,
        packed.gaps,
        part.extents,
        RowNumbers(0),
        contents.rows,
        packed.manifest,
    )
    damages = list(_check([file], progress, workers))
    return Report(path, contents.rows, status.st_size, True, damages, [])


def _check(
    files: Sequence[SealedFile], progress: Callable[[VerifyProgress], None] | None, workers: int
) -> list[Damage]:
    total = sum(file.file_bytes for file in files)
    done = 0

    def advance(path: Path, nbytes: int) -> None:
        nonlocal done
        done += nbytes
        if progress is not None:
            progress(VerifyProgress(done, total, path))

    return list(check_files(files, advance, workers))
