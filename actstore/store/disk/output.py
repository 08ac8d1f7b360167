"""Files that appear only whole: under a name that nobody else has until every byte is on the disk."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from actstore.errors import StoreError
from actstore.store.disk import cures, durable
from actstore.store.disk.cures import ROOM
from actstore.store.format import STORE_JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike
    from types import TracebackType

    from actstore.store.disk.durable import Bytes


WRITE_BACK_BYTES = 8 * 2**20  # so many at a time go to the disk while what follows is made


class WholeFile:
    """A new file, to be written through ``fd``; ``publish`` gives it its name once every byte is on the disk.

    As a context manager it leaves nothing behind where it was not published: no other name is ever touched.
    """

    def __init__(self, path: Path, *, replace: bool = False, fence: Callable[[], None] = lambda: None) -> None:
        """Create it beside ``path``, its final name.

        Args:
            path: the final name.
            replace: whether that may be another file's by then.
            fence: raises where the ground is not this writer's any more; asked right before the file is named.
        """
        self.path, self._replace, self._fence = path, replace, fence
        self.temporary = durable.temporary_name(path)
        self.published = False
        self.file_bytes = 0  # once it is published
        self._begun = 0  # up to where the disk was told to begin
        self.fd = durable.create(self.temporary)

    def write(self, data: Bytes, offset: int = 0) -> None:
        """Write all of ``data`` at ``offset``. What is written in order begins to go to the disk."""
        durable.write_at(self.fd, data, offset)
        end = offset + memoryview(data).nbytes
        if end - self._begun >= WRITE_BACK_BYTES:
            durable.let_go(self.fd, self._begun, end - self._begun)
            self._begun = end

    def publish(self) -> None:
        """Wait until the file is on the disk, and name it. FileExistsError where something else has the name."""
        durable.sync_file(self.fd)
        self.file_bytes = os.fstat(self.fd).st_size
        self._close()  # some file systems keep a name for what is removed while it is open
        self._fence()
        if self._replace:
            durable.rename(self.temporary, self.path)
        else:
            durable.publish(self.temporary, self.path)
        self.published = True

    def discard(self) -> None:
        """Close the file, and remove it unless it was published. Once more does no harm."""
        self._close()
        if not self.published:
            with suppress(OSError):  # an error that is on its way says more
                self.temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that is there whole or not at all; one of that name is replaced."""
    with WholeFile(path, replace=True) as file:
        file.write(data)
        file.publish()


def write_new(path: Path, data: bytes) -> bool:
    """Write a small file that is there whole, unless there is one. Returns whether it was written.

    Of several processes that try at once, one does.
    """
    if os.path.lexists(path):  # asked first: a disk that is full has room for what is there already
        return False
    with WholeFile(path) as file:
        try:
            file.write(data)
            file.publish()
        except FileExistsError:
            return False
        except FileNotFoundError:
            if path.exists():  # whoever was quicker has removed all temporary files since
                return False
            raise
    return True


@contextmanager
def whole_file(
    path: str | PathLike[str],
    *,
    overwrite: bool,
    inputs: Iterable[str | PathLike[str]] = (),
    same_kind: Callable[[Path], bool] | None = None,
) -> Iterator[WholeFile]:
    """A file for a command's output, to be written and published in the block; else nothing is left.

    Args:
        path: its name; a symbolic link is followed, so that what it leads to is written.
        overwrite: whether a file of that name may be replaced.
        inputs: what the command reads, files and folders: none of them is ever replaced.
        same_kind: whether a file that is there is of the kind that is written; no other is replaced. None for any.

    Raises:
        StoreError: ``path`` exists and may not be replaced, is a folder, or is in none; the disk takes no more;
            another process wrote it meanwhile.
    """
    final = followed(path)
    if not final.parent.is_dir():
        msg = f"{path} cannot be written: there is no folder {final.parent}. Make it first"
        raise StoreError(msg)
    if final.is_dir():
        msg = f"{path} is in the way: a folder of that name. Move it"
        raise StoreError(msg)
    check_not_input(final, inputs)
    before = identity(final)
    if before is not None and not overwrite:
        msg = f"{path} already exists; pass overwrite=True (--overwrite) to replace it, or choose another name"
        raise StoreError(msg)
    if before is not None:
        check_kind(final, same_kind)

    def fence() -> None:
        if identity(final) != before:
            raise FileExistsError

    try:
        with WholeFile(final, replace=before is not None, fence=fence) as file:
            yield file
    except FileExistsError as error:
        msg = f"{path} has appeared or changed meanwhile: another program wrote it. Choose another name, or move it"
        raise StoreError(msg) from error
    except OSError as error:
        left = "nothing is left there" if before is None else "what is there is as it was"
        msg = f"{path} cannot be written: {error.strerror or error}. {cures.to_write(error)}; {left}"
        raise StoreError(msg) from error


def followed(path: str | PathLike[str]) -> Path:
    """Where an output of that name lies: absolute, a symbolic link replaced by what it leads to, there or not."""
    final = Path(os.path.abspath(path))
    return Path(os.path.realpath(final)) if final.is_symlink() else final


def identity(path: Path) -> tuple[int, ...] | None:
    """Return what tells a file from every other, and from itself once it was written to; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def check_not_input(final: Path, inputs: Iterable[str | PathLike[str]]) -> None:
    """StoreError where an output would take the place of something that is read, or lie inside a store that is.

    The one place that decides it for every command: files by what they are, whatever they are called (links, too);
    folders also by what lies in them.
    """
    real = Path(os.path.realpath(final))
    for given in inputs:
        read = Path(os.path.realpath(given))
        if not read.exists():
            continue
        same = real == read or (real.exists() and os.path.samefile(real, read))
        within_store = read in real.parents and (read / STORE_JSON).exists()
        if same or real in read.parents or within_store:
            msg = (
                f"{final} is an input ({os.fspath(given)}), which an output never replaces; choose another name"
            )
            raise StoreError(msg)


def named_paths(*specs: str) -> list[str]:
    """The files and folders that SPECs name (``FILE``, ``FILE:KEY``, ``KIND:FOLDER:how``), as far as they are there."""
    found = []
    for spec in specs:
        parts = spec.split(":")
        pieces = [":".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)]
        found += [piece for piece in pieces if piece and os.path.exists(piece)]
    return found


def check_kind(final: Path, same_kind: Callable[[Path], bool] | None) -> None:
    """StoreError where a file that is there is not of the kind that is to replace it: then it is somebody's own."""
    if not final.is_file() or (same_kind is not None and not same_kind(final)):
        msg = (
            f"{final} is not a file that this command writes, so that overwrite (--overwrite) does not replace it; "
            "move it, or choose another name"
        )
        raise StoreError(msg)


def check_room(path: Path, nbytes: int, *, what: str = "", hint: str = ROOM) -> None:
    """StoreError where the disk that ``path`` is on has no room for so many bytes of ``what``."""
    free = shutil.disk_usage(path.parent).free
    if free < nbytes:
        msg = f"{path} needs {nbytes:,} bytes{what}, and {free:,} are free there. {hint}"
        raise StoreError(msg)
