"""Files that appear under their name only whole, and never in place of something else than they may replace."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["PARTIAL", "hidden_name", "new_file", "write_all"]

PARTIAL = ".partial"
"""How the names of files end that are being written."""
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES}
"""What a file system answers that has no hard links (exFAT, vFAT, many mounts)."""


@contextlib.contextmanager
def new_file(path: Path, may_replace: Callable[[Path], bool] | None = None) -> Iterator[int]:
    """Yield a descriptor to write to; once the block ends, the file is on the disk and takes its name.

    Until then it has a random name of its own beside it, which is removed where the block fails.

    Args:
        path: the name. Where it is taken, the file there stays, unless ``may_replace`` says that it may go.
        may_replace: asked at the last moment about what has the name; None replaces nothing.

    Raises:
        FileExistsError: the name is taken by what may not be replaced.
        OSError: when the disk refuses.
    """
    temporary = hidden_name(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o666)
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _publish(temporary, path, may_replace)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def hidden_name(path: Path) -> Path:
    """Return a name beside ``path`` that no other process has: hidden, random, with the same suffix."""
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}{PARTIAL}")


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``, however many calls that takes."""
    rest = memoryview(data)
    while rest.nbytes:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _publish(temporary: Path, path: Path, may_replace: Callable[[Path], bool] | None) -> None:
    if may_replace is not None and os.path.lexists(path):
        if not may_replace(path):
            raise FileExistsError(
                errno.EEXIST, "it is there, and is not of the kind that may be replaced", str(path)
            )
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # unlike a rename, it never replaces what somebody was quicker to write
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_LINKS:
            raise
        os.close(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        )  # the name is ours now
        temporary.replace(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
