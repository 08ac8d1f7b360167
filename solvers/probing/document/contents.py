"""What a probe file holds: probes and tables of rows as a header and named arrays, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from solvers.errors import ProbeFileError
from solvers.probing.document.header import (
    FORMAT,
    MAP_ARRAYS,
    VERSION,
    probe_entry,
    probe_of,
    table_entry,
    table_of,
    without,
)
from solvers.probing.probes import Probes
from solvers.probing.records import text
from solvers.probing.row_table import Beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.probing.probe import Probe
    from solvers.probing.records import JSON
    from solvers.probing.row_table import RowTable, TableKey

__all__ = ["KEPT", "Arrays", "known_type", "pack", "short", "unpack"]

TABLE = "rows"
_TYPES = {"header": "u1", "weights": "<f8", "intercept": "<f8", "mean": "<f8", "scale": "<f8", "columns": "<i8"}
_TYPES |= {"logits": "<f4", "nats": "<f4", "confidence": "<f4"}
_TYPES |= {f"{TABLE}.index": "<i8", f"{TABLE}.group": "<i8", f"{TABLE}.id": "<u8"}
KEPT = tuple(
    np.dtype(code) for code in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
)
"""Types that an array of the file may have."""


class Arrays(Protocol):
    """The arrays of a file, by name."""

    def names(self) -> Iterable[str]:
        """Those there are."""
        ...

    def read(self, name: str) -> Array:
        """One of them, in memory."""
        ...

    def mapped(self, name: str) -> Array:
        """One of them, that stays on the disk."""
        ...


def known_type(name: str) -> np.dtype[Any] | None:
    """Return the type that an array of this name must have; None where it may be any of ``KEPT``."""
    known = _TYPES.get(name.rstrip("0123456789."))
    return None if known is None else np.dtype(known)


def short(error: BaseException) -> str:
    """Return an error as a few words, on one line."""
    shown = " ".join(repr(error).split())
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


def pack(probes: Probes) -> tuple[NDArray[np.uint8], dict[str, Array]]:
    """Return the bytes of the header, and the arrays by the names of their datasets.

    Raises:
        ProbeFileError: the probes hold what a file cannot.
    """
    beside = probes.beside
    arrays = dict(beside.arrays)
    entries = []
    numbers = {table.key: number for number, table in enumerate(beside.tables)}
    try:
        for number, probe in enumerate(probes.values()):
            _check_map(number, probe)
            entries.append(probe_entry(probe))
            arrays |= _arrays_of(number, probe, numbers)
        for number, table in enumerate(beside.tables):
            arrays |= {f"{TABLE}.{name}.{number}": array for name, array in table.arrays.items()}
        tables = [table_entry(table) for table in beside.tables]
        header = {**beside.extra, "format": FORMAT, "version": VERSION, "failures": probes.failures}
        arrays = {name: _plain(name, array) for name, array in arrays.items()}
        content = json.dumps({**header, "probes": entries, "tables": tables}).encode()
    except (TypeError, ValueError, OverflowError, KeyError) as error:
        msg = f"these probes cannot be saved ({short(error)}); every field must be what solvers.probing.records says"
        raise ProbeFileError(msg) from error
    return np.frombuffer(content, dtype=np.uint8), arrays


def _arrays_of(number: int, probe: Probe, tables: Mapping[Any, int]) -> dict[str, Array]:
    known = {name: getattr(probe.map, name) for name in MAP_ARRAYS if getattr(probe.map, name) is not None}
    named = {f"{name}.{number}": array for name, array in {**probe.map.arrays, **known}.items()}
    for key, arrays in probe.predictions.items():
        if key not in tables:
            msg = f"the probe {probe.key} has predictions of the rows {key}, of which there is no table"
            raise ValueError(msg)
        named |= {f"{name}.{number}.{tables[key]}": array for name, array in arrays.items()}
    return named


def _plain(name: str, array: Array) -> Array:
    """An array of a type that a dataset may have."""
    array = np.asarray(array, dtype=known_type(name))
    if array.dtype.newbyteorder("<") not in KEPT:
        msg = f"the array {name} of type {array.dtype} cannot be saved; expected whole numbers or floats"
        raise ProbeFileError(msg)
    return array


def unpack(found: Arrays, header: JSON) -> Probes:
    """Return the probes that a header describes.

    Raises:
        ProblemError, KeyError, TypeError, ValueError, OverflowError: it describes none.
    """
    entries, tables = header["probes"], header.get("tables", [])
    if (
        not isinstance(entries, list)
        or not isinstance(tables, list)
        or not isinstance(header["failures"], dict)
    ):
        msg = "probes and tables are lists, failures an object"
        raise TypeError(msg)
    failures = {text(layer): text(reason) for layer, reason in header["failures"].items()}
    owned = _owned(found, len(entries), len(tables))
    rows = _tables(found, tables, owned)
    probes = [_probe(found, number, entry, owned, rows) for number, entry in enumerate(entries)]
    known = {"format", "version", "failures", "probes", "tables"}
    beside = Beside(
        rows,
        without(header, known),
        {name: found.read(name) for name in owned.get((), ())},
    )
    return Probes(probes, failures, beside=beside)


def _owned(found: Arrays, probes: int, tables: int) -> dict[tuple[Any, ...], list[str]]:
    """The datasets of each owner: () the file, (TABLE, T) a table, (N,) a probe, (N, T) its predictions."""
    owned: dict[tuple[Any, ...], list[str]] = {}
    for name in found.names():
        base, numbers = split_name(name)
        if base.startswith(f"{TABLE}."):
            fits = len(numbers) == 1 and numbers[0] < tables
            owned.setdefault((TABLE, *numbers), []).append(name)
        else:
            fits = all(number < most for number, most in zip(numbers, (probes, tables), strict=False))
            owned.setdefault(numbers, []).append(name)
        if not fits:
            msg = f"the dataset `{name}` belongs to no entry"
            raise ValueError(msg)
    return owned


def split_name(name: str) -> tuple[str, tuple[int, ...]]:
    """A dataset's name without the numbers that it ends in, and these, at most two."""
    parts = name.split(".")
    count = 0
    while count < min(2, len(parts) - 1) and parts[-1 - count].isascii() and parts[-1 - count].isdigit():
        count += 1
    numbers = parts[len(parts) - count :]
    if any(len(number) > 9 or str(int(number)) != number for number in numbers):
        msg = f"the dataset `{name}` is numbered in another way than 0, 1, 2"
        raise ValueError(msg)
    return ".".join(parts[: len(parts) - count]), tuple(map(int, numbers))


