"""Rename without replacing, where a file system has no hard links to do it with."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

AT_FDCWD, RENAME_NOREPLACE = -100, 1  # Linux, of renameat2
RENAME_EXCL = 4  # macOS, of renamex_np
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def rename_new(temporary: Path, path: Path) -> None:
    """Rename a file to a name that nothing has. FileExistsError where something has it, and nothing has changed.

    The system does it in one step where it can. Elsewhere the name is taken first, by an empty file that only one
    process can create; a crash right then leaves that empty file.
    """
    if _rename_at_once(os.fsencode(temporary), os.fsencode(path)):
        return
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
    os.replace(temporary, path)


def _rename_at_once(temporary: bytes, path: bytes) -> bool:
    """Whether the system, and the file system, know how; then it is done."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(temporary, path, RENAME_EXCL)
    elif hasattr(libc, "renameat2"):
        failed = libc.renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in _UNKNOWN:
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return not failed
