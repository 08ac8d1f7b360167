"""A file of records, each with a checksum that covers all the records before it: what it lists has happened."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import xxhash

from actstore.errors import StoreError
from actstore.store import durable
from actstore.store.documents import HASH_DIGITS, undamaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from actstore.store.format import JSON


def _chain(previous: str, payload: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(previous.encode("ascii") + payload)


class Journal:
    """Appends records; each is on the disk when ``append`` returns. The file is open only meanwhile."""

    def __init__(self, path: Path, start: str) -> None:
        """Create an empty journal. The first checksum covers ``start`` too: the identity of the store."""
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        self._path = path
        self._last = start
        self._bytes = 0

    def append(self, record: Mapping[str, JSON]) -> None:
        """Add one record: 16 hexadecimal digits of checksum, a blank, JSON, a line end."""
        payload = json.dumps(record, separators=(",", ":")).encode("ascii")
        checksum = _chain(self._last, payload)
        line = b"%s %s\n" % (checksum.encode("ascii"), payload)
        fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            durable.write_at(fd, line, self._bytes)
            durable.sync_data(fd)
        except OSError:
            with suppress(OSError):  # where even this fails, readers leave out a record without its line end
                os.ftruncate(fd, self._bytes)
            raise
        finally:
            os.close(fd)
        self._last = checksum
        self._bytes += len(line)


def read_journal(path: Path, start: str, *, complete: bool) -> Iterator[dict[str, Any]]:
    """The records of a journal, in order.

    A last line without its end was being written when its process died: not ``complete``, it is left out.
    StoreError, naming the file, where it is missing or any other byte is not as it was written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path} can not be read ({error.strerror}); a store can not be read without its journal"
        raise StoreError(msg) from error
    *lines, tail = data.split(b"\n")
    if tail and complete:
        msg = f"{path} is damaged: its last record has no end; restore it from a copy"
        raise StoreError(msg)
    previous = start
    for number, line in enumerate(lines):
        payload = line[HASH_DIGITS + 1 :]
        previous = _chain(previous, payload)
        if line[: HASH_DIGITS + 1] != previous.encode("ascii") + b" ":
            msg = f"{path} is damaged at record {number}, whose checksum does not fit; restore it from a copy"
            raise StoreError(msg)
        with undamaged(path):
            record = json.loads(payload)
        yield record