def _tables(
    found: Arrays, entries: list[Any], owned: Mapping[tuple[Any, ...], list[str]]
) -> tuple[RowTable, ...]:
    tables = tuple(_table(found, number, entry, owned) for number, entry in enumerate(entries))
    if len({table.key for table in tables}) < len(tables):
        msg = "two tables are of one target, split and fold"
        raise ValueError(msg)
    return tables


def _table(found: Arrays, number: int, entry: Any, owned: Mapping[tuple[Any, ...], list[str]]) -> RowTable:
    names = owned.get((TABLE, number), [])
    arrays = {split_name(name)[0].removeprefix(f"{TABLE}."): found.mapped(name) for name in names}
    table = table_of(entry, arrays)
    rows = arrays["index"].shape
    for name, array in arrays.items():
        if array.shape[:1] != rows or (name in ("index", "group", "id") and array.shape != rows):
            msg = f"{TABLE}.{name}.{number} has the shape {array.shape}, not {rows}"
            raise ValueError(msg)
    return table


def _probe(
    found: Arrays,
    number: int,
    entry: Any,
    owned: Mapping[tuple[Any, ...], list[str]],
    tables: tuple[RowTable, ...],
) -> Probe:
    """One probe from its entry in the header and its arrays."""
    names = {split_name(name)[0]: name for name in owned.get((number,), [])}
    for name in MAP_ARRAYS:
        if name not in names and name != "columns":
            msg = f"the dataset `{name}.{number}` is missing"
            raise ValueError(msg)
    probe = probe_of(entry, {name: found.read(dataset) for name, dataset in names.items()})
    _check_map(number, probe)
    predictions = _predictions(found, number, probe, owned, tables)
    return replace(probe, predictions=predictions) if predictions else probe


def _predictions(
    found: Arrays,
    number: int,
    probe: Probe,
    owned: Mapping[tuple[Any, ...], list[str]],
    tables: tuple[RowTable, ...],
) -> dict[TableKey, dict[str, Array]]:
    """Return what a probe says of the rows of each table, by the names of the arrays."""
    predictions: dict[TableKey, dict[str, Array]] = {}
    for of_table, table in enumerate(tables):
        for name in owned.get((number, of_table), []):
            array = found.mapped(name)
            if table.target != probe.target or array.shape[:1] != (len(table),):
                msg = f"{name} is not of the rows of table {of_table}"
                raise ValueError(msg)
            predictions.setdefault(table.key, {})[split_name(name)[0]] = array
    return predictions


def _check_map(number: int, probe: Probe) -> None:
    """Refuse a map that does not act on the rows of its shape; ValueError."""
    width, outputs = probe.width, len(probe.intercept) if probe.classes is None else len(probe.classes)
    expected = {"weights": (width, outputs), "intercept": (outputs,), "mean": (width,), "scale": (width,)}
    for name, shape in expected.items():
        if np.shape(getattr(probe.map, name)) != shape:
            msg = f"{name}.{number} has the shape {np.shape(getattr(probe.map, name))}, not {shape}"
            raise ValueError(msg)
    columns = probe.columns
    if columns is not None:
        inside = not len(columns) or (columns[0] >= 0 and columns[-1] < width)
        if columns.ndim != 1 or not inside or not bool(np.all(np.diff(columns) > 0)):
            msg = f"columns.{number} is not ascending from 0 to {width - 1}"
            raise ValueError(msg)
