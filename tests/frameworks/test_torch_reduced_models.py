"""Torch: reductions in a model, where only what is reduced is copied to the host."""

import numpy as np
import pytest

from actstore import arrays
from actstore.adapters import ModelLayer, adapt
from actstore.adapters.for_torch.operations import takes
from actstore.adapters.keep import Keeper
from actstore.errors import AdapterError, DumpError, LayerError
from actstore.patterns import select
from actstore.reductions import ReductionSettings, plan_reductions

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn

MASK = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 0]])


class Keeps(nn.Module):
    """Gives always the same."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value[: len(x)]


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
    to_host = arrays._tensor_bits

    def spied(tensor):
        seen.append(tuple(tensor.shape))
        return to_host(tensor)

    adapter = adapt(encoder)
    tensors = {name: torch.from_numpy(value) for name, value in batch_of().items()}
    layers = select(["embed", "conv", "relu"], adapter.layers(tensors))
    settings = ReductionSettings(("mean", "relu=last"), random_projection=3, dtype="float16")
    plan = plan_reductions(settings, layers)
    monkeypatch.setattr(arrays, "_tensor_bits", spied)
    with adapter.running(layers, plan) as run:
        run(tensors)
    mask, *copied = seen
    assert mask == MASK.shape
    assert copied == [(4, 3)] * 4


def test_a_function_that_gives_tensors_is_reduced_where_they_are(monkeypatch):
    seen = []
    to_host = arrays._tensor_bits
    adapter = adapt(lambda x: {"a": torch.from_numpy(x).requires_grad_() * 2})
    x = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    layers = select(["a"], adapter.layers(x))
    plan = plan_reductions(ReductionSettings(random_features=5), layers)
    monkeypatch.setattr(
        arrays, "_tensor_bits", lambda tensor: seen.append(tuple(tensor.shape)) or to_host(tensor)
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
    row = ModelLayer("layer", "Tensor", (6, 10), ("position", "feature"), "float32")
    keeper = Keeper(plan_reductions(ReductionSettings(("mean",)), [row]))
    keeper.begin(np.zeros((3, 2)), 3)
    with pytest.raises(
        AdapterError, match="'layer' gave 4 rows for a batch of 3; its first axis must be the batch"
    ):
        keeper.keep("layer", torch.zeros(4, 6, 10))


def test_unsigned_integers_that_torch_hardly_knows_are_reduced_by_numpy():
    layer = torch.arange(40).reshape(2, 4, 5).repeat(2, 1, 1).to(torch.uint16)
    assert not takes(layer)
    assert takes(layer.to(torch.uint8))
    model = nn.Sequential(Keeps(layer))
    (found,) = run_reduced(model, ["0"], ReductionSettings(random_features=3), np.zeros((2, 1), np.float32))
    assert (found["0"].dtype, found["0"].array.shape) == ("uint16", (2, 3))
