"""The header of a probe file: entries of probes and tables as JSON objects, and classes as they were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from solvers.errors import ProbeFileError
from solvers.probing.document.kind import PROBES
from solvers.probing.probe import Probe
from solvers.probing.records import (
    ProbeMap,
    Proof,
    Provenance,
    Scores,
    Where,
    from_json,
    text,
    to_json,
    whole,
)
from solvers.probing.row_table import RowTable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from solvers.arrays import Array
    from solvers.probing.document.kind import FileKind
    from solvers.probing.records import JSON

__all__ = [
    "FORMAT",
    "VERSION",
    "probe_entry",
    "probe_of",
    "read_header",
    "table_entry",
    "table_of",
    "without",
]

Value = TypeVar("Value")

FORMAT, VERSION = PROBES.format, PROBES.version
RECORDS = {"where": Where, "proof": Proof, "scores": Scores, "provenance": Provenance}
MAP_ARRAYS = ("weights", "intercept", "mean", "scale", "columns")
_NUMBERS = {
    np.dtype(code).name: np.dtype(code)
    for code in ("?", "i1", "u1", "i2", "u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
}
"""Types of classes that JSON holds exactly, by name; beside ``text`` and ``bytes``."""
_DEEPEST = 64
"""Levels of objects and lists in the header."""
_MOST_CLASS_BYTES = 1 << 28
"""What the classes of one probe may take: each takes as much as the longest, so a little JSON can ask for a lot."""


def read_header(path: Path, content: bytes, kind: FileKind = PROBES) -> JSON:
    """Return the header of a file of a kind, a probe file if not said, that can be read here.

    Raises:
        ProbeFileError: it is no JSON, of something else, or of a version that is not read here.
    """
    try:
        header = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        msg = f"{path} is damaged: its header is not JSON ({error}); {kind.again}"
        raise ProbeFileError(msg) from error
    if _deeper_than(header, _DEEPEST):
        msg = f"{path} is damaged: its header is nested more than {_DEEPEST} levels deep; {kind.again}"
        raise ProbeFileError(msg)
    if not isinstance(header, dict) or header.get("format") != kind.format:
        msg = f"{path} is not a {kind.name}: its header does not say `{kind.format}`; give a file of `{kind.made_by}`"
        raise ProbeFileError(msg)
    version = header.get("version")
    if version != kind.version:
        newer = _as_pair(version) > _as_pair(kind.version)
        advice = "update actstore" if newer else f"{kind.again}, or use the actstore that wrote it"
        msg = f"{path} is a {kind.name} of version {version}; this reads {kind.version}: {advice}"
        raise ProbeFileError(msg)
    return header


def without(found: Mapping[str, Value], known: Collection[str]) -> dict[str, Value]:
    """Return what is there besides the names that are known: it is kept, and written again."""
    return {name: value for name, value in found.items() if name not in known}


def _deeper_than(value: object, levels: int) -> bool:
    """Whether JSON is nested deeper: what recurses over it later is as good as what reads it."""
    level = [value]
    for _ in range(levels):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in level)


def _once(pairs: list[tuple[str, Any]]) -> JSON:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a key stands twice in one object"
        raise ValueError(msg)
    return found


def _as_pair(version: object) -> tuple[int, int]:
    """A version to compare: ``"1.10"`` is (1, 10), and comes after ``"1.9"``; what is no version, before all."""
    major, _, minor = str(version).partition(".")
    digits = all(part.isascii() and part.isdigit() and len(part) < 10 for part in (major, minor or "0"))
    return (int(major), int(minor or "0")) if digits else (-1, 0)


def probe_entry(probe: Probe) -> JSON:
    """Return the entry of a probe: all but its arrays.

    Raises:
        ProbeFileError: classes of a type that the file cannot hold.
        TypeError, ValueError: a value that its record does not allow.
    """
    of_map = dict(probe.map.extra) | {"scaled": bool(probe.map.scaled)}
    if probe.map.classes is not None:
        of_map["classes"] = _classes_entry(probe.map.classes)
    records = {name: to_json(getattr(probe, name)) for name in RECORDS}
    return {**probe.extra, **records, "map": of_map, "metrics": dict(probe.metrics)}


def probe_of(entry: JSON, arrays: Mapping[str, Array]) -> Probe:
    """Return the probe of an entry and its arrays, by name; those that are not known go with it.

    Raises:
        KeyError, TypeError, ValueError: the entry and the arrays do not describe a probe.
    """
    records: dict[str, Any] = {name: from_json(kind, entry[name]) for name, kind in RECORDS.items()}
    where = records["where"]
    if not where.layers or min(where.shape, default=0) < 0:
        msg = f"where: layers {where.layers}, shape {where.shape}"
        raise ValueError(msg)
    of_map = dict(entry["map"])
    scaled = of_map.pop("scaled")
    classes = _classes_of(of_map.pop("classes")) if "classes" in of_map else None
    if not isinstance(scaled, bool) or not isinstance(entry["metrics"], dict):
        msg = "map.scaled is no flag, or metrics are no object"
        raise TypeError(msg)
    found = ProbeMap(
        **{name: arrays[name] for name in MAP_ARRAYS if name != "columns"},
        columns=arrays.get("columns"),
        classes=classes,
        scaled=scaled,
        extra=of_map,
        arrays=without(arrays, MAP_ARRAYS),
    )
    known = {*RECORDS, "map", "metrics"}
    extra = without(entry, known)
    return Probe(**records, map=found, metrics=entry["metrics"], extra=extra)


def table_entry(table: RowTable) -> JSON:
    """Return the entry of a table of rows: all but its arrays."""
    fold = None if table.fold is None else whole(table.fold)
    entry = {**table.extra, "target": text(table.target), "split": text(table.split), "fold": fold}
    return (
        entry if table.classes is None else entry | {"classes": _classes_entry(table.classes, ascending=False)}
    )


def table_of(entry: JSON, arrays: Mapping[str, Array]) -> RowTable:
    """Return the table of an entry and its arrays.

    Raises:
        KeyError, TypeError, ValueError: they do not describe a table.
    """
    known = {"target", "split", "fold", "classes"}
    fold = entry.get("fold")
    return RowTable(
        text(entry["target"]),
        text(entry["split"]),
        arrays,
        None if fold is None else whole(fold),
        _classes_of(entry["classes"], ascending=False) if "classes" in entry else None,
        without(entry, known),
    )


def _classes_entry(classes: Array, ascending: bool = True) -> JSON:
    """Classes as JSON holds them exactly."""
    kind = {"U": "text", "S": "bytes"}.get(classes.dtype.kind, classes.dtype.newbyteorder("<").name)
    if kind not in {"text", "bytes", *_NUMBERS}:
        msg = f"classes of type {classes.dtype} cannot be saved; label with ints, floats, bools or strings"
        raise ProbeFileError(msg)
    values = np.char.decode(classes, "latin-1") if kind == "bytes" else classes
    entry = {"type": kind, "values": values.tolist()}
    _classes_of(entry, ascending)
    return entry


def _classes_of(found: Any, ascending: bool = True) -> Array:
    """The classes of an entry; refused where they are not, to the bit, what the entry says."""
    kind, values = found["type"], found["values"]
    if not isinstance(values, list) or not isinstance(kind, str):
        msg = "classes are no list of values of one type"
        raise TypeError(msg)
    classes = _numbers_of(kind, values) if kind in _NUMBERS else _texts_of(kind, values)
    if classes is None or classes.ndim != 1:
        msg = f"classes are not of type {kind}"
        raise ValueError(msg)
    if ascending and not bool(np.all(classes[1:] > classes[:-1])):
        msg = "classes are not in ascending order"
        raise ValueError(msg)
    return classes


def _numbers_of(kind: str, values: list[Any]) -> Array | None:
    """Classes of a type of numbers; None where it does not hold the values exactly."""
    dtype = _NUMBERS[kind]
    json_type = {"b": bool, "f": float}.get(dtype.kind, int)
    if not all(type(each) is json_type for each in values):
        return None
    with np.errstate(over="ignore"):  # what is too large is infinite then, and not what the file says
        classes = np.array(values, dtype)
    return classes if classes.tolist() == values else None


def _texts_of(kind: str, values: list[Any]) -> Array | None:
    """Classes that are text, or bytes; None where they are not these values exactly, or ``kind`` is neither."""
    if kind not in ("text", "bytes"):
        return None
    if 4 * len(values) * max((len(text(each)) for each in values), default=0) > _MOST_CLASS_BYTES:
        msg = (
            f"{len(values):,} classes, each as long as the longest, take more than {_MOST_CLASS_BYTES:,} bytes"
        )
        raise ValueError(msg)
    texts = np.array([text(each) for each in values], dtype=np.str_)
    classes = np.char.encode(texts, "latin-1") if kind == "bytes" else texts
    return classes if texts.tolist() == values else None
