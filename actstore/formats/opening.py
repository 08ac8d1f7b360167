"""Files of others, before a byte of them is read."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from actstore.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path


class Stamp(NamedTuple):
    """What tells a file from another of its name, and from itself once it was changed."""

    device: int
    inode: int
    nbytes: int
    changed_ns: int


def stamp_of(place: Path | int) -> Stamp:
    """Return the stamp of a path or of an open file."""
    found = os.stat(place)
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def existing(path: Path) -> Path:
    """Return ``path`` where an ordinary file is there: a pipe or a device might never end.

    Raises:
        SourceError: nothing is there, or no ordinary file.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL character
        reason = error.strerror if isinstance(error, OSError) and not _is_missing(error) else ""
        msg = f"there is no file {path}" + (f" to be read ({reason})" if reason else "")
        raise SourceError(msg) from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        msg = f"there is no file {path}, but {kind}; expected an ordinary file"
        raise SourceError(msg)
    return path


def _is_missing(error: OSError) -> bool:
    return isinstance(error, (FileNotFoundError, NotADirectoryError))
