"""Pools over real tokens, and the dtypes that they give."""

import numpy as np
import pytest

from actstore.errors import DumpError, LayerError
from actstore.store.documents.bfloat16 import narrowed, widened

TOKENS = ("position", "feature")
LEFT = np.array([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]])
RIGHT = LEFT[:, ::-1].copy()
HOLES = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]])


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def real_tokens(array, mask):
    """Of each row, its real tokens alone, (tokens, features)."""
    return [tokens[real.astype(bool)] for tokens, real in zip(array, mask, strict=True)]


@pytest.mark.parametrize("mask", [LEFT, RIGHT, HOLES], ids=["left", "right", "holes"])
@pytest.mark.parametrize("kind", [np.int64, bool, np.float32])
def test_padding_takes_no_part(reduced, mask, kind):
    array = normal(3, 4, 5)
    tokens = real_tokens(array, mask)
    array[~mask.astype(bool)] = np.nan
    expected = {
        "mean": [part.mean(axis=0) for part in tokens],
        "max": [part.max(axis=0) for part in tokens],
        "first": [part[0] for part in tokens],
        "last": [part[-1] for part in tokens],
    }
    for pool, values in expected.items():
        found = reduced(array, TOKENS, pool, mask=mask.astype(kind))[1]
        # The mean of at most 4 float32 of order 1, rounded once.
        np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-7)
        if pool != "mean":
            np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(reduced(array, TOKENS, "cls", mask=mask)[1], array[:, 0])


def test_a_mask_of_lists_and_one_of_padding_that_does_not_matter_to_cls(reduced):
    array = normal(2, 3, 2)
    np.testing.assert_array_equal(
        reduced(array, TOKENS, "last", mask=[[1, 0, 0], [1, 1, 0]])[1], array[[0, 1], [0, 1]]
    )
    np.testing.assert_array_equal(reduced(array, TOKENS, "cls", mask=np.zeros((2, 3)))[1], array[:, 0])


def test_a_mask_counts_along_its_axis_where_other_axes_are_pooled_too(reduced):
    array = normal(3, 2, 4, 5)
    found = reduced(array, ("head", "position", "feature"), "mean", mask=HOLES)[1]
    expected = [part.mean(axis=(0, 1)) for part in (array[row][:, HOLES[row].astype(bool)] for row in range(3))]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # up to 8 float32 of order 1


def test_a_mask_says_nothing_of_layers_without_positions(reduced):
    array = normal(3, 2, 5, 6)
    np.testing.assert_array_equal(
        reduced(array, ("channel", "height", "width"), "max", mask=LEFT)[1], array.max(axis=(2, 3))
    )


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (
            np.array([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]),
            DumpError,
            "row 2 of the batch has no real token",
        ),
        (
            np.ones((3, 5)),
            LayerError,
            "layer 'layer' has 4 positions but the batch's attention_mask has 5; to pool it",
        ),
        (
            np.ones((3, 2, 4)),
            DumpError,
            r"attention_mask is ndarray float64 \(3, 2, 4\); to pool by it, \(3 rows, pos",
        ),
        (
            np.ones((2, 4)),
            DumpError,
            r"attention_mask is ndarray float64 \(2, 4\); to pool by it, \(3 rows, pos",
        ),
        (np.full((3, 4), 2), DumpError, "of 0 and 1 is needed, with 1 for real tokens"),
        (np.full((3, 4), "1"), DumpError, "of 0 and 1 is needed, with 1 for real tokens"),
        ([[1], [1, 1], [1]], DumpError, r"attention_mask is list of 3 \(list, list, list\); to pool by it"),
    ],
)
@pytest.mark.parametrize("pool", ["mean", "max", "first", "last"])
def test_a_mask_that_says_nothing_is_refused(reduced, mask, error, message, pool):
    with pytest.raises(error, match=message) as caught:
        reduced(normal(3, 4, 5), TOKENS, pool, mask=mask)
    assert "\n" not in str(caught.value)


# dtypes


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("mask", [None, HOLES])
def test_floats_keep_their_dtype_and_are_summed_in_more(reduced, dtype, mask):
    array = normal(3, 4, 5, dtype=dtype) + dtype(100)
    layer, found = reduced(array, TOKENS, "mean", mask=mask)
    weights = np.ones((3, 4)) if mask is None else mask
    exact = (array.astype(np.float64) * weights[:, :, None]).sum(1) / weights.sum(1)[:, None]
    assert layer.dtype == np.dtype(dtype).name
    # Rounded to float32 first, to the dtype then: half a unit in the last place of each, of values near 100.
    np.testing.assert_allclose(found, exact, rtol=np.finfo(dtype).eps / 2 + 2.0**-24 * (dtype != np.float64))


def test_float16_sums_do_not_overflow(reduced):
    array = np.full((2, 1000, 1), 60_000, np.float16)
    np.testing.assert_array_equal(reduced(array, TOKENS, "mean")[1], np.full((2, 1), 60_000, np.float16))


@pytest.mark.parametrize("pool", ["mean", "max", "cls", "first", "last"])
def test_bfloat16_is_its_bits(reduced, pool):
    array = narrowed(normal(3, 4, 5))
    layer, found = reduced(array, TOKENS, pool, mask=LEFT, dtype="bfloat16")
    assert (layer.dtype, found.dtype) == ("bfloat16", np.uint16)
    whole = reduced(widened(array), TOKENS, pool, mask=LEFT)[1]
    np.testing.assert_array_equal(found, narrowed(whole))
    if pool != "mean":
        np.testing.assert_array_equal(widened(found), whole)


def test_selections_keep_the_bits_of_nan(reduced):
    array = np.array([[[0x7F81], [0xFFC3]]], np.uint16)
    assert reduced(array, TOKENS, "cls", dtype="bfloat16")[1].tolist() == [[0x7F81]]
    assert reduced(array, TOKENS, "last", dtype="bfloat16")[1].tolist() == [[0xFFC3]]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64", "bool"])
def test_integers_stay_what_they_are_but_their_mean_is_float32(reduced, dtype):
    array = np.random.default_rng(0).integers(-3 if dtype[0] == "i" else 0, 2, (3, 4, 2)).astype(dtype)
    layer, found = reduced(array, TOKENS, "mean", mask=LEFT)
    expected = [part.mean(axis=0, dtype=np.float64) for part in real_tokens(array, LEFT)]
    assert layer.dtype == "float32"
    np.testing.assert_allclose(found, expected, rtol=2.0**-24)  # rounded once
    for pool in ("max", "cls", "first", "last"):
        layer, found = reduced(array, TOKENS, pool, mask=LEFT)
        assert layer.dtype == dtype
        if pool == "max":
            np.testing.assert_array_equal(found, [part.max(axis=0) for part in real_tokens(array, LEFT)])


def test_nan_and_infinity_go_through_mean_and_max(reduced):
    array = np.zeros((3, 2, 1), np.float32)
    array[:, 1, 0] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(reduced(array, TOKENS, "max")[1].ravel(), [np.nan, np.inf, 0])
    np.testing.assert_array_equal(reduced(array, TOKENS, "mean")[1].ravel(), [np.nan, np.inf, -np.inf])
    opposed = np.array([[[np.inf], [-np.inf]]], np.float32)
    assert np.isnan(reduced(opposed, TOKENS, "mean")[1]).all()
