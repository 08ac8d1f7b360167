"""Torch: reductions on the device give what NumPy gives, and nothing unreduced is copied to the host."""

import numpy as np
import pytest

from actstore import interop
from actstore.adapters import LayerRow, adapt
from actstore.adapters.keep import Keeper
from actstore.adapters.torch_operations import TensorOperations, reduce_tensor, takes
from actstore.errors import AdapterError, DumpError, LayerError
from actstore.patterns import select
from actstore.reductions import ReductionSettings, plan_reductions
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.reductions.positions import RealPositions
from actstore.reductions.steps import reduce_layer

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
    bits = Bits(*interop.to_bits(tensor))
    row = LayerRow("layer", "Tensor", tuple(tensor.shape[1:]), axes, bits.dtype)
    plan = plan_reductions(settings, [row])
    real = RealPositions({"x": tensor, "attention_mask": mask})
    found, cost = reduce_tensor(tensor, plan.of("layer"), real, TensorOperations())
    expected, expected_cost = reduce_layer(bits, plan.of("layer"), real, ArrayOperations())
    array, dtype = interop.to_bits(found)
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


def test_unsigned_integers_that_torch_hardly_knows_are_reduced_by_numpy():
    layer = torch.arange(40).reshape(2, 4, 5).to(torch.uint16)
    assert not takes(layer)
    assert takes(layer.to(torch.uint8))
    model = nn.Sequential(Keeps(layer))
    (found,) = run_reduced(model, ["0"], ReductionSettings(random_features=3), np.zeros((2, 1), np.float32))
    assert (found["0"].dtype, found["0"].array.shape) == ("uint16", (2, 3))


# In a model


