"""Pools against plain NumPy: over the axes that a layer says it has, and over real tokens."""

import numpy as np
import pytest

from actstore.adapters import LayerRow
from actstore.errors import DumpError, LayerError
from actstore.reductions import ReductionSettings, plan_reductions
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.reductions.cast import narrowed, widened
from actstore.reductions.positions import RealPositions
from actstore.reductions.steps import reduce_layer

MAPS = ("channel", "height", "width")
TOKENS = ("position", "feature")
LEFT = np.array([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]])
RIGHT = LEFT[:, ::-1].copy()
HOLES = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]])


def row(name, shape, axes, dtype="float32", explicit=False):
    return LayerRow(name, "array", shape, axes, dtype, explicit=explicit)


def reduced(array, axes, *pool, mask=None, dtype=None, **settings):
    """The layer as it is stored, in the words of ``LayerRow``, and its array."""
    bits = Bits(array, dtype or array.dtype.name)
    plan = plan_reductions(
        ReductionSettings(pool, **settings), [row("layer", array.shape[1:], axes, bits.dtype)]
    )
    inputs = array if mask is None else {"input_ids": array, "attention_mask": mask}
    found, _ = reduce_layer(bits, plan.of("layer"), RealPositions(inputs), ArrayOperations())
    (layer,) = plan.layers
    assert (found.array.shape[1:], found.dtype) == (layer.shape, layer.dtype)
    assert len(layer.axes) == len(layer.shape)
    return layer, found.array


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# Which axes


@pytest.mark.parametrize(
    ("axes", "kept", "over"),
    [
        (MAPS, ("channel",), (2, 3)),
        (TOKENS, ("feature",), (1,)),
        (("channel", "position"), ("channel",), (2,)),
        (("depth", "height", "width", "channel"), ("channel",), (1, 2, 3)),
        (("position",), (), (1,)),
        (("head", "position", "feature"), ("feature",), (1, 2)),
    ],
)
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_channels_and_features_stay(axes, kept, over, pool):
    array = normal(5, *range(2, 2 + len(axes)))
    layer, found = reduced(array, axes, pool)
    assert layer.axes == kept
    # Means of a few dozen float32 of order 1, rounded once.
    np.testing.assert_allclose(found, getattr(array, pool)(axis=over), rtol=1e-5, atol=1e-6)
    if pool == "max":
        np.testing.assert_array_equal(found, array.max(axis=over))


@pytest.mark.parametrize("axes", [("feature",), ("channel",), ("channel", "feature"), ()])
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_layer_without_an_axis_to_pool_is_left_alone_and_says_so(axes, pool):
    array = normal(4, *range(2, 2 + len(axes)), dtype=np.float16)
    layer, found = reduced(array, axes, pool)
    assert found is array
    plan = plan_reductions(ReductionSettings((pool,)), [layer])
    assert not plan.of("layer").changes
    assert plan.document()["layers"]["layer"]["steps"] == [
        {"step": "pool", "pool": pool, "axes": [], "note": "left alone: it has no axis to pool"}
    ]


def test_positions_are_taken_by_their_axis_wherever_it_is():
    array = normal(3, 2, 4)
    for pool, index in (("cls", 0), ("first", 0), ("last", -1)):
        layer, found = reduced(array, ("channel", "position"), pool)
        assert layer.axes == ("channel",)
        np.testing.assert_array_equal(found, array[:, :, index])


# Which layers


def plan_of(pool, *layers):
    return plan_reductions(ReductionSettings(tuple(pool)), layers)


def test_later_entries_win_and_patterns_are_those_of_layers():
    layers = [row(name, (2, 3), TOKENS) for name in ("blocks.0", "blocks.1", "relu", "relu#1", "logits")]
    layers.append(row("output", (2, 3), TOKENS, explicit=True))
    plan = plan_of(("mean", "blocks.*=last", "blocks.1=max", "relu=cls", "logits=none"), *layers)
    kinds = [plan.of(layer.name).pool and plan.of(layer.name).pool.kind for layer in layers]
    assert kinds == ["last", "max", "cls", "cls", None, "mean"]
    assert [layer.name for layer in plan.layers] == [layer.name for layer in layers]
    assert plan.layers[4] == layers[4]
    assert plan_of(("**=max",), *layers).of("output").pool is None
    assert plan_of(("output=max",), *layers).of("output").pool.kind == "max"


