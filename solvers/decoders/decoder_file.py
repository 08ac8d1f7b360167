"""The decoder file: one HDF5 file without pickle, in the profile of the probe file, written and read by its ways."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.decoders.architecture import Architecture
from solvers.decoders.decoder import LAYER, REFERENCE, Decoder, Decoders
from solvers.decoders.images import ImageUnits
from solvers.errors import ProbeFileError, ProblemError
from solvers.probing.document.contents import short
from solvers.probing.document.header import read_header
from solvers.probing.document.kind import FileKind
from solvers.probing.probe_file import opened_arrays, save_arrays
from solvers.scoring.score import Score

if TYPE_CHECKING:
    from collections.abc import Mapping

    from solvers.arrays import Array
    from solvers.probing.document.arrays import FileArrays

__all__ = ["DECODERS", "load_decoders", "save_decoders"]

DECODERS = FileKind(
    "actstore decoders", "0.9", "decoder file", "probe decode", "save_decoders", "train the decoders again"
)
_PLAIN = ("layer", "step", "method", "role", "alpha", "seed")
_KINDS = {"layer": str, "step": int, "method": str, "role": str, "alpha": float, "seed": int}


def save_decoders(decoders: Decoders, path: str | Path, overwrite: bool = False) -> None:
    """Write decoders to one file, which appears under its name only when it is whole and on the disk.

    Raises:
        ProbeFileError: the file is there already (without ``overwrite``, or as something else than a decoder file), its
            folder is not, or the disk refuses.
    """
    arrays: dict[str, Array] = {"index": np.asarray(decoders.rows, np.int64)}
    entries = []
    for number, decoder in enumerate(decoders):
        names, seen = list(decoder.arrays), list(decoder.seen)
        arrays |= {f"array.{number}.{place}": decoder.arrays[name] for place, name in enumerate(names)}
        arrays |= {f"seen.{number}.{place}": decoder.seen[name] for place, name in enumerate(seen)}
        entry = {name: getattr(decoder, name) for name in _PLAIN}
        entry |= {"units": decoder.units.to_json(), "architecture": dict(decoder.architecture)}
        entry |= {"arrays": names, "seen": seen, "training": dict(decoder.training)}
        entries.append({**entry, "scores": [asdict(score) for score in decoder.scores]})
    header = {
        "format": DECODERS.format,
        "version": DECODERS.version,
        "split": decoders.split,
        "provenance": dict(decoders.provenance),
        "scores": [asdict(score) for score in decoders.scores],
        "decoders": entries,
    }
    save_arrays(Path(path), DECODERS, json.dumps(header).encode(), arrays, overwrite)


def load_decoders(path: str | Path) -> Decoders:
    """Read the decoders of a file. What they made of the scored rows stays on the disk and is mapped.

    Raises:
        ProbeFileError: the file is missing, damaged, of another version, or no decoder file.
    """
    path = Path(path)
    with opened_arrays(path, DECODERS) as found:
        header = read_header(path, found.bytes_of_header(), DECODERS)
        try:
            return _decoders(found, header)
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            OverflowError,
            ProblemError,
        ) as error:
            again = DECODERS.again
            msg = f"{path} is damaged: its header does not describe its decoders ({short(error)}); {again}"
            raise ProbeFileError(msg) from error


def _decoders(found: FileArrays, header: Mapping[str, Any]) -> Decoders:
    rows = found.read("index")
    if rows.dtype != np.int64 or rows.ndim != 1:
        msg = "`index` is no list of rows"
        raise ValueError(msg)
    entries = header["decoders"]
    decoders = tuple(_decoder(found, number, entry, len(rows)) for number, entry in enumerate(entries))
    return Decoders(
        decoders,
        rows,
        str(header["split"]),
        _provenance(header["provenance"]),
        tuple(map(_score, header["scores"])),
    )


def _provenance(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the decoders are from, of the types that readers count on; ValueError where it is of others."""
    stored = found.get("stored", {})
    texts = all(isinstance(found.get(name, ""), str) for name in ("fingerprint", "target", "roles"))
    if not texts or not isinstance(stored, dict) or not all(isinstance(each, dict) for each in stored.values()):
        msg = "`provenance` is not as it is written"
        raise ValueError(msg)
    return dict(found)


def _decoder(found: FileArrays, number: int, entry: Mapping[str, Any], rows: int) -> Decoder:
    plain = {name: _KINDS[name](entry[name]) for name in _PLAIN}
    if plain["role"] not in (LAYER, REFERENCE) or plain["method"] not in ("linear", "conv"):
        msg = f"a decoder is {plain['method']!r} and {plain['role']!r}"
        raise ValueError(msg)
    arrays = {name: found.read(f"array.{number}.{place}") for place, name in enumerate(entry["arrays"])}
    seen = {name: found.mapped(f"seen.{number}.{place}") for place, name in enumerate(entry["seen"])}
    units = ImageUnits.from_json(entry["units"])
    for name, array in seen.items():
        if array.shape != ((rows, *units.picture) if name == "pictures" else (rows,)):
            msg = (
                f"{name} of decoder {number} has the shape {array.shape}, not one entry for each of {rows} rows"
            )
            raise ValueError(msg)
    decoder = Decoder(
        **plain,
        units=units,
        architecture=dict(entry["architecture"]),
        arrays=arrays,
        training=dict(entry["training"]),
        seen=seen,
        scores=tuple(map(_score, entry["scores"])),
    )
    _check(decoder)
    return decoder


def _check(decoder: Decoder) -> None:
    """Refuse arrays that are not of the architecture; ValueError."""
    if decoder.method == "conv":
        built = Architecture.from_json(decoder.architecture)
        if built.picture != decoder.units.picture:
            msg = f"a decoder of pictures {built.picture} has units of {decoder.units.picture}"
            raise ValueError(msg)
        return
    width, values = int(np.prod(decoder.architecture["code"])), decoder.units.values
    shapes = {name: array.shape for name, array in decoder.arrays.items()}
    if shapes != {"weights": (width, values), "mean": (width,), "intercept": (values,)}:
        msg = f"the arrays of a linear decoder have the shapes {shapes}"
        raise ValueError(msg)


def _score(entry: Mapping[str, Any]) -> Score:
    return Score(**{each.name: entry[each.name] for each in fields(Score)})
