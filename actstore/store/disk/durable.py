"""File operations that a crash cannot leave half done, with the fallbacks for macOS: the one file that syncs."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import cures
from actstore.store.disk.renaming import rename_new

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"
MARK = "[0-9a-f]{16}"  # what ``new_mark`` gives, as a regular expression
LONGEST_NAME = 200  # bytes of a name that its temporary one begins with: file systems take 255
NO_LINKS = (
    errno.EPERM,
    errno.EACCES,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EXDEV,
    errno.EINVAL,
)  # what file systems without hard links answer (exFAT and vFAT, SMB, some FUSE)

Bytes = bytes | memoryview


def write_at(fd: int, data: Bytes, offset: int) -> None:
    """Write all of ``data`` at ``offset``, however many calls that takes."""
    rest = memoryview(data)
    while rest.nbytes:
        written = os.pwrite(fd, rest, offset)
        if written == 0:
            raise OSError(errno.EIO, "the file takes no more bytes")
        rest, offset = rest[written:], offset + written


def read_at(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill ``buffer`` from ``offset``; fewer bytes than asked for only where the file ends. Returns how many."""
    done = os.preadv(fd, [buffer], offset)
    while 0 < done < buffer.nbytes:
        got = os.preadv(fd, [buffer[done:]], offset + done)
        if got == 0:
            break
        done += got
    return done


def in_memory(fd: int, offset: int) -> bool:
    """Whether the byte at ``offset`` can be had without waiting for the disk; False where a system cannot say so."""
    try:
        return hasattr(os, "RWF_NOWAIT") and os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:  # not in memory, or a file system that does not know the question
        return False


def will_read(fd: int, offset: int, length: int) -> None:
    """Let the disk begin to read what will be asked for soon; where a system cannot be told, nothing happens."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)


def let_go(fd: int, offset: int, length: int) -> None:
    """Say that these bytes of a file are not needed in memory soon; where a system cannot be told, nothing happens.

    What is on the disk may be dropped. Linux begins to write what is not, without waiting: only a sync makes it safe.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def unmap(pages: mmap.mmap, start: int, stop: int) -> None:
    """Give the memory behind whole pages of a read-only map back; touched again, they come back from the file."""
    start, stop = start // mmap.PAGESIZE * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
    if start < stop and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED, start, stop - start)


def sync_file(fd: int) -> None:
    """Wait until the file's bytes and size are on the disk."""
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache
    if full_sync is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, full_sync)


def sync_data(fd: int) -> None:
    """Wait until the file's bytes are on the disk, and its size where that changed."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        sync_file(fd)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create(path: Path) -> int:
    """Create a file that nobody has, to write to; FileExistsError where there is one, or a link of any kind."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def rename(temporary: Path, path: Path) -> None:
    """Give a synced file or folder its final name, for good. An existing file of that name is replaced."""
    os.replace(temporary, path)
    sync_folder(path.parent)


def publish(temporary: Path, path: Path) -> None:
    """Give a synced file its final name, for good, unless something has it: FileExistsError, and nothing has changed.

    Of several processes that try at once, one does.
    """
    try:
        os.link(temporary, path)  # unlike a rename, it never replaces what another process was quicker to write
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        rename_new(temporary, path)
    with suppress(
        OSError
    ):  # the file has its name; what is left of the other one is swept with the temporary files
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """A name under which ``path`` can be written until it is whole: random, so that it is nobody else's."""
    start = path.name.encode()[:LONGEST_NAME].decode(errors="ignore")
    return path.with_name(f"{start}.{new_mark()}{TEMPORARY_SUFFIX}")


def new_mark() -> str:
    """Sixteen random digits that make a name nobody else's: processes on several machines can have one number."""
    return os.urandom(8).hex()


def temporary_of(name: str) -> str:
    """Return what a temporary file of ours was to be called; "" where ``name`` is no name of one."""
    found = re.fullmatch(rf"(.+?)(\.{MARK})?{re.escape(TEMPORARY_SUFFIX)}", name)
    return found[1] if found else ""


def read_file(path: Path, most: int = -1) -> bytes:
    """The bytes of a file, the first ``most`` where that is given.

    OSError where it cannot be read, or is a pipe or a device, which might never end.
    """
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return file.read(most)


def read_whole(path: Path) -> bytes:
    """The bytes of a small file. StoreError where it cannot be read, or is a pipe or a device."""
    try:
        return read_file(path)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); {cures.to_read(error, 'a store cannot be read without it')}"
        raise StoreError(msg) from error


def remove_temporaries(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Remove the temporary files that killed processes left in a folder, of files whose names are ours."""
    for path in folder.iterdir():
        if is_ours(temporary_of(path.name)):
            with suppress(OSError):  # it is in nobody's way
                path.unlink(missing_ok=True)
