"""Tables with types of their own: Parquet and Feather, through pyarrow. Nothing in them is a Python object."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.formats.containers.extras import needed
from actstore.formats.containers.kinds import FEATHER
from actstore.formats.containers.looked_at import look_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LARGEST_RATIO = 1000
"""Of what a table declares to what its file has: a column of one value packs better, but then says nothing."""
SMALL_BYTES = 64 * 2**20
_KINDS = {FEATHER: "a Feather file", "parquet": "a Parquet file"}


@dataclass(frozen=True)
class ArrowTable:
    """The columns of a file, in memory once they are asked for.

    Args:
        shown: what messages call the file.
        table: of pyarrow.
    """

    shown: str
    table: Any
    _found: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The names of columns, in their order."""
        return list(self.table.column_names)

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.table.num_rows)

    def is_vector(self, name: str) -> bool:
        """Whether each row of a column is an array of numbers."""
        return _depth(self._type(name)) > 0 and _is_number(_leaf(self._type(name)))

    def is_number(self, name: str) -> bool:
        """Whether each row of a column is a number, or true or false."""
        return _is_number(self._type(name))

    def is_text(self, name: str) -> bool:
        """Whether each row of a column is text."""
        return str(_value_type(self._type(name))) in ("string", "large_string", "string_view")

    def cells(self, name: str) -> list[Any]:
        """(rows,) a column as Python's own values; None where a row lacks one.

        Raises:
            SourceError: it holds what is neither a number nor text.
        """
        if not (self.is_number(name) or self.is_text(name)):
            msg = f"{self.shown}: column {name!r} holds {self._type(name)}; expected numbers, true and false, or text"
            raise SourceError(msg)
        found: list[Any] = self.table.column(name).to_pylist()
        return found

    def numbers(self, name: str) -> np.ndarray:
        """(rows, ...) numbers of a column, with the axes that its lists have.

        Raises:
            SourceError: none, a row without a value, or rows of several lengths.
        """
        if not (self.is_number(name) or self.is_vector(name)):
            msg = (
                f"{self.shown}: column {name!r} holds {self._type(name)}; expected numbers or lists of numbers"
            )
            raise SourceError(msg)
        column = self.table.column(name)
        own = getattr(column.type, "shape", None)  # of a tensor in each row
        if own is not None and getattr(column.type, "permutation", None) not in (None, list(range(len(own)))):
            msg = (
                f"{self.shown}: column {name!r} has tensors whose axes are permuted; write them in their order"
            )
            raise SourceError(msg)
        values, shape = _unnested(column.combine_chunks(), self.rows, lambda what: self._fault(name, what))
        return values.reshape((self.rows, *(shape if own is None else own)))

    def _fault(self, name: str, what: str) -> SourceError:
        return SourceError(f"{self.shown}: column {name!r} {what}")

    def _type(self, name: str) -> Any:
        return self.table.schema.field(name).type


def read_arrow(path: Path, kind: str, shown: str) -> ArrowTable:
    """Return the table of a file.

    Raises:
        SourceError: pyarrow is not installed; a damaged file, or one that claims more than it can have.
    """
    arrow = needed("pyarrow", "files", shown, _KINDS[kind])
    look_at(path, kind, shown)
    try:
        table = read_whole(path, kind, shown)
    except (arrow.ArrowException, OSError, ValueError, KeyError, MemoryError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        msg = f"{shown} cannot be read as {_KINDS[kind]}: {reason}"
        raise SourceError(msg) from error
    if len(set(table.column_names)) < table.num_columns:
        twice = next(name for name in table.column_names if table.column_names.count(name) > 1)
        msg = f"{shown} has more than one column {twice!r}; give each a name of its own"
        raise SourceError(msg)
    if not table.num_rows:
        msg = f"{shown} has no rows"
        raise SourceError(msg)
    return ArrowTable(shown, table)


def read_whole(path: Path, kind: str, shown: str = "") -> Any:
    """Return a table of pyarrow, all of it in memory; what pyarrow raises goes through."""
    _check_declared(path, kind, shown)
    if kind == FEATHER:
        table = needed("pyarrow.feather", "files", shown, _KINDS[kind]).read_table(path, memory_map=False)
    else:
        parquet = needed("pyarrow.parquet", "files", shown, _KINDS[kind])
        table = parquet.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
    table.validate(full=True)
    return table


def index_columns(table: ArrowTable) -> Sequence[str]:
    """The columns that were the index of a pandas frame."""
    try:
        told = (table.table.schema.pandas_metadata or {}).get("index_columns", ())
    except (ValueError, AttributeError):  # notes of others, which say nothing that is needed
        return ()
    return [name for name in told if isinstance(name, str) and name in table.columns]


def _check_declared(path: Path, kind: str, shown: str) -> None:
    """Refuse, before memory is taken, columns of more bytes than the file could unpack to."""
    if kind == FEATHER:
        return  # pyarrow takes the memory of its buffers, whose lengths it compares with the file's
    parquet = needed("pyarrow.parquet", "files", shown, _KINDS[kind])
    metadata = parquet.ParquetFile(path).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    widths = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4}
    declared = sum(
        max(one.total_uncompressed_size, one.num_values * widths.get(one.physical_type, 8)) for one in columns
    )
    if declared > LARGEST_RATIO * path.stat().st_size + SMALL_BYTES:
        msg = f"it declares {declared:,} bytes in a file of {path.stat().st_size:,}; it is not read"
        raise ValueError(msg)


def _value_type(kind: Any) -> Any:
    """The type of the values that a dictionary of categories has; any other type itself."""
    return kind.value_type if str(kind).startswith("dictionary<") else kind


def _is_number(kind: Any) -> bool:
    name = str(_value_type(kind))
    return name in _NUMBERS


_NUMBERS = {
    *("bool", "halffloat", "float", "double"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


def _depth(kind: Any) -> int:
    kind = getattr(kind, "storage_type", kind)
    is_list = str(kind).startswith(("list<", "large_list<", "fixed_size_list<"))
    return 1 + _depth(kind.value_type) if is_list else 0


def _leaf(kind: Any) -> Any:
    kind = getattr(kind, "storage_type", kind)
    return _leaf(kind.value_type) if _depth(kind) else kind


def _unnested(array: Any, rows: int, fault: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """The numbers in lists of lists, and the length of the lists at each depth, which is one for all rows."""
    shape: list[int] = []
    array = getattr(array, "storage", array)
    while _depth(array.type):
        if array.null_count:
            raise fault(f"has no value in row {_first_null(array, rows):,}; leave such rows out")
        lengths = np.asarray(array.value_lengths())
        if len(lengths) and (lengths != lengths[0]).any():
            raise fault(
                f"has rows of several lengths ({lengths.min():,} to {lengths.max():,}); expected one length"
            )
        shape.append(int(lengths[0]) if len(lengths) else 0)
        array = array.flatten()
    if str(array.type).startswith("dictionary<"):
        array = array.dictionary_decode()
    if array.null_count:
        raise fault(f"has no value in row {_first_null(array, rows):,}; leave such rows out")
    values = array.to_numpy(zero_copy_only=False)
    if len(values) != rows * prod(shape):
        raise fault(f"has {len(values):,} numbers where {rows:,} rows of {shape} need others")
    return values, tuple(shape)


def _first_null(array: Any, rows: int) -> int:
    place = int(np.argmax(np.asarray(array.is_null())))
    return place // max(1, len(array) // max(1, rows))
