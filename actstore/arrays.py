"""Arrays of any library as NumPy arrays: whatever speaks ``__array__`` or DLPack, and torch tensors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from actstore.activations import Captured
from actstore.store.format import BFLOAT16, DTYPES


def is_array(value: object) -> bool:
    """Whether ``value`` is an array of some library (lists and scalars are not)."""
    return hasattr(value, "shape") and speaks_arrays(value)


def speaks_arrays(value: object) -> bool:
    """Whether ``value`` can be asked for an array, even where it does not say its shape."""
    return hasattr(value, "__array__") or hasattr(value, "__dlpack__")


def is_text(inputs: object) -> bool:
    """Whether a batch is texts, or lists of words."""
    if isinstance(inputs, np.ndarray):
        return inputs.dtype.kind == "U"
    if not isinstance(inputs, (list, tuple)) or not inputs:
        return False
    return all(isinstance(text, str) for text in inputs) or all(
        isinstance(words, (list, tuple)) and all(isinstance(word, str) for word in words) for words in inputs
    )


def is_tensor(value: object) -> bool:
    """Whether ``value`` is one of torch's own tensors, told without importing torch."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def to_bits(value: object) -> tuple[np.ndarray, str]:
    """The array's own bits and the name of its dtype; bfloat16, which NumPy lacks, comes as uint16.

    May share memory with ``value``.

    Raises:
        TypeError: ``value`` is no array, one that NumPy cannot hold, or one with values under a mask.
    """
    if is_tensor(value):
        return _tensor_bits(value)
    if not speaks_arrays(value):
        msg = f"{describe(value)} is no array"
        raise TypeError(msg)
    check_mask(value)
    try:
        array = _as_numpy(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        msg = f"{describe(value)} cannot become a NumPy array: {error}"
        raise TypeError(msg) from error
    if array.dtype.name == BFLOAT16:
        return array.view(np.uint16), BFLOAT16
    return array, array.dtype.name


def check_mask(inputs: object) -> None:
    """Refuse arrays of ``numpy.ma`` with values under their mask, wherever in a batch: none of them is a value.

    Raises:
        TypeError: with the count.
    """
    if isinstance(inputs, Mapping):
        inputs = tuple(inputs.values())
    if isinstance(inputs, (tuple, list)):
        for value in inputs:
            if isinstance(value, (np.ma.MaskedArray, Mapping, tuple, list)):
                check_mask(value)
    elif np.ma.is_masked(inputs):
        count = int(np.ma.count_masked(inputs))
        msg = (
            f"{describe(inputs)} has {count:,} values under its mask, which are no values: leave their rows out, or "
            "say what stands for them (.filled)"
        )
        raise TypeError(msg)


def _as_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "__array__"):
        try:
            return np.asarray(value)
        except TypeError:  # CuPy's way of saying that a copy from the GPU has to be asked for
            if not hasattr(value, "__dlpack__"):
                raise
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError) as error:  # not the CPU's memory
        try:
            return np.from_dlpack(value, device="cpu")
        except TypeError:  # NumPy before 2.1, or a library that copies to nowhere
            raise error from None


def _tensor_bits(tensor: object) -> tuple[np.ndarray, str]:
    torch = sys.modules["torch"]
    resolved = tensor.detach().cpu().resolve_conj().resolve_neg()  # type: ignore[attr-defined]
    if resolved.dtype == torch.bfloat16:
        return resolved.view(torch.int16).numpy().view(np.uint16), BFLOAT16
    array = resolved.numpy()
    return array, array.dtype.name


NO_ROWS = "has no rows"
"""Ends what is said of a single number."""


def native_copy(array: np.ndarray) -> np.ndarray:
    """A copy in C order and the machine's order of bytes."""
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def capture(
    value: object,
    axes: tuple[str, ...] | None = None,
    copy: Callable[[np.ndarray], np.ndarray] = native_copy,
) -> Captured:
    """A copy of ``value``, rows first, as a store takes it; without names, its axes are ``default_axes``.

    Raises:
        TypeError: ``value`` is no array, has no rows, or is of a dtype that stores do not hold.
    """
    array, dtype = storable_bits(value)
    # A copy always: the model, or whoever made the array, may write into it again.
    return Captured(copy(array), dtype, default_axes(array.ndim - 1) if axes is None else axes)


def storable_bits(value: object) -> tuple[np.ndarray, str]:
    """``to_bits`` of what a store takes. May share memory with ``value``.

    Raises:
        TypeError: ``value`` is no array, has no rows, or is of a dtype that stores do not hold.
    """
    array, dtype = to_bits(value)
    if array.ndim == 0:
        msg = f"{describe(value)} {NO_ROWS}"
        raise TypeError(msg)
    if dtype not in DTYPES:
        msg = f"{describe(value)} is not of a dtype that a store holds ({', '.join(DTYPES)})"
        raise TypeError(msg)
    return array, dtype


