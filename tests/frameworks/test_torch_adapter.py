"""Torch: how a batch runs, what of it is copied, and that the model is left as it was found."""

import numpy as np
import pytest
from frameworks.torch_calls import Calls

from actstore.adapters import adapt
from actstore.errors import AdapterError, LayerError
from actstore.patterns import select

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn


class Counting(nn.Module):
    """Counts its calls and gives what it was given."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x


def vectors(rows=4, width=3):
    return np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)


def run_batches(model, patterns, *batches, stop_early=False):
    """The layers of each batch; the first one describes the model, too."""
    adapter = adapt(model, stop_early=stop_early)
    layers = select(patterns, adapter.layers(batches[0]))
    with adapter.running(layers) as run:
        return [run(batch) for batch in batches]


# Copies


def test_in_place_operations_rewrite_no_capture(captured, images):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Hardtanh(0, 0.1, inplace=True))
    activations = captured(model, images, "input", "**")
    with torch.no_grad():
        conv = model[0](torch.from_numpy(images))
    np.testing.assert_array_equal(activations["0"].array, conv)
    np.testing.assert_array_equal(activations["1"].array, conv.clamp(min=0))
    np.testing.assert_array_equal(activations["2"].array, conv.clamp(0, 0.1))


def test_an_input_changed_in_place_is_stored_as_it_came(captured):
    x = vectors()
    activations = captured(Calls(lambda self, x: self.keep(x.mul_(0)), keep=Counting()), x, "input", "keep")
    np.testing.assert_array_equal(activations["input"].array, vectors())
    np.testing.assert_array_equal(activations["keep"].array, 0 * vectors())
    np.testing.assert_array_equal(x, vectors())


def test_a_tensor_of_the_users_is_not_written_to():
    x = torch.from_numpy(vectors())
    run_batches(Calls(lambda self, x: self.keep(x.mul_(0)), keep=Counting()), ["keep"], x)
    np.testing.assert_array_equal(x, vectors())


def test_channels_last_memory_is_stored_in_the_order_of_its_axes(captured, images):
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    expected = captured(model, images, "0")["0"].array
    found = captured(model.to(memory_format=torch.channels_last), images, "0")["0"].array
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # sums in another order


def test_a_batch_in_channels_last_memory_is_stored_in_the_order_of_its_axes(captured):
    images = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    batch = images.to(memory_format=torch.channels_last)
    assert not batch.is_contiguous()
    found = captured(nn.Sequential(nn.Identity()), batch, "input", "0:in", "0")
    for layer in found.values():
        assert layer.array.flags.c_contiguous
        np.testing.assert_array_equal(layer.array, images)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_floats_keep_their_own_bits(captured, name):
    dtype = getattr(torch, name)
    model = nn.Sequential(nn.Linear(3, 2)).to(dtype)
    found = captured(model, vectors(), "0")["0"]
    with torch.no_grad():
        expected = model(torch.from_numpy(vectors()).to(dtype))
    assert found.dtype == name
    assert found.array.dtype == (np.uint16 if name == "bfloat16" else np.dtype(name))
    bits = torch.int16 if dtype.itemsize == 2 else dtype
    np.testing.assert_array_equal(
        found.array.view(np.int16 if dtype.itemsize == 2 else name), expected.view(bits)
    )


@pytest.mark.parametrize("name", ["uint8", "int8", "int32", "int64", "bool"])
def test_integers_and_booleans_keep_theirs(captured, name):
    model = Calls(lambda self, x: self.keep(x.to(getattr(torch, name))), keep=Counting())
    found = captured(model, np.array([[0, 1], [1, 7]]), "keep")["keep"]
    assert (found.dtype, found.array.dtype.name) == (name, name)
    assert found.array.tolist() == np.array([[0, 1], [1, 7]]).astype(name).tolist()


# Inputs


def test_floats_are_cast_to_the_parameters_and_integers_are_not(captured):
    assert captured(nn.Sequential(nn.Linear(3, 2)), vectors().astype(np.float64), "0")["0"].dtype == "float32"
    assert captured(nn.Sequential(nn.Embedding(5, 2)), np.array([[0, 4]]), "0")["0"].array.shape == (1, 2, 2)


def test_a_tuple_is_positional_and_a_dict_is_by_name(captured):
    model = Calls(lambda self, a, b, scale=1: self.keep(a - scale * b), keep=Counting())
    a, b = vectors(), vectors()[::-1].copy()
    np.testing.assert_array_equal(captured(model, (a, b), "keep")["keep"].array, a - b)
    named = captured(model, {"b": b, "a": a, "scale": 2}, "keep")["keep"].array
    np.testing.assert_allclose(named, a - 2 * b, rtol=1e-6)


def test_big_endian_and_read_only_arrays_are_taken(captured):
    x = vectors().astype(">f4")
    x.flags.writeable = False
    np.testing.assert_array_equal(
        captured(Calls(lambda self, x: x.add_(1)), x, "output")["output"].array, x + 1
    )


def test_text_is_refused(captured):
    with pytest.raises(AdapterError, match=r"takes numbers, but the batch is ndarray <U1 \(2,\)"):
        captured(nn.Linear(3, 2), np.array(["a", "b"]), "output")


def test_uint8_images_in_a_float_model_are_explained(captured):
    with pytest.raises(RuntimeError) as caught:
        captured(nn.Conv2d(1, 2, 3), np.zeros((4, 28, 28), np.uint8), "output")
    assert "given Tensor uint8 (4, 28, 28), as it is in the data" in caught.value.__notes__[0]
    assert "x = x.float().unsqueeze(1) / 255" in caught.value.__notes__[0]


def test_layers_whose_batch_sizes_disagree(captured):
    model = Calls(lambda self, x: self.keep(x.T).T, keep=Counting())
    with pytest.raises(
        LayerError,
        match=r"'keep' cannot be stored: .* it is \(3, 2\) for 2 rows and \(3, 3\) for 3, the rows along axis 1",
    ):
        captured(model, vectors(), "keep")
    odd = Calls(lambda self, x: self.keep(x if len(x) < 4 else x[1:]), keep=Counting())
    with pytest.raises(AdapterError, match="batch sizes disagree: 'keep' gave 3 rows for a batch of 4"):
        captured(odd, vectors(), "keep")


def test_a_module_that_gives_one_row_for_the_whole_batch_is_passed_over_by_globs(captured):
    places = torch.arange(3)[None]
    model = Calls(lambda self, x: self.drop(x[..., None] + self.position(places)), position=nn.Embedding(3, 2))
    model.drop = nn.Identity()
    assert [*captured(model, vectors(), "**", "**:in")] == ["drop:in", "drop"]
    for name in ("position", "position:in"):
        with pytest.raises(
            LayerError, match=f"layer '{name}' cannot be stored: no row per example: .*, whatever the rows"
        ):
            captured(model, vectors(), name)


# Stopping


@pytest.mark.parametrize(("stop_early", "of_tail"), [(False, 5), (True, 2)])
def test_modules_after_the_deepest_layer_do_not_run_where_passes_stop_early(stop_early, of_tail):
    head, tail = Counting(), Counting()
    model = nn.Sequential(nn.Linear(3, 3), head, tail)
    run_batches(model, ["0", "1"], *[vectors()] * 3, stop_early=stop_early)
    assert (head.calls, tail.calls) == (5, of_tail), "two passes describe the model"


def test_whole_passes_leave_nothing_in_a_model_that_keeps_its_skips():
    """Left early, such a model finds in each pass what the one before left."""

    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up, self.end, self.skips = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3), []

        def forward(self, x):
            self.skips += [x, self.down(x)]
            hidden = self.up(self.skips.pop(0))
            return self.end(hidden + self.skips.pop(0))

    batches = [vectors() + shift for shift in range(3)]
    torch.manual_seed(0)
    model = Skips()
    found = run_batches(model, ["up"], *batches)
    with torch.no_grad():
        for layers, batch in zip(found, batches, strict=True):
            np.testing.assert_array_equal(layers["up"].array, model.up(torch.from_numpy(batch)))
    left = run_batches(model, ["up"], *batches, stop_early=True)
    assert not np.array_equal(left[1]["up"].array, found[1]["up"].array)


def test_stopping_waits_for_the_last_call_of_a_repeated_module():
    shared, tail = nn.ReLU(), Counting()
    model = nn.Sequential(shared, nn.Linear(3, 3), shared, tail)
    whole = run_batches(model, ["0"], vectors(), vectors(), stop_early=True)
    assert [list(batch) for batch in whole] == [["0", "0#1"]] * 2
    assert tail.calls == 2
    (last,) = run_batches(model, ["0#1"], vectors(), stop_early=True)
    np.testing.assert_array_equal(last["0#1"].array, whole[0]["0#1"].array)
    assert tail.calls == 4


def test_a_model_that_catches_exceptions_is_stopped_all_the_same():
    def forward(self, x):
        try:
            return self.tail(self.head(x))
        except Exception:  # noqa: BLE001 - what a model may do
            return x

    tail = Counting()
    model = Calls(forward, head=nn.Linear(3, 3), tail=tail)
    run_batches(model, ["head"], vectors(), vectors(), stop_early=True)
    assert tail.calls == 2


@pytest.mark.parametrize(("times", "how"), [([2, 3], "more often"), ([3, 2], "less often")])
def test_calls_that_change_between_batches_are_an_error(times, how):
    def forward(self, x):
        for _ in range(int(x[0, 0])):
            x = self.step(x)
        return self.tail(x)

    model = Calls(forward, step=nn.Identity(), tail=nn.Identity())
    batches = [np.full((2, 1), count, np.float32) for count in times]
    with pytest.raises(AdapterError, match=f"module 'step' is called {how} for this batch than for the first"):
        run_batches(model, ["step", "tail"], *batches)


# Evaluation mode


def test_evaluation_mode_is_set_and_every_modules_own_is_restored():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model[1].eval()
    modes = [module.training for module in model.modules()]
    statistics = model[1].running_mean.clone()
    (first, second) = run_batches(model, ["**"], vectors(), vectors())
    np.testing.assert_array_equal(first["2"].array, second["2"].array)
    np.testing.assert_array_equal(first["0"].array, vectors())
    assert [module.training for module in model.modules()] == modes == [True, True, False, True]
    assert torch.equal(model[1].running_mean, statistics)


def test_modes_are_restored_after_an_error_in_the_model():
    def fail(self, x):
        raise ValueError("inside")

    model = nn.Sequential(nn.Dropout(), Calls(fail))
    with pytest.raises(ValueError, match="inside"):
        run_batches(model, ["**"], vectors())
    assert all(module.training for module in model.modules())


def test_a_module_that_stays_in_training_mode_is_refused_by_name():
    class Stubborn(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(Stubborn()))
    with pytest.raises(AdapterError, match=r"stay in training mode after model.eval\(\): '1.0'"):
        run_batches(model, ["0"], vectors())
    assert all(module.training for module in model.modules())


def test_no_gradients_are_tracked_and_the_model_can_train_afterwards():
    model = Calls(lambda self, x: self.layer(self.cache(x)), layer=nn.Linear(3, 1))
    kept = []

    def cache(x):
        kept.append(x.mean())  # a tensor made during the dump, as rotary embeddings keep them
        return x + 0 * kept[0]

    model.cache = cache
    run_batches(model, ["layer"], vectors())
    assert not kept[0].requires_grad
    model(torch.from_numpy(vectors())).sum().backward()
    assert model.layer.weight.grad is not None


# Devices


def test_a_device_that_is_not_there_is_refused_and_the_model_stays(captured):
    model = nn.Linear(3, 2)
    for device in ("cuda:77", "nonsense"):
        with pytest.raises(AdapterError, match=f"the model cannot go to device '{device}': "):
            captured(model, vectors(), "output", device=device)
    assert model.weight.device.type == "cpu"


def test_a_model_on_several_devices_is_not_moved(captured):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, device="meta"))
    with pytest.raises(AdapterError, match=r"several devices \('cpu', 'meta'\); leave --device out"):
        captured(model, vectors(), "0", device="cpu")


def test_the_device_is_restored(captured):
    model = nn.Linear(3, 2)
    assert captured(model, vectors(), "output", device="cpu")["output"].array.shape == (4, 2)
    assert model.weight.device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_gpu_gives_the_same_and_the_model_comes_back(captured, images, name):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)).to(getattr(torch, name))
    here, there = captured(model, images, "**"), captured(model, images, "**", device="cuda")
    assert model[0].weight.device.type == "cpu"
    for layer in here:
        assert there[layer].dtype == name
        if name == "float32":  # convolutions may run in TF32, which keeps 10 bits of a product
            np.testing.assert_allclose(there[layer].array, here[layer].array, atol=1e-2)
