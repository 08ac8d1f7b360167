"""Memory that captures are copied into: used again once nobody holds the capture, never before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import actstore
from actstore.reductions.buffers import LEAST_BYTES, Buffers

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = LEAST_BYTES // 8


def place(array: np.ndarray) -> int:
    return array.ctypes.data


HOLDERS: dict[str, Callable[[np.ndarray], Any]] = {
    "itself": lambda copy: copy,
    "a view": lambda copy: copy[3:5],
    "a view of a view": lambda copy: copy[::2].reshape(-1, 1)[1:],
    "its bytes": lambda copy: memoryview(copy)[:8],
    "as another type": lambda copy: copy.view(np.uint8)[:8],
    "captured": lambda copy: actstore.Captured(copy, "float64", ()),
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS.keys())
def test_a_copy_that_is_held_in_any_way_is_not_written_into(holder):
    buffers, values = Buffers(), np.arange(ROWS, dtype="f8")
    held = holder(buffers.copy(values))
    seen = np.asarray(getattr(held, "array", held)).tobytes()
    for _ in range(5):
        buffers.copy(np.full(ROWS, -1.0))
    assert np.asarray(getattr(held, "array", held)).tobytes() == seen


def test_memory_is_used_again_once_nobody_holds_the_copy():
    buffers, held, places = Buffers(), [], set()
    for number in range(50):
        held = [*held[-3:], buffers.copy(np.full((ROWS, 2), number, "f4"))]
        assert [each[0, 0] for each in held] == list(range(max(0, number - 3), number + 1))
        places.add(place(held[-1]))
    assert len(places) == 5


@pytest.mark.parametrize("dtype", [">f4", "<f4", "float16", "bool", "int64"])
@pytest.mark.parametrize("rows", [1, ROWS])
def test_a_copy_is_as_numpy_makes_it(dtype, rows):
    array = np.random.default_rng(0).integers(0, 100, (rows, 16)).astype(dtype)[:, ::2]
    copy = Buffers().copy(array)
    assert copy.dtype.isnative
    assert copy.flags.c_contiguous
    assert copy.flags.writeable
    np.testing.assert_array_equal(copy, array)


def test_what_is_held_is_no_more_than_was_in_use_at_once():
    buffers = Buffers()
    for number in range(100):  # a size of its own each, as batches of tokens have
        buffers.copy(np.zeros(ROWS + number))
        assert buffers.nbytes <= 8 * (ROWS + number)