@pytest.mark.parametrize("name", ["a=b", "=", "mean"])
def test_names_with_equals_signs_and_names_like_pools(name):
    layers = [row(name, (2, 3), TOKENS), row("other", (2, 3), TOKENS)]
    plan = plan_of((f"{name}=max",), *layers)
    assert (plan.of(name).pool.kind, plan.of("other").pool) == ("max", None)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ("conv*=mean", r"no layer matches 'conv\*'"),
        ("tokns=mean", "no layer matches 'tokns'; the nearest: 'tokens'"),
        ("re:(=mean", r"'re:\(' is not a regular expression"),
        ("tokens:in=mean", "'tokens:in': what goes into a module can not be stored yet"),
        (
            "last",
            r"pool 'last' takes a position, but layer 'maps' has the axes \(channel, height, width\); leave ",
        ),
        ("ma*=cls", r"pool 'cls' takes a position, but layer 'maps' has .*by --pool 'maps=none'"),
        ("scalar=first", "pool 'first' takes a position, but layer 'scalar' has no axes; leave it as it is by"),
        (
            "odd=mean",
            r"needs to know what the axes of layer 'odd' are, but it has the axes \(axis0, feature\); .*none'",
        ),
        ("odd=max", r"pool 'max' needs to know what the axes of layer 'odd' are"),
        ("odd=last", r"pool 'last' takes a position, but layer 'odd' has the axes \(axis0, feature\)"),
        (
            "attention=mean",
            r"'attention' is not told over which positions: it has the axes \(position, position\)",
        ),
        ("attention=last", r"'attention' is not told over which positions"),
    ],
)
def test_a_pool_that_does_not_fit_its_layer_is_refused(pool, message):
    layers = [
        row("tokens", (4, 3), TOKENS),
        row("maps", (3, 2, 2), MAPS),
        row("scalar", (), ()),
        row("odd", (2, 3), ("axis0", "feature")),
        row("attention", (4, 4), ("position", "position")),
    ]
    with pytest.raises(LayerError, match=message) as caught:
        plan_of((pool,), *layers)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", ["average", "blocks.*=average", "=mean", "blocks.0=", ""])
def test_a_pool_that_there_is_not_is_refused(entry):
    with pytest.raises(
        DumpError, match=f"pool '{entry.replace('*', '.')}' was expected to be .*mean, max, cls, fir"
    ):
        ReductionSettings(("mean", entry))


# Masks


def real_tokens(array, mask):
    """Of each row, its real tokens alone, (tokens, features)."""
    return [tokens[real.astype(bool)] for tokens, real in zip(array, mask, strict=True)]


@pytest.mark.parametrize("mask", [LEFT, RIGHT, HOLES], ids=["left", "right", "holes"])
@pytest.mark.parametrize("kind", [np.int64, bool, np.float32])
def test_padding_takes_no_part(mask, kind):
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


def test_a_mask_of_lists_and_one_of_padding_that_does_not_matter_to_cls():
    array = normal(2, 3, 2)
    np.testing.assert_array_equal(
        reduced(array, TOKENS, "last", mask=[[1, 0, 0], [1, 1, 0]])[1], array[[0, 1], [0, 1]]
    )
    np.testing.assert_array_equal(reduced(array, TOKENS, "cls", mask=np.zeros((2, 3)))[1], array[:, 0])


def test_a_mask_counts_along_its_axis_where_other_axes_are_pooled_too():
    array = normal(3, 2, 4, 5)
    found = reduced(array, ("head", "position", "feature"), "mean", mask=HOLES)[1]
    expected = [part.mean(axis=(0, 1)) for part in (array[row][:, HOLES[row].astype(bool)] for row in range(3))]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # up to 8 float32 of order 1


def test_a_mask_says_nothing_of_layers_without_positions():
    array = normal(3, 2, 5, 6)
    np.testing.assert_array_equal(reduced(array, MAPS, "max", mask=LEFT)[1], array.max(axis=(2, 3)))


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
            np.ones((3, 1, 4)),
            DumpError,
            r"attention_mask is ndarray float64 \(3, 1, 4\); to pool by it, \(3 rows, pos",
        ),
        (
            np.ones((2, 4)),
            DumpError,
            r"attention_mask is ndarray float64 \(2, 4\); to pool by it, \(3 rows, pos",
        ),
        (np.full((3, 4), 2), DumpError, "of 0 and 1 were expected, with 1 for real tokens"),
        (np.full((3, 4), "1"), DumpError, "of 0 and 1 were expected, with 1 for real tokens"),
        ([[1], [1, 1], [1]], DumpError, r"attention_mask is list of 3 \(list, list, list\); to pool by it"),
    ],
)
@pytest.mark.parametrize("pool", ["mean", "max", "first", "last"])
def test_a_mask_that_says_nothing_is_refused(mask, error, message, pool):
    with pytest.raises(error, match=message) as caught:
        reduced(normal(3, 4, 5), TOKENS, pool, mask=mask)
    assert "\n" not in str(caught.value)