class Keeps(nn.Module):
    """Gives always the same."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


class Encoder(nn.Module):
    """An embedding, a convolution over positions, and a relu that rewrites what came before it."""

    def __init__(self):
        super().__init__()
        self.embed, self.conv, self.relu = nn.Embedding(20, 10), nn.Conv1d(10, 7, 1), nn.ReLU(inplace=True)

    def forward(self, input_ids, attention_mask=None):
        return self.relu(self.conv(self.relu(self.embed(input_ids)).transpose(1, 2)))


def run_reduced(model, patterns, settings, *batches):
    adapter = adapt(model)
    layers = select(patterns, adapter.layers(batches[0]))
    plan = plan_reductions(settings, layers)
    with adapter.running(layers, plan) as run:
        return [run(batch) for batch in batches]


def batch_of(mask=MASK):
    ids = np.random.default_rng(0).integers(0, 20, mask.shape)
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder()


def test_a_model_is_reduced_as_its_whole_layers_would_be(encoder, captured):
    whole = captured(encoder, batch_of(), "embed", "conv")
    assert whole["conv"].axes == ("channel", "position")
    settings = ReductionSettings(("last", "embed=max"), random_features=4)
    (found,) = run_reduced(encoder, ["embed", "conv"], settings, batch_of())
    layers = [row for row in adapt(encoder).layers(batch_of()) if row.name in whole]
    document = plan_reductions(settings, layers).document()["layers"]
    last = [5, 2, 5, 3]
    expected = {
        "embed": np.stack([whole["embed"].array[row][MASK[row] == 1].max(axis=0) for row in range(4)]),
        "conv": whole["conv"].array[np.arange(4), :, last],
    }
    for name, array in expected.items():
        indices = document[name]["steps"][1]["indices"]
        np.testing.assert_array_equal(found[name].array, array[:, indices])
        assert found[name].axes == ("feature",)


def test_batches_of_other_lengths_and_sides_give_the_same(encoder):
    """Padding on either side, or less of it, changes nothing that is pooled over real tokens."""
    one = batch_of(np.array([[1, 1, 1]]))
    ids = one["input_ids"]
    left = {"input_ids": np.pad(ids, ((0, 0), (4, 0))), "attention_mask": np.array([[0, 0, 0, 0, 1, 1, 1]])}
    right = {"input_ids": np.pad(ids, ((0, 0), (0, 2))), "attention_mask": np.array([[1, 1, 1, 0, 0]])}
    for pool in ("mean", "max", "first", "last"):
        found = run_reduced(encoder, ["embed", "conv"], ReductionSettings((pool,)), one, left, right)
        for name in ("embed", "conv"):
            for other in found[1:]:
                # Products of other sizes may sum in another order: 10 numbers of order 1.
                np.testing.assert_allclose(other[name].array, found[0][name].array, rtol=1e-5, atol=1e-6)


def test_the_unreduced_is_never_copied_to_the_host(encoder, monkeypatch):
    seen = []
    to_host = interop._tensor_bits

    def spied(tensor):
        seen.append(tuple(tensor.shape))
        return to_host(tensor)

    adapter = adapt(encoder)
    tensors = {name: torch.from_numpy(value) for name, value in batch_of().items()}
    layers = select(["embed", "conv", "relu"], adapter.layers(tensors))
    settings = ReductionSettings(("mean", "relu=last"), random_projection=3, dtype="float16")
    plan = plan_reductions(settings, layers)
    monkeypatch.setattr(interop, "_tensor_bits", spied)
    with adapter.running(layers, plan) as run:
        run(tensors)
    mask, *copied = seen
    assert mask == MASK.shape
    assert copied == [(4, 3)] * 4


def test_a_function_that_gives_tensors_is_reduced_where_they_are(monkeypatch):
    seen = []
    to_host = interop._tensor_bits
    adapter = adapt(lambda x: {"a": torch.from_numpy(x).requires_grad_() * 2})
    x = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    layers = select(["a"], adapter.layers(x))
    plan = plan_reductions(ReductionSettings(random_features=5), layers)
    monkeypatch.setattr(
        interop, "_tensor_bits", lambda tensor: seen.append(tuple(tensor.shape)) or to_host(tensor)
    )
    with adapter.running(layers, plan) as run:
        found = run(x)["a"].array
    assert seen == [(4, 5)]
    np.testing.assert_array_equal(found, 2 * x[:, plan.document()["layers"]["a"]["steps"][0]["indices"]])


def test_a_model_that_runs_in_less_precision_does_not_project_in_it():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Linear(6, 40)

        def forward(self, x):
            wide = self.wide(x)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.after(wide)

    torch.manual_seed(0)
    model = Mixed()
    model.after = nn.Identity()
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    (found,) = run_reduced(model, ["wide", "after"], ReductionSettings(random_projection=8), x)
    layers = select(["wide", "after"], adapt(model).layers(x))
    plan = plan_reductions(ReductionSettings(random_projection=8), layers)
    with torch.no_grad():
        exact = (
            model.wide(torch.from_numpy(x)).numpy().astype(np.float64) @ plan.of("after").projection.matrix()
        )
    # 40 products of order 1 in float32; bfloat16 would be off by 1e-2.
    np.testing.assert_allclose(found["after"].array, exact, atol=1e-5)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.zeros((4, 6), int), DumpError, "row 0 of the batch has no real token"),
        (
            np.ones((4, 5), int),
            LayerError,
            "layer 'embed' has 6 positions but the batch's attention_mask has 5",
        ),
    ],
)
def test_a_mask_that_does_not_fit_is_told_from_within_the_hook(encoder, mask, error, message):
    with pytest.raises(error, match=message):
        run_reduced(encoder, ["embed"], ReductionSettings(("mean",)), {**batch_of(), "attention_mask": mask})


def test_layers_without_the_batch_first_are_named_before_they_are_reduced():
    row = LayerRow("layer", "Tensor", (6, 10), TOKENS, "float32")
    keeper = Keeper(plan_reductions(ReductionSettings(("mean",)), [row]))
    keeper.begin(np.zeros((3, 2)))
    with pytest.raises(
        AdapterError, match="'layer' gave 4 rows for a batch of 3; its first axis must be the batch"
    ):
        keeper.keep("layer", tokens(), TOKENS)
    assert plan_of_one.report() == {}


def described(tensor):
    return LayerRow(
        "layer", "Tensor", tuple(tensor.shape[1:]), TOKENS, str(tensor.dtype).removeprefix("torch.")
    )


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
