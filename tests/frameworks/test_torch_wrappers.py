"""Torch: modules around modules, compiled ones among them, change neither names nor values nor hashes."""

import sys

import numpy as np
import pytest

import actstore
from actstore.adapters import adapt
from actstore.errors import AdapterError, LayerError
from actstore.models import load_model

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2))).eval()


def vectors():
    return np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def compiled(model):
    return torch.compile(model, backend="eager")  # no code is generated, but hooks are skipped all the same


def compiled_inside(model):
    model[1] = compiled(model[1])
    return model


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


@pytest.fixture
def distributed(tmp_path):
    """One process, that of the tests."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield nn.parallel.DistributedDataParallel
    torch.distributed.destroy_process_group()


def assert_the_same(found, expected):
    assert list(found) == list(expected)
    for name, layer in expected.items():
        np.testing.assert_array_equal(found[name].array, layer.array)


def assert_as_if_unwrapped(captured, wrapped):
    plain = network()
    expected = captured(plain, vectors(), "**", "**:in", "output")
    assert_the_same(captured(wrapped, vectors(), "**", "**:in", "output"), expected)
    assert adapt(wrapped).provenance() == adapt(plain).provenance()
    with actstore.capture(wrapped, ["input", "**", "**:in", "output"]) as activations:
        wrapped(torch.from_numpy(vectors()))
    assert list(activations) == ["input", *expected]
    np.testing.assert_array_equal(activations["1.0:in"], expected["0"].array)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        compiled,
        compiled_inside,
        compiled_in_place,
        lambda model: compiled(nn.DataParallel(model)),
        lambda model: nn.DataParallel(compiled_inside(model)),
    ],
)
def test_a_wrapper_is_not_seen(captured, wrap):
    assert_as_if_unwrapped(captured, wrap(network()))


def test_a_distributed_model_is_not_seen_either(captured, distributed):
    assert_as_if_unwrapped(captured, distributed(network()))


@pytest.mark.parametrize("wrap", [compiled, compiled_inside, compiled_in_place])
def test_what_was_compiled_and_run_before_shows_its_layers_and_stays_compiled(captured, wrap):
    model = wrap(network())
    x = torch.from_numpy(vectors())
    with torch.no_grad():
        before = model(x)
    assert list(captured(model, vectors(), "**")) == ["0", "1.0", "1.1", "1"]
    with torch.no_grad(), torch.compiler.set_stance("fail_on_recompile"):
        assert torch.equal(model(x), before)


def test_a_model_that_is_not_compiled_loads_no_compiler(captured, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    assert list(captured(network(), vectors(), "0")) == ["0"]
    assert "torch._dynamo" not in sys.modules


@pytest.mark.parametrize(("wrap", "named"), [(compiled_inside, "'1'"), (compiled_in_place, "'Sequential'")])
def test_a_torch_that_can_not_run_them_uncompiled_is_told(captured, monkeypatch, wrap, named):
    model = wrap(network())
    around = compiled(network())
    monkeypatch.delattr(torch.compiler, "set_stance")  # as before torch 2.6
    message = rf"compiled modules \({named}\) can be run uncompiled from torch 2.6 on; do not compile them"
    with pytest.raises(AdapterError, match=message):
        captured(model, vectors(), "0")
    assert list(captured(around, vectors(), "0")) == ["0"], "one around the whole model is passed over"


def test_copies_on_several_gpus_are_refused(captured):
    model = network()
    model[1] = nn.DataParallel(model[1])
    model[1].device_ids = [0, 1]
    message = (
        r"1 is a DataParallel over 2 devices, which splits every batch .*use the module inside it, \.module"
    )
    with pytest.raises(AdapterError, match=message):
        captured(model, vectors(), "0")
    with pytest.raises(AdapterError, match="the model is a DataParallel over 2 devices"):  # noqa: SIM117
        with actstore.capture(model[1], ["0"]):
            pytest.fail("several devices should not get here")
    assert list(captured(model[1], vectors()[:, :1].repeat(4, 1), "0")) == ["0"]  # by itself, it is unwrapped


def test_a_state_dict_of_a_wrapped_model_is_loaded_into_a_plain_one(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(3, 2))\n"
    )
    saved = nn.Sequential(nn.Linear(3, 2))
    for name, wrapped in (("a.pt", nn.DataParallel(saved)), ("b.pt", compiled(nn.DataParallel(saved)))):
        torch.save(wrapped.state_dict(), tmp_path / name)
        model = load_model(f"{tmp_path}/net.py:make", {}, f"{tmp_path}/{name}")
        assert torch.equal(model[0].weight, saved[0].weight)


# torch.jit


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_scripted_model_is_refused_in_one_line():
    with pytest.raises(
        AdapterError, match=r"a torch.jit.ScriptModule takes no hooks .* give the module that was"
    ):
        adapt(torch.jit.script(network()))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_around_a_scripted_module_layers_are_there_and_inside_they_are_named(captured):
    model = network()
    expected = captured(model, vectors(), "0", "output")
    model[1] = torch.jit.script(model[1])
    model.train()
    assert_the_same(captured(model, vectors(), "*", "output"), expected)
    assert all(module.training for module in model.modules())
    for name in ("1", "1.1", "1:in"):
        with pytest.raises(
            LayerError, match=f"'{name}' cannot be stored: it is a torch.jit.ScriptModule, which takes"
        ):
            captured(model, vectors(), name)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_capture_names_scripted_modules_too():
    model = network()
    model[1] = torch.jit.script(model[1])
    with pytest.raises(LayerError, match=r"layer '1' cannot be stored: it is a torch.jit.ScriptModule"):  # noqa: SIM117
        with actstore.capture(model, ["1"]):
            pytest.fail("a scripted module should not get here")