# dtypes


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("mask", [None, HOLES])
def test_floats_keep_their_dtype_and_are_summed_in_more(dtype, mask):
    array = normal(3, 4, 5, dtype=dtype) + dtype(100)
    layer, found = reduced(array, TOKENS, "mean", mask=mask)
    weights = np.ones((3, 4)) if mask is None else mask
    exact = (array.astype(np.float64) * weights[:, :, None]).sum(1) / weights.sum(1)[:, None]
    assert layer.dtype == np.dtype(dtype).name
    # Rounded to float32 first, to the dtype then: half a unit in the last place of each, of values near 100.
    np.testing.assert_allclose(found, exact, rtol=np.finfo(dtype).eps / 2 + 2.0**-24 * (dtype != np.float64))


def test_float16_sums_do_not_overflow():
    array = np.full((2, 1000, 1), 60_000, np.float16)
    np.testing.assert_array_equal(reduced(array, TOKENS, "mean")[1], np.full((2, 1), 60_000, np.float16))


@pytest.mark.parametrize("pool", ["mean", "max", "cls", "first", "last"])
def test_bfloat16_is_its_bits(pool):
    array = narrowed(normal(3, 4, 5))
    layer, found = reduced(array, TOKENS, pool, mask=LEFT, dtype="bfloat16")
    assert (layer.dtype, found.dtype) == ("bfloat16", np.uint16)
    whole = reduced(widened(array), TOKENS, pool, mask=LEFT)[1]
    np.testing.assert_array_equal(found, narrowed(whole))
    if pool != "mean":
        np.testing.assert_array_equal(widened(found), whole)


def test_selections_keep_the_bits_of_nan():
    array = np.array([[[0x7F81], [0xFFC3]]], np.uint16)
    assert reduced(array, TOKENS, "cls", dtype="bfloat16")[1].tolist() == [[0x7F81]]
    assert reduced(array, TOKENS, "last", dtype="bfloat16")[1].tolist() == [[0xFFC3]]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64", "bool"])
def test_integers_stay_what_they_are_but_their_mean_is_float32(dtype):
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


def test_nan_and_infinity_go_through_mean_and_max():
    array = np.zeros((3, 2, 1), np.float32)
    array[:, 1, 0] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(reduced(array, TOKENS, "max")[1].ravel(), [np.nan, np.inf, 0])
    np.testing.assert_array_equal(reduced(array, TOKENS, "mean")[1].ravel(), [np.nan, np.inf, -np.inf])
    opposed = np.array([[[np.inf], [-np.inf]]], np.float32)
    assert np.isnan(reduced(opposed, TOKENS, "mean")[1]).all()


# Batches that differ


def test_positions_may_differ_from_batch_to_batch_once_they_are_pooled():
    plan = plan_of(("mean",), row("layer", (7, 3), TOKENS))
    for positions in (1, 7, 12):
        array = normal(2, positions, 3)
        found, _ = reduce_layer(
            Bits(array, "float32"), plan.of("layer"), RealPositions(array), ArrayOperations()
        )
        np.testing.assert_allclose(found.array, array.mean(axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("array", "settings", "message"),
    [
        (
            normal(2, 5, 3),
            {"random_features": 4},
            "layer 'layer' has 15 features for this batch, where the first had 21",
        ),
        (
            normal(2, 5, 3),
            {"random_projection": 4},
            "has 15 features for this batch, where the first had 21; random feat",
        ),
        (
            normal(2, 7),
            {"pool": ("mean",)},
            r"is float32 \(7,\) for this batch, where the first had float32 \(7, 3\); a",
        ),
        (
            normal(2, 7, 3, dtype=np.float64),
            {"pool": ("max",)},
            r"is float64 \(7, 3\) for this batch, where the first",
        ),
        (
            normal(2, 0, 3),
            {"pool": ("mean",)},
            r"has the shape \(0, 3\) for this batch; there is nothing to pool in it",
        ),
    ],
)
def test_a_batch_that_does_not_fit_the_plan_is_refused(array, settings, message):
    plan = plan_reductions(ReductionSettings(**settings), [row("layer", (7, 3), TOKENS)])
    bits = Bits(array, array.dtype.name)
    with pytest.raises(LayerError, match=message):
        reduce_layer(bits, plan.of("layer"), RealPositions(array), ArrayOperations())
