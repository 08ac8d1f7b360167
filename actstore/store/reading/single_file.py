"""A whole store in one ordinary HDF5 file: a shard of all its rows, and a manifest of what a folder's documents say.

The file's last bytes, which HDF5 knows nothing of, say where the manifest lies: reading a store never calls the HDF5
library, so no damage to what the library reads can do more than be noticed.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xxhash

from actstore.errors import StoreError
from actstore.store.disk import cures
from actstore.store.documents.catalog import Contents, Part, stamp
from actstore.store.documents.documents import Header, natural, seal, text, undamaged, unseal, versioned
from actstore.store.documents.records import Extent, check_apart, check_datasets, hash_text
from actstore.store.format import (
    FILE_SUFFIX,
    FOLDER_SUFFIX,
    FORMAT,
    JSON,
    LAYER_NAMES,
    MANIFEST,
    PARTIAL_SUFFIX,
    VERSION,
    is_shard_name,
)
from actstore.store.reading.open_files import OpenFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
FOOTER_BYTES = 64
FOOTER_WORDS = 5  # format, version, offset and length of the manifest, checksum
HEAD_BYTES = 2**16
EXPECTED = f"a store is a NAME{FOLDER_SUFFIX} folder or a NAME{FILE_SUFFIX} file that actstore wrote"


@dataclass(frozen=True)
class Packed:
    """A single-file store, as its manifest describes it.

    Args:
        contents: the store.
        gaps: xxh3 (64 bits) of all bytes outside the datasets, in order, without the footer.
        manifest: where the manifest lies, one more dataset.
    """

    contents: Contents
    gaps: str
    manifest: Extent


def manifest(contents: Contents, extents: Mapping[str, Extent], gaps: str) -> bytes:
    """The manifest of a single file with these datasets."""
    datasets: dict[str, JSON] = {path: extent.document() for path, extent in extents.items()}
    return seal(
        versioned(
            store=contents.header.document(),
            step=contents.step,
            rows=contents.rows,
            fingerprint=contents.fingerprint,
            provenance=contents.provenance,
            nonfinite=contents.nonfinite,
            gaps=gaps,
            datasets=datasets,
        )
    )


def footer(offset: int, nbytes: int) -> bytes:
    """The last bytes of a single file, which say where its manifest lies."""
    words = f"{FORMAT} {VERSION} {offset} {nbytes} ".encode("ascii")
    return (words + xxhash.xxh3_64_hexdigest(words).encode("ascii")).ljust(FOOTER_BYTES - 1) + b"\n"


def is_single_file(path: Path) -> bool:
    """Whether ``path`` is a single-file store, be it damaged or of a newer version: its last bytes say so."""
    try:
        with open(path, "rb", opener=_unwaiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or file.read(8) != HDF5_SIGNATURE:
                return False
            file.seek(-FOOTER_BYTES, os.SEEK_END)
            words = file.read(FOOTER_BYTES).split()
    except OSError:  # not there, not readable, or shorter than that
        return False
    return words[:1] == [FORMAT.encode("ascii")] and len(words) == FOOTER_WORDS


def is_others_hdf5(path: Path) -> bool:
    """Whether ``path`` is an HDF5 file that no actstore wrote: no store, nor what is left of one."""
    try:
        with open(path, "rb", opener=_unwaiting) as file:
            status = os.fstat(file.fileno())
            head = file.read(HEAD_BYTES) if stat.S_ISREG(status.st_mode) else b""
    except OSError:
        return False
    whole = status.st_size >= _end_of_hdf5(head)
    is_ours = is_single_file(path) or is_shard_name(path.name) or LAYER_NAMES.encode("ascii") in head
    return head.startswith(HDF5_SIGNATURE) and whole and not is_ours


def read_packed(path: Path) -> Contents:
    """Return what is in a single-file store. StoreError where ``path`` is none, or not sound."""
    return examine(path).contents


def examine(path: Path) -> Packed:
    """A single-file store with what it takes to verify it. StoreError where ``path`` is none, or not sound."""
    found = check_is_hdf5(path)
    file = OpenFile(Part(path, 0, 0, {}, found))
    place = _manifest_place(path, found[0])
    document = unseal(file.read(place).tobytes(), path)
    with undamaged(path):
        header = Header.parse(document["store"])
        rows = natural(document["rows"])
        end = found[0] - FOOTER_BYTES
        extents = {name: Extent.parse(entry, end) for name, entry in document["datasets"].items()}
        check_datasets(extents, rows, header.layers)
        check_apart({**extents, MANIFEST: place})
        contents = Contents(
            path=path,
            header=header,
            step=natural(document["step"]),
            parts=[Part(path, 0, rows, extents, found)],
            complete=True,
            provenance=dict(document["provenance"]),
            fingerprint=text(document["fingerprint"]),
            nonfinite={layer.name: natural(document["nonfinite"][layer.name]) for layer in header.layers},
        )
        return Packed(contents, hash_text(document["gaps"]), place)


def _manifest_place(path: Path, file_bytes: int) -> Extent:
    """Where the manifest lies, as the footer says."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, file_bytes - FOOTER_BYTES))
        found = file.read(FOOTER_BYTES)
    words = found.split()
    if words[:1] != [FORMAT.encode("ascii")]:
        raise StoreError(_without_footer(path, head, file_bytes))
    with undamaged(path):
        version, offset, nbytes = (natural(int(word)) for word in words[1:4])
        if version > VERSION:
            msg = (
                f"{path} has format version {version}; this actstore reads versions up to {VERSION}. "
                "Update actstore to read it"
            )
            raise StoreError(msg)
        if footer(offset, nbytes) != found or not 0 < nbytes <= file_bytes - FOOTER_BYTES - offset:
            msg = f"its last {FOOTER_BYTES} bytes are not as they were written"
            raise ValueError(msg)
    return Extent(f"S{nbytes}", (), offset)


