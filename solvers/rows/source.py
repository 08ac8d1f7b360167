"""What a solver reads: rows of activations, from an array, a layer of a store, or whatever slices as they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np

from solvers.errors import ProblemError
from solvers.given import not_numbers, on_the_host, unmasked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array

__all__ = ["RowSource", "as_layers", "as_source", "at_hand", "blocks", "flat_width", "read", "take"]

_GAP_ROWS = 64
"""Rows closer together than this are read in one slice by :func:`take`."""
RUN_ELEMENTS = 1 << 20
"""What such a slice may hold."""
_FEW_BYTES = 128 << 20
"""Rows that take no more are read once."""


@runtime_checkable
class RowSource(Protocol):
    """Rows of one layer: a store's layer, a NumPy array, a memory map, an h5py dataset or anything alike.

    The same bits on every read; concurrent reads are safe. ``shape`` is ``(rows, *features)``; a
    solver flattens the features in C order. ``take(ascending_rows)`` is used where there is one.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, *features)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the entries as delivered."""
        ...

    def __getitem__(self, rows: slice, /) -> Any: ...


def as_source(activations: RowSource | ArrayLike) -> RowSource:
    """Return activations as a :class:`RowSource` of at least two axes.

    Args:
        activations: a row source as it is, or anything NumPy makes an array of.

    Raises:
        ProblemError: fewer than two axes, no features, entries which are masked or no real numbers, a sparse matrix,
            or rows on a GPU.
    """
    given: Any = activations
    if isinstance(given, Mapping):
        msg = (
            "activations are a mapping of layers by name; expected rows of one: solvers.fit_layers fits several"
        )
        raise ProblemError(msg)
    given = activations = unmasked(on_the_host(given, "activations"), "the activations")
    if not isinstance(getattr(activations, "dtype", None), np.dtype) or not hasattr(activations, "shape"):
        try:
            activations = np.asarray(activations)
        except ValueError as error:  # of rows that differ in length
            msg = (
                f"activations are a {type(activations).__name__} of parts that differ in length; expected (rows, "
                "features): several layers go to solvers.fit_layers by name, {'fc1': rows, 'fc2': rows}"
            )
            raise ProblemError(msg) from error
    source = cast("RowSource", activations)
    if len(source.shape) < 2 or flat_width(source) == 0:
        msg = (
            f"activations have shape {tuple(source.shape)}; expected (rows, features), "
            "at least one feature, a single one as (rows, 1)"
        )
        raise ProblemError(msg)
    if source.dtype.kind not in "biuf":
        columns = not_numbers(given)
        what, advice = (
            (f", because of {columns}", "leave that out, or convert it") if columns else ("", "convert them")
        )
        msg = f"activations have dtype {source.dtype}{what}; expected real numbers: {advice} to float32"
        raise ProblemError(msg)
    return source


def as_layers(layers: Any) -> Mapping[str, RowSource | ArrayLike]:
    """Return layers by name: a mapping as it is, an array or a row source as one layer, ``layer`` unless it has a name.

    Raises:
        ProblemError: something else; a list of arrays has no names.
    """
    if isinstance(layers, Mapping) or (
        hasattr(layers, "keys") and hasattr(layers, "items") and not _rows(layers)
    ):
        return cast("Mapping[str, RowSource | ArrayLike]", layers)
    if _rows(layers):
        name = getattr(layers, "name", None)
        return {name if isinstance(name, str) and name else "layer": layers}
    msg = (
        f"layers are a {type(layers).__name__}{_shape_said(layers)}; expected rows by name, such as {{'fc1': rows}} "
        "or store.layers, or one array (rows, features)"
    )
    raise ProblemError(msg)


def _shape_said(value: Any) -> str:
    return f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""


def _rows(layers: Any) -> bool:
    """Whether something has the shape of rows."""
    return len(getattr(layers, "shape", ())) > 1


def flat_width(source: RowSource) -> int:
    """Number of features of one row, flattened."""
    return int(np.prod(source.shape[1:], dtype=np.int64))


def read(source: RowSource, rows: slice) -> Array:
    """Read a slice of rows as a host array (rows, width), features flattened in C order.

    By ``read_into`` where the source has it: a slice may be a view of a file, which stays mapped, so that the memory
    of a process that streams would grow to all of the rows.
    """
    if hasattr(source, "read_into"):
        start, stop, _ = rows.indices(source.shape[0])
        block = np.empty((stop - start, *source.shape[1:]), source.dtype)
        source.read_into(slice(start, stop), block)
    else:
        block = np.asarray(unmasked(source[rows], "the activations"))
    return block.reshape(len(block), -1) if block.size else block.reshape(len(block), flat_width(source))


def at_hand(source: RowSource, memory_bytes: int) -> RowSource:
    """Return a source of few bytes as an array in memory, which takes no time to read again; others as they are.

    Few is no more than a sixteenth of ``memory_bytes``, too.
    """
    most = min(_FEW_BYTES, memory_bytes // 16)
    few = int(np.prod(source.shape, dtype=np.int64)) * source.dtype.itemsize <= most
    # A copy, as what is read may be a view of a file.
    return (
        np.array(read(source, slice(0, source.shape[0]))) if few and type(source) is not np.ndarray else source
    )


def take(source: RowSource, rows: NDArray[np.int64]) -> Array:
    """Read rows by number, in the order given, as a host array (rows, width).

    A source without ``take`` is read in slices that cover runs of neighbouring rows.
    """
    if isinstance(source, np.ndarray):
        return np.asarray(unmasked(source[rows], "the activations")).reshape(len(rows), flat_width(source))
    ascending, place = np.unique(rows, return_inverse=True)
    if hasattr(source, "take"):
        picked = np.asarray(unmasked(source.take(ascending), "the activations")).reshape(
            len(ascending), flat_width(source)
        )
    else:
        picked = np.empty((len(ascending), flat_width(source)), source.dtype)
        block = ascending // max(_GAP_ROWS, RUN_ELEMENTS // flat_width(source))
        runs = np.flatnonzero((np.diff(ascending) > _GAP_ROWS) | (np.diff(block) > 0)) + 1
        for run in np.split(np.arange(len(ascending)), runs):
            wanted = ascending[run]
            if len(wanted):
                picked[run] = read(source, slice(wanted[0], wanted[-1] + 1))[wanted - wanted[0]]
    return picked if np.array_equal(place, np.arange(len(rows))) else picked[place]


def blocks(source: RowSource, block_rows: int) -> Iterator[tuple[slice, Array]]:
    """Read a source in order: (rows, block) with at most ``block_rows`` rows each."""
    rows = source.shape[0]
    for start in range(0, rows, block_rows):
        part = slice(start, min(start + block_rows, rows))
        yield part, read(source, part)
