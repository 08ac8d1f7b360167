"""What users give in place of a NumPy array: tensors, masked arrays, sparse matrices, what pandas has.

Taken where the numbers stay what they are, refused in one line where they would not. A torch tensor is known by its
manners: torch is not imported; nor is pandas, whose objects have an index and ``iloc``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "by_position",
    "not_numbers",
    "numbers",
    "on_the_host",
    "refuse_index",
    "refuse_other_rows",
    "unmasked",
]


def on_the_host(values: Any, what: str) -> Any:
    """Return values as they are, but a torch tensor as a NumPy array of the same numbers (bfloat16 as float32).

    Raises:
        ProblemError: values on a GPU, or in a sparse matrix; ``what`` is what they are called there.
    """
    tensor = hasattr(values, "detach") and hasattr(values, "numpy")
    _refuse_on_a_gpu(values, what, tensor)
    _refuse_sparse(values, what, tensor)
    if not tensor:
        return values
    plain = values.detach()
    return (plain.float() if str(plain.dtype) == "torch.bfloat16" else plain).numpy()


def _refuse_on_a_gpu(values: Any, what: str, tensor: bool) -> None:
    if tensor and str(values.device) != "cpu":
        msg = f"{what} lie on {values.device}; expected them on the host: give x.cpu() of torch"
        raise ProblemError(msg)
    if not tensor and hasattr(values, "__cuda_array_interface__"):
        msg = f"{what} lie on a GPU; expected rows on the host: give x.get() of CuPy, or x.cpu() of torch"
        raise ProblemError(msg)


def _refuse_sparse(values: Any, what: str, tensor: bool) -> None:
    if hasattr(values, "toarray") or (tensor and str(values.layout) != "torch.strided"):
        dense = "x.to_dense()" if tensor else "x.toarray()"
        msg = f"{what} are a sparse {type(values).__name__}; expected dense rows: give {dense}, or a row source of it"
        raise ProblemError(msg)


def unmasked(values: Any, what: str) -> Any:
    """Return values without a mask, where a masked array masks nothing.

    Raises:
        ProblemError: entries are masked: what lies under a mask is no number to learn from.
    """
    if not isinstance(values, np.ma.MaskedArray):
        return values
    masked = int(np.ma.count_masked(values))
    if masked:
        msg = f"{masked:,} entries of {what} are masked, so they have no value; leave those rows out, or fill them in"
        raise ProblemError(msg)
    return values.data


def numbers(sample_weight: Any) -> NDArray[np.float64]:
    """Return sample weights in float64.

    Raises:
        ProblemError: they are masked, or no numbers.
    """
    given = unmasked(on_the_host(sample_weight, "sample weights"), "the sample weights")
    try:
        if np.asarray(given).dtype.kind in "cMm":  # NumPy would drop a part of them, or count days
            msg = f"they are of type {np.asarray(given).dtype}"
            raise TypeError(msg)
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"sample weights are no numbers ({error}); expected one weight of 0 or more per row"
        raise ProblemError(msg) from None


def refuse_index(values: Any, what: str) -> None:
    """Refuse a pandas object whose index is not 0, 1, 2, ... in order: rows are taken by position here.

    Raises:
        ProblemError: with what the index begins with.
    """
    index = _index(values)
    if index is None:
        return
    found = np.asarray(index)
    if not (found.dtype.kind in "iu" and np.array_equal(found, np.arange(len(found)))):
        begins = f" (it begins with {found.tolist()[0]!r})" if len(found) else ""
        msg = (
            f"{what} are a pandas {type(values).__name__} whose index is not 0, 1, 2, ... in order{begins}, so it "
            "is no telling which rows they are of; put them in the order of the rows and give .to_numpy()"
        )
        raise ProblemError(msg)


def refuse_other_rows(rows: Any, others: Mapping[str, Any]) -> None:
    """Refuse what is given by row where its index says that it is of other rows, or of the rows in another order.

    Where the activations have an index, it must be theirs; where they have none, 0, 1, 2, ... in order. Another number
    of rows is for others to refuse.

    Args:
        rows: the activations.
        others: labels and the like by what they are called; what has no index goes by position.

    Raises:
        ProblemError: with the first row where they differ.
    """
    for what, values in others.items():
        if _index(rows) is None:
            refuse_index(values, what)
        else:
            _refuse_another_index(rows, values, what)


def _refuse_another_index(rows: Any, values: Any, what: str) -> None:
    """Refuse values whose index differs from that of the activations, where both have one.

    Raises:
        ProblemError: with the first row where they differ.
    """
    index, other = _index(rows), _index(values)
    if index is None or other is None or len(index) != len(other) or index.equals(other):
        return
    pairs = zip(index.tolist(), other.tolist(), strict=True)
    differing = ((n, pair) for n, pair in enumerate(pairs) if repr(pair[0]) != repr(pair[1]))  # NaN is NaN here
    row, (here, there) = next(differing, (0, (None, None)))
    if (here, there) == (None, None):
        return
    msg = (
        f"the index of {what} is not that of the activations: row {row} is {here!r} there and {there!r} here; put "
        "both in one order, y = y.loc[X.index], or give .to_numpy() where the order is right as it is"
    )
    raise ProblemError(msg)


def by_position(values: Any) -> Any:
    """Return a pandas object as its array, once its index is found to be right; anything else as it is.

    Whole numbers beside NA stay whole, as objects: NumPy would make floats of them, which run together.
    """
    of_pandas = hasattr(values, "isna") and not isinstance(getattr(values, "dtype", np.dtype(object)), np.dtype)
    if of_pandas and values.isna().any():
        return np.asarray(values.astype(object))
    return np.asarray(values) if of_pandas or _index(values) is not None else values


def not_numbers(table: Any, shown: int = 3) -> str:
    """Return, for a message, which columns of a pandas table are no real numbers; "" for what is no such table."""
    if not hasattr(table, "iloc") or not hasattr(table, "columns"):
        return ""
    columns = [(name, table.iloc[:, place]) for place, name in enumerate(table.columns)]
    strange = [(name, column) for name, column in columns if not _is_of_numbers(column)]
    named = [
        f"{name!r} ({column.dtype}{' with missing values' if column.isna().any() else ''})"
        for name, column in strange[:shown]
    ]
    more = f" and {len(strange) - shown} more" if len(strange) > shown else ""
    return f"the column{'s' if len(strange) > 1 else ''} {', '.join(named)}{more}" if named else ""


def _is_of_numbers(column: Any) -> bool:
    """Whether NumPy makes real numbers of a column, also beside others: NA of pandas' own types stays an object."""
    holes = not isinstance(column.dtype, np.dtype) and column.isna().any()
    return np.asarray(column).dtype.kind in "biuf" and not holes


def _index(values: Any) -> Any:
    """The index of a pandas object; None for what is none."""
    index = getattr(values, "index", None)
    return index if index is not None and not callable(index) and hasattr(values, "iloc") else None
