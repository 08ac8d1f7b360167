"""Rows of activations: what a solver reads, and small wrappers around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np

from solvers.errors import ProblemError
from solvers.given import not_numbers, on_the_host, unmasked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array

__all__ = [
    "Columns",
    "Concat",
    "ConcatFeatures",
    "ConcatRows",
    "Project",
    "RowSource",
    "Rows",
    "as_layers",
    "as_source",
    "at_full_width",
    "blocks",
    "draw_columns",
    "draw_matrix",
    "flat_width",
    "read",
    "take",
]

_GAP_ROWS = 64
"""Rows closer together than this are read in one slice by :func:`take`."""
RUN_ELEMENTS = 1 << 20
"""What such a slice may hold."""


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


class Rows:
    """Some rows of a source, by number, in the order given."""

    def __init__(self, source: RowSource, rows: ArrayLike) -> None:
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers)
        self.source = source
        self.rows = numbers.astype(np.int64)
        self.dtype = source.dtype
        self.shape = (len(self.rows), *source.shape[1:])

    def __getitem__(self, rows: slice) -> Array:
        wanted = self.rows[rows]
        contiguous = len(wanted) and wanted[-1] - wanted[0] == len(wanted) - 1 and np.all(np.diff(wanted) == 1)
        if contiguous:
            picked = read(self.source, slice(int(wanted[0]), int(wanted[-1]) + 1))
        else:
            picked = take(self.source, wanted)
        return picked.reshape(len(wanted), *self.shape[1:])

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by their number in this selection."""
        return take(self.source, self.rows[rows]).reshape(len(rows), *self.shape[1:])


class Columns:
    """Some columns of a source whose features are flattened: a seeded subset, a slice, an attention head.

    Neighbouring columns are a view of the rows read; others are copied.
    """

    def __init__(self, source: RowSource, columns: Sequence[int] | NDArray[np.int64]) -> None:
        self.source = source
        self.columns = np.asarray(columns, dtype=np.int64)
        self.dtype = source.dtype
        self.shape = (source.shape[0], len(self.columns))
        neighbours = len(self.columns) > 0 and bool(np.all(np.diff(self.columns) == 1)) and self.columns[0] >= 0
        self._picked = slice(self.columns[0], self.columns[-1] + 1) if neighbours else self.columns

    def __getitem__(self, rows: slice) -> Array:
        return read(self.source, rows)[:, self._picked]

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by number, these columns only."""
        return take(self.source, rows)[:, self._picked]


class Project:
    """The rows of a source, features flattened, times a matrix (width, columns): float64."""

    def __init__(self, source: RowSource, matrix: NDArray[np.float64]) -> None:
        self.source, self.matrix = source, matrix
        self.dtype = np.dtype(np.float64)
        self.shape = (source.shape[0], matrix.shape[1])

    def __getitem__(self, rows: slice) -> Array:
        return self._projected(read(self.source, rows))

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by number, in the order given."""
        return self._projected(take(self.source, rows))

    def _projected(self, block: Array) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities go through, and are counted
            return np.asarray(block, np.float64) @ self.matrix


def draw_matrix(width: int, count: int | None, seed: int | Sequence[int]) -> NDArray[np.float64] | None:
    """Return a matrix (width, count) of normal numbers of variance 1/count; None where that is all columns or more.

    Raises:
        ProblemError: a count below 1.
    """
    if count is None or count >= width:
        return None
    if count < 1:
        msg = f"random_projection is {count}; expected at least 1 of the {width:,} columns"
        raise ProblemError(msg)
    return np.random.default_rng(seed).normal(scale=count**-0.5, size=(width, count))


def draw_columns(width: int, count: int | None, seed: int | Sequence[int]) -> NDArray[np.int64] | None:
    """Numbers of ``count`` columns drawn without replacement, ascending; None where that is all of them.

    Raises:
        ProblemError: a count below 1.
    """
    if count is None or count >= width:
        return None
    if count < 1:
        msg = f"feature_subset is {count}; expected at least 1 of the {width:,} columns"
        raise ProblemError(msg)
    return np.sort(np.random.default_rng(seed).choice(width, count, replace=False))


def at_full_width(
    values: NDArray[np.float64], columns: NDArray[np.int64] | None, width: int, elsewhere: float
) -> NDArray[np.float64]:
    """Return values per column that is looked at (columns, ...) as values per feature (width, ...); None for all."""
    if columns is None:
        return values
    full = np.full((width, *values.shape[1:]), elsewhere)
    full[columns] = values
    return full


class ConcatFeatures:
    """The features of several sources of the same rows, side by side: (rows, width of the first + of the second + ...).

    Args:
        sources: whose features are flattened, each by itself.
        names: what the sources are called, for probes that are fitted on them; none where they have no names.

    Raises:
        ProblemError: when there is none, or their rows are not as many.
    """

    def __init__(self, *sources: RowSource | ArrayLike, names: Sequence[str] = ()) -> None:
        self.sources = [as_source(source) for source in sources]
        counts = [source.shape[0] for source in self.sources]
        if len(set(counts)) != 1:
            listed = ", ".join(f"{count:,}" for count in counts) or "none"
            msg = f"sources of {listed} rows cannot be set side by side; expected the same rows in each, in one order"
            raise ProblemError(msg)
        self.names = tuple(names)
        self.dtype = np.result_type(*(source.dtype for source in self.sources))
        self.shape = (counts[0], sum(flat_width(source) for source in self.sources))

    def __getitem__(self, rows: slice) -> Array:
        return self._beside([read(source, rows) for source in self.sources])

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by number, in the order given."""
        return self._beside([take(source, rows) for source in self.sources])

    def _beside(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=1).astype(self.dtype, copy=False)


class ConcatRows:
    """The rows of several sources, one after another.

    Raises:
        ProblemError: when their rows have different shapes.
    """

    def __init__(self, *sources: RowSource) -> None:
        shapes = {tuple(source.shape[1:]) for source in sources}
        if len(shapes) != 1:
            msg = f"rows of shapes {sorted(shapes)} cannot be joined; expected one shape of a row"
            raise ProblemError(msg)
        self.sources = sources
        self.starts = np.cumsum([0, *(source.shape[0] for source in sources)])
        self.dtype = np.result_type(*(source.dtype for source in sources))
        self.shape = (int(self.starts[-1]), *sources[0].shape[1:])

    def __getitem__(self, rows: slice) -> Array:
        first, last, step = rows.indices(self.shape[0])
        if step != 1:
            return self.take(np.arange(first, last, step))
        parts = [
            read(source, slice(max(0, first - start), min(source.shape[0], last - start)))
            for source, start in zip(self.sources, self.starts, strict=False)
            if start < last and first < start + source.shape[0]
        ]
        joined = np.concatenate(parts) if parts else np.empty(0)
        return joined.reshape(-1, *self.shape[1:]).astype(self.dtype, copy=False)

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Rows by number, in the order given."""
        picked = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for source, start in zip(self.sources, self.starts, strict=False):
            here = np.flatnonzero((start <= rows) & (rows < start + source.shape[0]))
            picked[here] = take(source, rows[here] - start).reshape(len(here), *self.shape[1:])
        return picked


Concat = ConcatRows
"""What joins rows was called so before features could be joined, too."""
