"""Torch: reductions on the device give what NumPy gives, and nothing unreduced is copied to the host."""

import numpy as np
import pytest

from actstore import arrays
from actstore.adapters import ModelLayer
from actstore.adapters.for_torch.operations import TensorOperations, reducing
from actstore.reductions import ReductionSettings, plan_reductions
from actstore.reductions.apply import reduce_layer
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.reductions.positions import RealPositions

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn

TOKENS = ("position", "feature")
MASK = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 0]])
FLOATS = ["float16", "bfloat16", "float32", "float64"]
INTEGERS = ["uint8", "int8", "int32", "int64", "bool"]


def tokens(dtype="float32", shape=(4, 6, 10)):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    return (
        values.abs().to(getattr(torch, dtype))
        if dtype in ("uint8", "bool")
        else values.to(getattr(torch, dtype))
    )


def both(tensor, axes, settings, mask=None):
    """One layer reduced by torch and by NumPy: (array, dtype, cost of the cast) of each, as stored."""
    bits = Bits(*arrays.to_bits(tensor))
    row = ModelLayer("layer", "Tensor", tuple(tensor.shape[1:]), axes, bits.dtype)
    plan = plan_reductions(settings, [row])
    real = RealPositions({"x": tensor, "attention_mask": mask})
    with reducing(tensor):
        found, cost = reduce_layer(tensor.detach(), plan.of("layer"), real, TensorOperations())
    expected, expected_cost = reduce_layer(bits, plan.of("layer"), real, ArrayOperations())
    array, dtype = arrays.to_bits(found)
    assert (dtype, array.shape[1:]) == (plan.layers[0].dtype, plan.layers[0].shape)
    return (array, dtype, cost), (expected.array, expected.dtype, expected_cost)


# The same as NumPy


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("mask", [None, MASK, torch.from_numpy(MASK)], ids=["whole", "mask", "tensor mask"])
@pytest.mark.parametrize("pool", ["max", "cls", "first", "last"])
def test_what_is_selected_is_bit_equal(dtype, mask, pool):
    found, expected = both(tokens(dtype), TOKENS, ReductionSettings((pool,)), mask)
    assert found[1] == expected[1] == dtype
    np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_random_features_are_bit_equal(dtype):
    settings = ReductionSettings(random_features=7)
    found, expected = both(tokens(dtype), TOKENS, settings)
    np.testing.assert_array_equal(found[0], expected[0])
    turned = tokens(dtype).transpose(1, 2)  # other strides, another order of the features
    found, expected = both(turned, TOKENS[::-1], settings)
    np.testing.assert_array_equal(found[0], expected[0])


def values(result):
    array, dtype, _ = result
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else array


# Sums of 60 numbers of order 3 in float32 (none for float64, nearly), then half a unit in the last place of the dtype;
# twice that, since the two may round to either side.
UNITS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 1e-14}


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("mask", [None, MASK])
def test_means_agree(dtype, mask):
    found, expected = both(tokens(dtype), TOKENS, ReductionSettings(("mean",)), mask)
    assert found[1] == expected[1] == (dtype if dtype in FLOATS else "float32")
    np.testing.assert_allclose(values(found), values(expected), rtol=UNITS.get(dtype, 1e-6), atol=1e-6)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
def test_projections_agree(dtype):
    found, expected = both(tokens(dtype), TOKENS, ReductionSettings(random_projection=8))
    np.testing.assert_allclose(values(found), values(expected), rtol=UNITS.get(dtype, 1e-6), atol=2e-5)
    assert found[1] == expected[1] == (dtype if dtype in FLOATS else "float32")


def test_maps_of_channels_are_pooled_over_what_they_say():
    maps = tokens(shape=(4, 3, 5, 6)).to(memory_format=torch.channels_last)
    for pool, tolerance in (("max", 0), ("mean", 1e-6)):  # 30 numbers of order 3 in float32
        found, expected = both(maps, ("channel", "height", "width"), ReductionSettings((pool,)), MASK)
        np.testing.assert_allclose(found[0], expected[0], rtol=tolerance, atol=tolerance)
        assert found[0].shape == (4, 3)


def test_a_mask_counts_along_its_axis_where_other_axes_are_pooled_too():
    layer, axes = tokens(shape=(4, 3, 6, 5)), ("head", "position", "feature")
    for pool in ("mean", "max"):
        found, expected = both(layer, axes, ReductionSettings((pool,)), MASK)
        np.testing.assert_allclose(found[0], expected[0], atol=1e-6)  # up to 18 numbers of order 3 in float32


def test_padding_takes_no_part_and_nan_that_is_real_does():
    layer = tokens()
    layer[~torch.from_numpy(MASK.astype(bool))] = float("nan")
    for pool in ("mean", "max", "first", "last"):
        found, expected = both(layer, TOKENS, ReductionSettings((pool,)), MASK)
        assert not np.isnan(found[0]).any()
        np.testing.assert_allclose(found[0], expected[0], atol=1e-6)  # at most 6 numbers of order 3 in float32
        for result in both(layer, TOKENS, ReductionSettings((pool,))):
            assert np.isnan(result[0]).any()


@pytest.mark.parametrize("before", FLOATS)
@pytest.mark.parametrize("after", FLOATS)
def test_casts_and_their_cost_are_the_same(before, after):
    layer = tokens("float64")
    layer[0, 0, :6] = torch.tensor([1e300, -1e39, 70000.0, float("inf"), float("nan"), 1e-300])
    found, expected = both(layer.to(getattr(torch, before)), TOKENS, ReductionSettings(dtype=after))
    np.testing.assert_array_equal(values(found), values(expected))
    assert found[2] == expected[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
@pytest.mark.parametrize("settings", [
    ReductionSettings(("last",)),
    ReductionSettings(("mean",), random_features=5, dtype="float16"),
    ReductionSettings(random_features=20, random_projection=4),
])  # fmt: skip
def test_a_gpu_reduces_alike(settings):
    here, _ = both(tokens(), TOKENS, settings, MASK)
    there, _ = both(tokens().cuda(), TOKENS, settings, MASK)
    # Sums of 20 numbers of order 3 in another order, and a unit in the last place of float16.
    np.testing.assert_allclose(there[0], here[0], rtol=2.0**-10, atol=1e-5)