def rows_first(value: Any, axis: int) -> Any:
    """An array of any library with its rows, which lie along ``axis``, first; as it is where it has no such axis."""
    count = len(value.shape)
    if not 0 < axis < count:
        return value
    order = (axis, *(place for place in range(count) if place != axis))
    if is_tensor(value):
        return value.permute(order)
    return (value if hasattr(value, "transpose") else np.asarray(value)).transpose(order)


def default_axes(count: int) -> tuple[str, ...]:
    """Axis names where nothing is known of them: one axis is features, more are numbered."""
    return ("feature",) if count == 1 else tuple(f"axis{index}" for index in range(count))


def count_rows(inputs: object) -> int:
    """Rows of a batch: the length of its first array that has axes, or of a list of texts.

    Raises:
        TypeError: nothing in the batch has a length.
    """
    if is_array(inputs):
        shape: tuple[int, ...] = inputs.shape  # type: ignore[attr-defined]
        if shape:
            return int(shape[0])
    elif isinstance(inputs, Mapping) and inputs:
        return count_rows(next(iter(_with_axes(inputs.values()))))
    elif isinstance(inputs, (tuple, list)) and inputs:
        first = _with_axes(inputs)[0]
        return count_rows(first) if is_array(first) else len(inputs)
    msg = f"{describe(inputs)} has no rows"
    raise TypeError(msg)


def _with_axes(values: Iterable[object]) -> list[object]:
    """The parts of a batch but for single numbers (the rate of sounds beside them); all where there is nothing else."""
    every = list(values)
    return [value for value in every if not is_single(value)] or every


def is_single(value: object) -> bool:
    """Whether a part of a batch is one number, which all rows share."""
    return isinstance(value, (bool, int, float)) or (is_array(value) and tuple(value.shape) == ())  # type: ignore[attr-defined]


def copied(inputs: object) -> object:
    """A batch whose arrays are copies, so that whoever gets it may write into it."""
    if isinstance(inputs, Mapping):
        return {name: copied(value) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        copies = [copied(value) for value in inputs]
        return copies if isinstance(inputs, list) else tuple(copies)
    if isinstance(inputs, np.ndarray):
        return np.array(inputs)  # of a memory map too an array of its own
    if not is_array(inputs):
        return inputs
    duplicate = getattr(inputs, "clone", None) or getattr(inputs, "copy", None)
    return inputs if duplicate is None else duplicate()


def first_rows(inputs: object, rows: int) -> object:
    """The first ``rows`` of a batch, whatever it is made of; what has no rows (a number, a word) stays as it is."""
    return each_part(inputs, lambda value: by_place(value)[:rows])


def by_place(value: Any) -> Any:
    """Return what gives rows by their place: pandas' own would look for columns, or in its index."""
    return value.iloc if hasattr(value, "iloc") else value


def take_rows(inputs: object, rows: np.ndarray) -> object:
    """Copies of some rows of a batch, whatever it is made of; what has no rows (a number, a word) stays as it is.

    Args:
        inputs: whose rows ``count_rows`` tells.
        rows: (count,) int64, ascending.

    Raises:
        TypeError: a part of the batch has another number of rows.
    """
    count = count_rows(inputs)

    def taken(value: Any) -> object:
        if len(value) != count:
            msg = f"{describe(value)} has not {count} rows as the batch has; none can be picked from it"
            raise TypeError(msg)
        return by_place(value)[rows] if is_array(value) else [value[row] for row in rows]

    return each_part(inputs, taken)


def each_part(inputs: object, pick: Callable[[Any], object]) -> object:
    """Return the batch with its arrays and lists replaced by what ``pick`` gives for them."""
    if isinstance(inputs, Mapping):
        return {name: each_part(value, pick) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)) and inputs and is_array(inputs[0]):
        return tuple(each_part(value, pick) for value in inputs)
    if isinstance(inputs, (tuple, list)) or (is_array(inputs) and inputs.shape):  # type: ignore[attr-defined]
        return pick(inputs)
    return inputs


def describe(value: object) -> str:
    """Describe ``value`` for a message: ``Tensor float32 (8, 3)``, ``tuple of 2 (Tensor, int)``, ``dict of 'a'``."""
    kind = type(value).__name__
    if is_array(value):
        dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
        return f"{kind if kind == dtype else f'{kind} {dtype}'} {tuple(value.shape)}"  # type: ignore[attr-defined]
    if isinstance(value, Mapping):
        return f"{kind} of {', '.join(repr(key) for key in list(value)[:4]) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"{kind} of {len(value)} ({', '.join(type(item).__name__ for item in value[:4])})"
    return "None" if value is None else kind
