"""Documents that lie: hostile values in the JSON of a store, with checksums and chains that fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from actstore.errors import StoreError
from actstore.store.documents.documents import CHECKSUM, Header, digest, unseal
from actstore.store.documents.journal import _chain
from actstore.store.documents.rank import journal_start
from actstore.store.documents.records import Extent
from actstore.store.reading import single_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEEP = "nested 10,000 deep"
HOSTILE: list[Any] = [
    *(2**62, 2**63, 2**64, 10**9, 10**18, 10**400, -1, 0, 1, 1.5, -0.0, 1e308),
    *(
        float("nan"),
        float("inf"),
        True,
        False,
        None,
        [],
        {},
        [[]],
        {"": {}},
        "",
        "\0",
        "\ud800",
        "é" * 1000,
        DEEP,
    ),
    *("../1", "../../../../etc/passwd", "/etc/passwd", "targets/../../x", "shard-000000.h5/..", "journal", "."),
    *("S1000000000", "S9999999999", "S2147483648", "S0", "O", "float32", "bfloat16", "bool", "V8", "M8[ns]"),
    *([2**62], [2**62, 0], [0, 2**62], [2**31, 2**31, 0], [-1], [1] * 200, [10**400], ["1"], [[1]]),
    *("0" * 16, ["0" * 16], ["0" * 16] * 1000),
]


def lie(files: Mapping[str, bytes], rng: np.random.Generator) -> tuple[str, dict[str, bytes]]:
    """What was changed, and the files with every checksum made to fit."""
    if "" in files and rng.random() < 0.5:
        return _lie_to_hdf5(files[""], rng)
    if "" in files:
        return _lie_in_manifest(files[""], rng)
    name = str(rng.choice(sorted(name for name in files if not name.endswith(".h5"))))
    changed = dict(files)
    if name.endswith("journal"):
        records = [json.loads(line[17:]) for line in files[name].splitlines()]
        place = int(rng.integers(len(records)))
        what = _replace(records, place, rng)
        changed[name] = _journal(records, _start(changed, name))
    else:
        document = unseal(files[name], name)
        what = _replace({"": document}, "", rng)
        changed[name] = _seal(document)
    if name == "store.json":
        for other in [path for path in files if path.endswith("journal")]:
            records = [json.loads(line[17:]) for line in files[other].splitlines()]
            changed[other] = _journal(records, _start(changed, other))
    if not name.endswith("COMPLETE"):
        _vouch(changed)
    return f"{name} {what}", changed


def _vouch(files: dict[str, bytes]) -> None:
    for name in [path for path in files if path.endswith("COMPLETE")]:
        document = unseal(files[name], name)
        document["files"] = {path: digest(files[path]) for path in document["files"]}
        files[name] = _seal(document)


def _lie_in_manifest(data: bytes, rng: np.random.Generator) -> tuple[str, dict[str, bytes]]:
    offset, nbytes = (int(word) for word in data[-single_file.FOOTER_BYTES :].split()[2:4])
    document = unseal(data[offset : offset + nbytes], "")
    what = _replace({"": document}, "", rng)
    sealed = _seal(document)
    end = len(data) - single_file.FOOTER_BYTES
    return f"manifest {what}", {"": data[:end] + sealed + single_file.footer(end, len(sealed))}


def _lie_to_hdf5(data: bytes, rng: np.random.Generator) -> tuple[str, dict[str, bytes]]:
    """Change what only the HDF5 library reads, with a hash that fits; our own code does not look at it."""
    offset, nbytes = (int(word) for word in data[-single_file.FOOTER_BYTES :].split()[2:4])
    document = unseal(data[offset : offset + nbytes], "")
    gap = np.ones(len(data), bool)
    gap[:8] = gap[-single_file.FOOTER_BYTES :] = False
    for extent in [*(Extent.parse(entry, len(data)) for entry in document["datasets"].values())]:
        gap[extent.offset : extent.offset + extent.nbytes] = False
    gap[offset : offset + nbytes] = False
    place = int(rng.choice(np.flatnonzero(gap)))
    changed = bytearray(data)
    changed[place] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
    gap[:8] = True
    document["gaps"] = xxhash.xxh3_64_hexdigest(np.frombuffer(changed, np.uint8)[gap].tobytes())
    sealed = _seal(document)
    if len(sealed) != nbytes:
        msg = f"the manifest has {len(sealed)} bytes, not {nbytes}"
        raise ValueError(msg)
    changed[offset : offset + nbytes] = sealed
    return f"byte {place} of the metadata", {"": bytes(changed)}


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _replace(container: Any, root: Any, rng: np.random.Generator) -> str:
    places = [(container, root), *_places(container[root])]
    parent, key = places[int(rng.integers(len(places)))]
    value = HOSTILE[int(rng.integers(len(HOSTILE)))]
    if isinstance(parent, dict) and parent is not container and rng.random() < 0.2:
        if rng.random() < 0.5:
            del parent[key]
            return f"{key!r} is gone"
        renamed = value if isinstance(value, str) else "../x"
        parent[renamed] = parent.pop(key)
        return f"{key!r} is called {renamed[:30]!r}"
    parent[key] = value
    return f"{key!r} is {str(value)[:30] if not isinstance(value, int) or value < 2**64 else 'huge'!r}"


def _text(document: Any, **how: Any) -> bytes:
    text = json.dumps(document, **how)
    return text.replace(json.dumps(DEEP), "[" * 10_000 + "]" * 10_000).encode("ascii")


def _seal(document: Any) -> bytes:
    if not isinstance(document, dict):
        return _text(document, indent=1)
    checksum = digest(_text(document, indent=1))
    return _text({**document, CHECKSUM: checksum}, indent=1) + b"\n"


def _journal(records: list[Any], start: str) -> bytes:
    lines = []
    for record in records:
        payload = _text(record, separators=(",", ":"))
        start = _chain(start, payload)
        lines.append(start.encode("ascii") + b" " + payload + b"\n")
    return b"".join(lines)


def _start(files: Mapping[str, bytes], name: str) -> str:
    try:
        header = Header.parse(unseal(files["store.json"], "store.json"))
        identity = header.identity
    except (StoreError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return ""  # no journal can fit this header
    if name == "journal":
        return identity
    _, step, rank, _ = name.split("/")
    return journal_start(header, int(step), int(rank.partition("-")[2]))
