"""Arrays of any library, and batches made of them."""

import numpy as np
import pytest

from actstore import arrays

A = np.arange(6.0).reshape(3, 2)


def test_bfloat16_of_another_library_comes_as_its_bits():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes, which comes with jax, is not installed")
    captured = arrays.capture(A.astype(ml_dtypes.bfloat16))
    assert (captured.dtype, captured.array.dtype) == ("bfloat16", np.uint16)
    np.testing.assert_array_equal((captured.array.astype(np.uint32) << 16).view(np.float32), A)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_capture_is_a_copy_in_c_order(order):
    array = np.array(A, order=order)
    captured = arrays.capture(array)
    array[:] = 0
    np.testing.assert_array_equal(captured.array, A)
    assert captured.array.flags.c_contiguous
    assert captured.axes == ("feature",)


@pytest.mark.parametrize(
    ("batch", "rows"),
    [(A, 3), ((A, A[:2]), 3), ([A], 3), ({"x": A, "y": 3}, 3), (["a", "b"], 2), ([[1, 2], [3]], 2)],
)
def test_rows_of_a_batch(batch, rows):
    assert arrays.count_rows(batch) == rows


@pytest.mark.parametrize("batch", [3.5, {}, [], np.float64(3), None])
def test_what_has_no_rows(batch):
    with pytest.raises(TypeError, match="has no rows"):
        arrays.count_rows(batch)


def test_the_first_rows_of_a_batch():
    first = arrays.first_rows({"x": A, "y": (A, A)}, 2)
    assert (len(first["x"]), [len(part) for part in first["y"]]) == (2, [2, 2])
    assert arrays.first_rows(["a", "b", "c"], 2) == ["a", "b"]


def test_rows_of_texts_and_of_sentences():
    for batch in (["ab", "c", ""], [["ab", "c"], [], ["d"]]):
        assert arrays.count_rows(batch) == 3
        assert arrays.first_rows(batch, 2) == batch[:2]
        assert arrays.take_rows(batch, np.array([0, 2])) == [batch[0], batch[2]]
        assert arrays.copied(batch) == batch
    sentences = [["ab", "c"]]
    arrays.copied(sentences)[0][0] = "changed"
    assert sentences == [["ab", "c"]]


def test_copies_of_a_batch_share_nothing():
    batch = {"x": A.copy(), "y": [A.copy(), "text"]}
    copied = arrays.copied(batch)
    copied["x"][:] = copied["y"][0][:] = 0
    np.testing.assert_array_equal(batch["x"], A)
    np.testing.assert_array_equal(batch["y"][0], A)
    assert copied["y"][1] == "text"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (A, "ndarray float64 (3, 2)"),
        ((A, 3), "tuple of 2 (ndarray, int)"),
        ({"a": 1, "b": 2}, "dict of 'a', 'b'"),
        ({}, "dict of nothing"),
        (None, "None"),
        (3.5, "float"),
    ],
)
def test_descriptions(value, text):
    assert arrays.describe(value) == text
