"""Single files that appear only whole: under a temporary name until every byte is on the disk."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import durable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike


@contextmanager
def whole_file(path: str | PathLike[str], *, overwrite: bool) -> Iterator[tuple[Path, Path]]:
    """A temporary name to write to, and the final one to rename it to; whatever interrupts the block leaves neither.

    Raises:
        StoreError: ``path`` exists and may not be replaced, is a folder, or is in none; the disk takes no more.
    """
    final = Path(os.path.abspath(path))
    if not final.parent.is_dir():
        msg = f"{path} can not be written: there is no folder {final.parent}. Make it first"
        raise StoreError(msg)
    if final.is_dir():
        msg = f"{path} is in the way: a folder of that name. Move it"
        raise StoreError(msg)
    if final.exists() and not overwrite:
        msg = f"{path} already exists; pass overwrite=True (--overwrite) to replace it, or choose another name"
        raise StoreError(msg)
    temporary = durable.temporary_name(final)
    try:
        yield temporary, final
    except OSError as error:
        msg = (
            f"{path} can not be written: {error.strerror or error}. Make room there, or write elsewhere; "
            "nothing is left there"
        )
        raise StoreError(msg) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_room(path: Path, nbytes: int) -> None:
    """StoreError where the disk that ``path`` is on has no room for so many bytes."""
    free = shutil.disk_usage(path.parent).free
    if free < nbytes:
        msg = f"{path} needs {nbytes:,} bytes, and {free:,} are free there. Make room there, or write elsewhere"
        raise StoreError(msg)
