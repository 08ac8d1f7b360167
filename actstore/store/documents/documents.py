"""JSON documents that notice every changed byte: store.json, step.json, COMPLETE and the manifest of a single file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xxhash

from actstore.errors import StoreError
from actstore.store.format import DTYPES, FORMAT, JSON, MOST_AXES, ROW_UNITS, VERSION, StoredLayer

if TYPE_CHECKING:
    from os import PathLike

CHECKSUM = "checksum"
HASH_DIGITS = 16
ABSENT = object()  # a key that one of two documents lacks
SHOWN = 80  # characters of a value in a message


def digest(data: bytes) -> str:
    """Return what identifies a document or a file's bytes: xxh3, 128 bits, as hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def seal(document: Mapping[str, JSON]) -> bytes:
    """A document with its checksum, as the bytes that are stored: ``json.dumps(..., indent=1)`` and a line end."""
    checksum = digest(json.dumps(document, indent=1).encode("ascii"))
    return (json.dumps({**document, CHECKSUM: checksum}, indent=1) + "\n").encode("ascii")


def unseal(data: bytes, where: str | PathLike[str]) -> dict[str, Any]:
    """The document in ``data``, without its checksum. StoreError unless every byte is as it was written."""
    with undamaged(where):
        document = json.loads(data)
        check_version(document, where)
        checksum = document.pop(CHECKSUM)
        if seal(document) != data:
            msg = f"its checksum is not {checksum}"
            raise ValueError(msg)
    return document


def check_version(document: Any, where: str | PathLike[str]) -> None:
    """Refuse a document of a newer format by its version, before anything else is expected of it."""
    if document["format"] != FORMAT:
        msg = f"its format is {document['format']!r}, not {FORMAT!r}"
        raise ValueError(msg)
    if natural(document["version"]) > VERSION:
        msg = (
            f"{where} has format version {document['version']}; this actstore reads versions up to {VERSION}. "
            "Update actstore to read it"
        )
        raise StoreError(msg)
    if document["version"] < VERSION:
        msg = f"{where} has format version {document['version']}, a draft that is no longer read; dump it again"
        raise StoreError(msg)


@contextmanager
def undamaged(where: str | PathLike[str]) -> Iterator[None]:
    """Turn whatever stops a parser into one line that names the file."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        msg = f"{where} is damaged or was not written by actstore ({reason}); restore it from a copy"
        raise StoreError(msg) from error


def natural(value: Any) -> int:
    """``value`` where it is an int from 0 on; ValueError for everything else that JSON can say."""
    if type(value) is not int or value < 0:
        msg = f"{value!r} is not a count"
        raise ValueError(msg)
    return value


def text(value: Any) -> str:
    """``value`` where it is a string; ValueError otherwise."""
    if not isinstance(value, str):
        msg = f"{value!r} is not a text"
        raise ValueError(msg)
    return value


def versioned(**fields: JSON) -> dict[str, JSON]:
    """A document of this format and version."""
    return {"format": FORMAT, "version": VERSION, **fields}


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Return what differs between two pieces of JSON: each place by its dotted name, with both values."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            found
            for key in keys
            for found in differences(
                before.get(key, ABSENT), now.get(key, ABSENT), f"{name}.{key}" if name else str(key)
            )
        ]
    if isinstance(before, list | tuple) and isinstance(now, list | tuple) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [found for place, (a, b) in pairs for found in differences(a, b, f"{name}[{place}]")]
    if before == now:
        return []
    if before is ABSENT or now is ABSENT:
        return [f"{name} is {'new' if before is ABSENT else 'missing'}"]
    return [f"{name} was {_shortened(before)}, now {_shortened(now)}"]


def _shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def check_provenance(provenance: Mapping[str, JSON]) -> dict[str, Any]:
    """A copy of ``provenance`` as JSON gives it back. StoreError where it is not plain JSON."""
    try:
        return json.loads(json.dumps(provenance, allow_nan=False))
    except (TypeError, ValueError) as error:
        msg = f"provenance has to be plain JSON (text, finite numbers, lists, mappings): {error}"
        raise StoreError(msg) from error


@dataclass(frozen=True)
class Header:
    """What store.json says: the row unit and the layers, in call order. Written once, before the first row."""

    row_unit: str
    layers: tuple[StoredLayer, ...]

    def document(self) -> dict[str, JSON]:
        """The header as JSON."""
        layers: list[dict[str, JSON]] = [
            {
                "name": layer.name,
                "dtype": layer.dtype,
                "shape": layer.shape,
                "axes": layer.axes,
                "order": layer.order,
            }
            for layer in self.layers
        ]
        return versioned(row_unit=self.row_unit, layers=layers)

    def by_name(self) -> dict[str, JSON]:
        """Return what to compare with another header: the row unit, and the layers by name."""
        layers = {layer.name: f"{layer.dtype} {layer.shape} {layer.axes}" for layer in self.layers}
        return {"row_unit": self.row_unit, "layers": layers, "order": list(layers)}

    @property
    def identity(self) -> str:
        """The same for every store of these layers; journals start from it, so that they fit no other store."""
        return digest(seal(self.document()))

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Header:
        """The header in ``document``; ValueError, KeyError or TypeError where it is none."""
        layers = tuple(_parse_layer(entry, order) for order, entry in enumerate(document["layers"]))
        if len({layer.name for layer in layers}) != len(layers) or not layers:
            msg = "its layers are not one or more with names of their own"
            raise ValueError(msg)
        if document["row_unit"] not in ROW_UNITS:
            msg = f"its row unit {document['row_unit']!r} is none of {', '.join(ROW_UNITS)}"
            raise ValueError(msg)
        return cls(document["row_unit"], layers)


def _parse_layer(entry: Mapping[str, Any], order: int) -> StoredLayer:
    shape = tuple(natural(side) for side in entry["shape"])
    axes = tuple(text(axis) for axis in entry["axes"])
    possible = len(axes) == len(shape) < MOST_AXES and entry["order"] == order and entry["dtype"] in DTYPES
    if not possible:
        msg = f"layer {entry['name']!r} has an impossible description"
        raise ValueError(msg)
    return StoredLayer(text(entry["name"]), entry["dtype"], shape, axes, order)
