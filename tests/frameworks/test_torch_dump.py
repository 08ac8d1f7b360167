"""Torch from end to end: stores, captures of a pass that happens anyway, weights, and torch not being there."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import actstore
from actstore.adapters.base import TrainingModeWarning
from actstore.errors import AdapterError, DumpError, LayerError, SourceError
from actstore.models import load_model

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 4)
    )


def loader(images, batch_size=3):
    digits = torch.arange(len(images)) % 4
    data = torch.utils.data.TensorDataset(torch.from_numpy(images), digits)
    return torch.utils.data.DataLoader(data, batch_size=batch_size)


# Stores


@pytest.mark.parametrize("name", ["run.acts", "run.h5"])
def test_a_loader_is_dumped_with_its_labels(tmp_path, images, name):
    model = network()
    with actstore.create(tmp_path / name, layers=["*"]) as recording:
        recording.dump(model, {"train": loader(images), "test": loader(images[:2])}, target="digit")
    assert all(module.training for module in model.modules())
    with actstore.open(tmp_path / name) as store:
        assert list(store.layers) == ["0", "1", "2", "3", "4"]
        assert list(store.targets["digit"]) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
        assert list(store.ids) == [*(f"train/{row}" for row in range(8)), "test/0", "test/1"]
        with torch.no_grad():
            expected = model.eval()(torch.from_numpy(images))
        # Batches of three against one of eight: sums in another order.
        np.testing.assert_allclose(store.layers["4"][:8], expected, rtol=1e-5, atol=1e-6)
        assert store.provenance["model"]["weights"].startswith("xxh3_128:")
        assert store.provenance["versions"]["torch"] == torch.__version__


def test_bfloat16_is_stored_with_its_own_bits(tmp_path, images):
    model = network().to(torch.bfloat16)
    with actstore.create(tmp_path / "run.h5", layers=["0"]) as recording:
        recording.dump(model, [torch.from_numpy(images)])
    with actstore.open(tmp_path / "run.h5") as store, torch.no_grad():
        expected = model[0](torch.from_numpy(images).to(torch.bfloat16))
        np.testing.assert_array_equal(store.layers["0"][:], expected.float())


def test_other_weights_do_not_continue_a_store(tmp_path, images):
    recording = actstore.create(tmp_path / "run.acts", layers=["4"])
    recording.dump(network(), loader(images), split="train")
    with pytest.raises(DumpError, match="not the one this store was begun with"):
        recording.dump(network(seed=1), loader(images), split="test")


def test_a_model_that_wants_floats_is_explained_in_one_line(tmp_path, images):
    recording = actstore.create(tmp_path / "run.h5", layers=["0"])
    with pytest.raises(
        DumpError, match=r"the model failed on the first batch: RuntimeError: .* x.float\(\)"
    ) as caught:
        recording.dump(network(), [np.zeros((2, 1, 8, 8), np.uint8)])
    assert "\n" not in str(caught.value)


def test_text_given_to_a_model_of_tensors_is_explained_in_one_line(tmp_path):
    with (
        pytest.raises(
            DumpError, match=r"the first batch: TypeError: .*given text.*takes tensors.*hf:FOLDER"
        ) as raised,
        actstore.create(tmp_path / "run.h5", layers=["**"]) as store,
    ):
        store.dump(network(), [(["a line", "another line"], None)])
    assert "\n" not in str(raised.value)


def test_a_model_with_a_tokenizer_of_its_own_is_given_texts(tmp_path):
    class Lengths(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Linear(1, 2)

        def forward(self, texts):
            return self.scale(torch.tensor([[float(len(text))] for text in texts]))

    with actstore.create(tmp_path / "run.h5", layers=["scale:in"]) as store:
        store.dump(Lengths(), [(["a", "three"], None), (["four"], None)])
    with actstore.open(tmp_path / "run.h5") as store:
        np.testing.assert_array_equal(store.layers["scale:in"][:], [[1.0], [5.0], [4.0]])


def test_single_examples_are_told_from_batches(tmp_path, images):
    recording = actstore.create(tmp_path / "run.h5", layers=["0"])
    with pytest.raises(SourceError, match="DataLoader"):
        recording.dump(network(), loader(images).dataset)


# A pass that happens anyway


def test_capture_copies_a_pass_and_changes_nothing(images):
    model = network().eval()
    x = torch.from_numpy(images)
    expected = model(x)
    with actstore.capture(model, ["input", "*", "output"]) as activations:
        output = model(x)
    assert torch.equal(output, expected)
    output.sum().backward()
    assert model[0].weight.grad is not None
    assert list(activations) == ["input", "0", "1", "2", "3", "4", "output"]
    np.testing.assert_array_equal(activations["output"], expected.detach())
    np.testing.assert_array_equal(activations["input"], images)
    assert (activations["0"] < 0).any(), "copied before the ReLU in place"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_captures_are_appended(tmp_path, images):
    model = network().eval()
    with actstore.create(tmp_path / "run.h5") as recording:
        for start in (0, 4):
            with actstore.capture(model, ["0", "4"]) as activations:
                model(torch.from_numpy(images[start : start + 4]))
            recording.append(activations, targets={"digit": torch.arange(4)}, splits="train")
    with actstore.open(tmp_path / "run.h5") as store:
        assert store.layers["0"].axes == ("channel", "height", "width")
        assert list(store.ids) == [f"train/{row}" for row in range(8)]
        assert list(store.targets["digit"]) == [0, 1, 2, 3] * 2


def test_capture_warns_of_modules_in_training_mode(images):
    model = network().eval()
    model[2].train()
    with (
        pytest.warns(
            TrainingModeWarning, match=r"1 modules in training mode \('2'\).*model.eval\(\)"
        ) as caught,
        actstore.capture(model, ["0"]),
    ):
        model(torch.from_numpy(images))
    assert model[2].training
    assert caught[0].filename == __file__


def test_capture_has_the_latest_pass_and_every_call(images):
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared).eval()
    with actstore.capture(model, ["0"]) as activations:
        model(torch.zeros(2, 3))
        last = model(torch.ones(2, 3))
    assert list(activations) == ["0", "0#1"]
    np.testing.assert_array_equal(activations["0#1"], last.detach())
    with actstore.capture(model, ["0#1"]) as activations:
        model(torch.ones(2, 3))
    assert list(activations) == ["0#1"]


def test_capture_gives_bfloat16_as_float32():
    model = nn.Sequential(nn.Linear(3, 2)).to(torch.bfloat16).eval()
    with actstore.capture(model, ["0"]) as activations:
        expected = model(torch.ones(2, 3, dtype=torch.bfloat16))
    assert activations["0"].dtype == np.float32
    np.testing.assert_array_equal(activations["0"], expected.detach().float())
    assert activations.captured["0"].dtype == "bfloat16"


def test_capture_refuses_unknown_layers_and_a_model_that_is_not_called():
    model = nn.Sequential(nn.Linear(3, 2)).eval()
    with pytest.raises(LayerError, match="no layer matches 'conv'"), actstore.capture(model, ["conv"]):
        pytest.fail("a wrong pattern should not get here")
    with pytest.raises(LayerError, match="nothing was captured of '0': call the model inside the with block"):  # noqa: SIM117
        with actstore.capture(model, ["0"]):
            pass


def test_capture_takes_its_hooks_off_after_an_error():
    model = nn.Sequential(nn.Linear(3, 2)).eval()
    with pytest.raises(RuntimeError), actstore.capture(model, ["0", "input"]):
        model(torch.zeros(2, 77))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


# Weights


@pytest.fixture
def net_file(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def make(width=4):\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.BatchNorm1d(width))\n"
    )
    return f"{tmp_path}/net.py:make"


def test_weights_are_loaded_from_a_state_dict_or_a_key_of_a_file(tmp_path, net_file):
    trained = load_model(net_file)
    with torch.no_grad():
        trained[0].weight.fill_(7)
    torch.save(trained.state_dict(), tmp_path / "plain.pt")
    torch.save({"epoch": 3, "model": trained.state_dict()}, tmp_path / "nested.pt")
    for spec in (f"{tmp_path}/plain.pt", f"{tmp_path}/nested.pt:model"):
        assert (load_model(net_file, {}, spec)[0].weight == 7).all()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("none.pt", "there is no file .*none.pt to load weights from"),
        (
            "nested.pt",
            "holds dict of 'epoch', 'model', expected a state dict; say which by nested.pt:KEY",
        ),
        ("nested.pt:weights", "holds no 'weights' but dict of 'epoch', 'model'"),
        ("whole.pt", "does not hold tensors alone .*save the state_dict"),
        ("text.pt", "does not hold tensors alone"),
        ("wide.pt", "are not those of Sequential: RuntimeError: .*size mismatch"),
    ],
)
def test_other_files_are_refused(tmp_path, net_file, spec, message):
    model = load_model(net_file)
    torch.save({"epoch": 3, "model": model.state_dict()}, tmp_path / "nested.pt")
    torch.save(model, tmp_path / "whole.pt")
    torch.save(load_model(net_file, {"width": "5"}).state_dict(), tmp_path / "wide.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(AdapterError, match=message) as caught:
        load_model(net_file, {}, f"{tmp_path}/{spec}")
    assert "\n" not in str(caught.value)


def test_safetensors_are_read_where_the_package_is_there(tmp_path, net_file, monkeypatch):
    (tmp_path / "net.safetensors").write_bytes(b"")
    spec = f"{tmp_path}/net.safetensors"
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(
        AdapterError, match=r"net.safetensors needs the package safetensors: pip install safetensors"
    ):
        load_model(net_file, {}, spec)
    weights = {name: torch.full_like(value, 7) for name, value in load_model(net_file).state_dict().items()}
    monkeypatch.setitem(sys.modules, "safetensors.torch", SimpleNamespace(load_file=lambda path: weights))
    assert (load_model(net_file, {}, spec)[0].weight == 7).all()


def test_the_weights_hash_sees_every_bit_and_every_name(net_file):
    from actstore.adapters import adapt

    def weights(model):
        return adapt(model).provenance()["weights"]

    model = load_model(net_file)
    before = weights(model)
    assert before == weights(load_model(net_file))
    model[1].num_batches_tracked += 1
    assert weights(model) != before
    assert weights(model.to(torch.float8_e4m3fn)) != weights(model.to(torch.float8_e5m2))
    assert weights(nn.Sequential(nn.Linear(3, 2))) != weights(nn.ModuleDict({"0": nn.Linear(3, 2)}))


def test_without_torch_the_extra_is_named(tmp_path, net_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(AdapterError, match=r"net.py cannot be imported: .*pip install 'actstore\[torch\]'$"):
        load_model(net_file)


def test_capture_takes_modules_called_input_and_output_for_modules():
    model = nn.Sequential()
    model.add_module("input", nn.Linear(3, 4))
    model.add_module("output", nn.Linear(4, 2))
    model.eval()
    with actstore.capture(model, "*") as activations:
        last = model(torch.ones(2, 3))
    assert {name: array.shape for name, array in activations.items()} == {"input": (2, 4), "output": (2, 2)}
    np.testing.assert_array_equal(activations["output"], last.detach())
