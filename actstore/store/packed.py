"""A whole store in one ordinary HDF5 file: a shard of all its rows, and a manifest of what a folder's documents say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.contents import Contents, Part, stamp
from actstore.store.documents import Header, natural, seal, text, undamaged, unseal, versioned
from actstore.store.files import OpenFile
from actstore.store.format import FILE_SUFFIX, FOLDER_SUFFIX, JSON, LAYER_NAMES, MANIFEST, PARTIAL_SUFFIX
from actstore.store.hdf5 import HDF5File
from actstore.store.records import Extent, check_datasets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
EXPECTED = f"a store was expected: a NAME{FOLDER_SUFFIX} folder or a NAME{FILE_SUFFIX} file that actstore wrote"


def manifest(contents: Contents, extents: Mapping[str, Extent]) -> bytes:
    """The manifest of a single file: where its datasets lie is for HDF5 to say, so offsets are left out."""
    datasets: dict[str, JSON] = {
        path: {"dtype": extent.dtype, "shape": extent.shape, "hashes": extent.hashes}
        for path, extent in extents.items()
    }
    return seal(
        versioned(
            store=contents.header.document(),
            rows=contents.rows,
            fingerprint=contents.fingerprint,
            provenance=contents.provenance,
            nonfinite=contents.nonfinite,
            datasets=datasets,
        )
    )


def read_packed(path: Path) -> Contents:
    """What is in a single-file store. StoreError where ``path`` is none, or not sound."""
    found = check_is_hdf5(path)
    with HDF5File(path) as file:
        if MANIFEST not in file:
            what = (
                "one shard of a store: open its folder"
                if LAYER_NAMES in file
                else f"another HDF5 file; {EXPECTED}"
            )
            msg = f"{path} is {what}"
            raise StoreError(msg)
        offset, nbytes = file.manifest_span()
        whole = Extent(f"S{nbytes}", (), offset)
        document = unseal(OpenFile(Part(path, 0, 0, {}, found)).read(whole).tobytes(), path)
        with undamaged(path):
            header = Header.parse(document["store"])
            rows = natural(document["rows"])
            extents = {}
            for name, entry in document["datasets"].items():
                place = file.offset(name, text(entry["dtype"]), tuple(natural(side) for side in entry["shape"]))
                extents[name] = Extent.parse({**entry, "offset": place}, found[0])
            check_datasets(extents, rows, header.layers)
            return Contents(
                path=path,
                header=header,
                parts=[Part(path, 0, rows, extents, found)],
                complete=True,
                provenance=dict(document["provenance"]),
                fingerprint=text(document["fingerprint"]),
                nonfinite={layer.name: natural(document["nonfinite"][layer.name]) for layer in header.layers},
            )


def check_is_hdf5(path: Path) -> tuple[int, int]:
    """Size and time of change of ``path``. StoreError unless an HDF5 file begins there."""
    try:
        found = stamp(path)
        with path.open("rb") as file:
            signature = file.read(len(HDF5_SIGNATURE))
    except OSError as error:
        partial = path.with_name(path.name + PARTIAL_SUFFIX)
        hint = f"{partial} is an unfinished dump of it" if partial.exists() else EXPECTED
        msg = f"{path} can not be opened ({error.strerror}); {hint}"
        raise StoreError(msg) from error
    if signature != HDF5_SIGNATURE:
        msg = f"{path} is not an HDF5 file; {EXPECTED}"
        raise StoreError(msg)
    return found