def _without_footer(path: Path, head: bytes, file_bytes: int) -> str:
    """Return what an HDF5 file is that does not end like a store."""
    if is_shard_name(path.name):
        return f"{path} is one shard of a store: open its folder"
    if file_bytes < _end_of_hdf5(head):
        return f"{path} is damaged: it is cut short, at {file_bytes:,} bytes. Restore it from a copy"
    if LAYER_NAMES.encode("ascii") in head:
        return (
            f"{path} is damaged: the end that actstore writes is missing (the file was cut short, or another program "
            "changed it; or it is one shard of a store: open its folder). Restore it from a copy"
        )
    return f"{path} is another HDF5 file; {EXPECTED}"


def _end_of_hdf5(head: bytes) -> int:
    """How long the file is by its own superblock (versions 2 and 3, which actstore writes); 0 where it does not say."""
    if len(head) < 48:
        return 48
    version, offset_bytes = head[8], head[9]
    return int.from_bytes(head[28:36], "little") if version in (2, 3) and offset_bytes == 8 else 0


def check_is_hdf5(path: Path) -> tuple[int, int]:
    """Size and time of change of ``path``. StoreError unless an HDF5 file begins there."""
    try:
        found = stamp(path)
        with open(path, "rb", opener=_unwaiting) as file:
            signature = file.read(len(HDF5_SIGNATURE))
    except OSError as error:
        partial = path.with_name(path.name + PARTIAL_SUFFIX)
        hint = f"{partial} is an unfinished dump of it" if partial.exists() else EXPECTED
        msg = f"{path} cannot be opened ({error.strerror}); {cures.to_read(error, hint)}"
        raise StoreError(msg) from error
    if signature != HDF5_SIGNATURE:
        msg = f"{path} is not an HDF5 file; {EXPECTED}"
        raise StoreError(msg)
    return found


def _unwaiting(path: str, flags: int) -> int:
    """Open without waiting for the other end, should ``path`` be a pipe."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
