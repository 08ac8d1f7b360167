"""Pools against plain NumPy: over the axes that a layer says it has, and over real tokens."""

import numpy as np
import pytest

from actstore.adapters import ModelLayer
from actstore.errors import DumpError, LayerError
from actstore.reductions import ReductionSettings, plan_reductions
from actstore.reductions.apply import reduce_layer
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.reductions.positions import RealPositions

MAPS = ("channel", "height", "width")
TOKENS = ("position", "feature")


def row(name, shape, axes, dtype="float32", explicit=False):
    return ModelLayer(name, "array", shape, axes, dtype, explicit=explicit)


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
def test_channels_and_features_stay(reduced, axes, kept, over, pool):
    array = normal(5, *range(2, 2 + len(axes)))
    layer, found = reduced(array, axes, pool)
    assert layer.axes == kept
    # Means of a few dozen float32 of order 1, rounded once.
    np.testing.assert_allclose(found, getattr(array, pool)(axis=over), rtol=1e-5, atol=1e-6)
    if pool == "max":
        np.testing.assert_array_equal(found, array.max(axis=over))


@pytest.mark.parametrize("axes", [("feature",), ("channel",), ("channel", "feature"), ()])
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_layer_without_an_axis_to_pool_is_left_alone_and_says_so(reduced, axes, pool):
    array = normal(4, *range(2, 2 + len(axes)), dtype=np.float16)
    layer, found = reduced(array, axes, pool)
    assert found is array
    plan = plan_reductions(ReductionSettings((pool,)), [layer])
    assert not plan.of("layer").changes
    assert plan.document()["layers"]["layer"]["steps"] == [
        {"step": "pool", "pool": pool, "axes": [], "note": "left alone: it has no axis to pool"}
    ]


def test_positions_are_taken_by_their_axis_wherever_it_is(reduced):
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
        ("tokens:in=mean", "no layer matches 'tokens:in': none of the layers here is what goes into"),
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
        DumpError, match=f"pool '{entry.replace('*', '.')}' is not of the form .*mean, max, cls, fir"
    ):
        ReductionSettings(("mean", entry))


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
