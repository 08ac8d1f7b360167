"""A file of records, each with a checksum that covers all the records before it: what it lists has happened."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xxhash

from actstore.errors import StoreError
from actstore.store.disk import cures, durable
from actstore.store.documents.documents import HASH_DIGITS, undamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from actstore.store.format import JSON


_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # never through a link, nor into a pipe
FIRST_BYTES = 64 * 2**10  # a journal of so many bytes lists something
SECTOR_BYTES = 512  # what a disk writes whole, or not at all


def _chain(previous: str, payload: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(previous.encode("ascii") + payload)


def _line(previous: str, record: Mapping[str, JSON]) -> tuple[str, bytes]:
    """The checksum of a record, and its line in the file."""
    payload = json.dumps(record, separators=(",", ":")).encode("ascii")
    checksum = _chain(previous, payload)
    return checksum, b"%s %s\n" % (checksum.encode("ascii"), payload)


def journal_bytes(start: str, records: Iterable[Mapping[str, JSON]]) -> bytes:
    """A whole journal of these records, as ``Journal`` would append them one by one."""
    lines = []
    for record in records:
        start, line = _line(start, record)
        lines.append(line)
    return b"".join(lines)


@dataclass(frozen=True)
class Listing:
    """What a journal holds: its records in order, the last checksum, and how many bytes these take."""

    records: Sequence[dict[str, Any]]
    checksum: str
    nbytes: int


class Journal:
    """Appends records; each is on the disk when ``append`` returns. The file is open only meanwhile."""

    def __init__(
        self,
        path: Path,
        start: str,
        fence: Callable[[], None] = lambda: None,
        announce: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Continue the journal at ``path``, or begin it. The first checksum covers ``start``: what it belongs to.

        A last record that its process died in is cut off. StoreError where another byte is not as it was written.
        ``fence`` raises where the journal is not this writer's any more; it is asked before every record. ``announce``
        notes on the disk which file is about to be listed, "" once it is.
        """
        fence()
        fd = os.open(path, _WRITE | os.O_CREAT, 0o666)
        try:
            found = read_journal(path, start)
            if os.fstat(fd).st_size > found.nbytes:
                _cut(fd, found.nbytes)
            self._file = _file_of(fd)
        finally:
            os.close(fd)
        self._path, self.check, self.announce = path, fence, announce
        self._last, self._bytes = found.checksum, found.nbytes
        self.records = found.records

    def append(self, record: Mapping[str, JSON]) -> None:
        """Add one record: 16 hexadecimal digits of checksum, a blank, JSON, a line end.

        Raises:
            StoreError: another process has written to the journal, or put another one in its place.
        """
        checksum, line = _line(self._last, record)
        self.check()
        fd = self._open()
        try:
            durable.write_at(fd, line, self._bytes)
            durable.sync_data(fd)
        except OSError:
            with suppress(OSError):  # where even this fails, readers leave out a record that is not whole
                _cut(fd, self._bytes)
            raise
        finally:
            os.close(fd)
        self._last = checksum
        self._bytes += len(line)

    def _open(self) -> int:
        """The file to append to, which has to be the one that was read, and to end where its last record does."""
        fd = -1
        with suppress(FileNotFoundError):
            fd = os.open(self._path, _WRITE)
        if fd >= 0 and (_file_of(fd), os.fstat(fd).st_size) == (self._file, self._bytes):
            return fd
        if fd >= 0:
            os.close(fd)
        msg = (
            f"{self._path} was written to, replaced or removed by another process since this one read it; nothing is "
            "added to it. Look at what is there, then go on (--resume)"
        )
        raise StoreError(msg)


def _lines(data: bytes) -> tuple[list[bytes], bytes]:
    """The records in ``data``, and what follows the last one that is whole."""
    *lines, tail = data.split(b"\n")
    if not tail and lines and _lacks_sectors(lines[-1], len(data) - len(lines[-1]) - 1):
        tail = lines.pop() + b"\n"
    return lines, tail


def _lacks_sectors(line: bytes, offset: int) -> bool:
    """Whether sectors of a record, which begins at ``offset`` of its file, had not reached the disk: they are zeros."""
    runs = [run.span() for run in re.finditer(rb"\0+", line)]
    return bool(runs) and all(
        (start == 0 or (offset + start) % SECTOR_BYTES == 0)
        and (stop == len(line) or (offset + stop) % SECTOR_BYTES == 0)
        for start, stop in runs
    )


_NEEDED = "a store cannot be read without its journal"


def read_journal(path: Path, start: str, *, whole: bool = False) -> Listing:
    """The records of a journal, in order.

    A last record without its end was being written when its process died, one with whole sectors of NUL bytes when the
    power failed (they had not reached the disk; JSON has none): unless the journal has to be ``whole``, it
    is left out. StoreError, naming the file, where it is missing or any other byte is not as it was written.
    """
    try:
        data = durable.read_file(path)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}); {cures.to_read(error, _NEEDED)}"
        raise StoreError(msg) from error
    lines, tail = _lines(data)
    if tail and whole:
        msg = f"{path} is damaged: its last record has no end; restore it from a copy"
        raise StoreError(msg)
    previous = start
    records = []
    for number, line in enumerate(lines):
        payload = line[HASH_DIGITS + 1 :]
        previous = _chain(previous, payload)
        if line[: HASH_DIGITS + 1] != previous.encode("ascii") + b" ":
            msg = f"{path} is damaged at record {number}, whose checksum does not fit; restore it from a copy"
            raise StoreError(msg)
        with undamaged(path):
            records.append(json.loads(payload))
    return Listing(records, previous, len(data) - len(tail))


def has_records(path: Path) -> bool:
    """Whether a journal lists anything, sound or not; one that cannot be read may."""
    try:
        data = durable.read_file(path, FIRST_BYTES)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return len(data) == FIRST_BYTES or bool(_lines(data)[0])


@dataclass(frozen=True)
class Examined:
    """What can be told of a journal that may be damaged.

    Args:
        entries: the records that are as they were written, each with its number.
        damaged: the numbers of the others.
        torn: whether bytes follow the last record.
        lines: how many records there are.
    """

    entries: Sequence[tuple[int, dict[str, Any]]]
    damaged: Sequence[int]
    torn: bool
    lines: int


def examine_journal(data: bytes, start: str | None) -> Examined:
    """All that the bytes of a journal still tell; ``start`` is None where it is not known.

    A record is taken where its checksum fits it and the one before it, be that as it is written or as it should be:
    damage to one record does not spoil the next.
    """
    lines, tail = _lines(data)
    before = None if start is None else {start}
    entries: list[tuple[int, dict[str, Any]]] = []
    damaged = []
    for number, line in enumerate(lines):
        written = line[:HASH_DIGITS].decode("ascii", "replace")
        payload = line[HASH_DIGITS + 1 :]
        fitting = {written} if before is None else {_chain(previous, payload) for previous in before}
        entry = _parse(payload) if written in fitting and line[HASH_DIGITS : HASH_DIGITS + 1] == b" " else None
        if entry is None:
            damaged.append(number)
        else:
            entries.append((number, entry))
        before = {checksum for checksum in (written, *fitting) if checksum.isascii()}
    return Examined(entries, damaged, bool(tail), len(lines))


def _parse(payload: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _file_of(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _cut(fd: int, nbytes: int) -> None:
    """Cut a journal off, for good: what follows must not mix with the old bytes when the power fails."""
    os.ftruncate(fd, nbytes)
    durable.sync_data(fd)
