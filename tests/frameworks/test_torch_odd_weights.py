"""Torch models whose weights are odd: offloaded, only described, never initialised, or kept from being hashed."""

import numpy as np
import pytest

import actstore
from actstore.adapters import adapt
from actstore.errors import AdapterError

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn
Z = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)


class Hook:
    """As accelerate's: weights are kept elsewhere, and come to a module for the time it runs."""

    execution_device = "cpu"

    def __init__(self, module):
        self.kept = {name: tensor.detach().clone() for name, tensor in module.named_parameters(recurse=False)}
        self.module, self.forward = module, module.forward
        module.to("meta")
        module._hf_hook, module.forward = self, self

    def __call__(self, x):
        assert x.device.type == "cpu"
        for name, tensor in self.kept.items():
            setattr(self.module, name, nn.Parameter(tensor, requires_grad=False))
        try:
            return self.forward(x)
        finally:
            self.module.to("meta")


def sequence():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)).eval()


def dumped(model, tmp_path, layers="**"):
    tmp_path.mkdir(exist_ok=True)
    with actstore.dump(model, Z, tmp_path / "s.acts", layers, batch_size=4) as store:
        return {name: layer[:] for name, layer in store.layers.items()}, store.provenance["model"]


@pytest.mark.parametrize("which", [(0,), (2,), (0, 2)], ids=["first", "last", "all"])
def test_offloaded_weights_give_the_same_activations(tmp_path, which):
    expected, _ = dumped(sequence(), tmp_path / "whole")
    model = sequence()
    for place in which:
        Hook(model[place])
    found, provenance = dumped(model, tmp_path / "offloaded")
    assert list(found) == list(expected)
    for name, rows in expected.items():
        np.testing.assert_array_equal(found[name], rows)
    assert provenance["weights"] == "not seen"
    assert provenance["reason"]


def test_a_model_that_is_only_described_is_listed_and_not_dumped(tmp_path):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)).eval()
    assert [layer.shape for layer in actstore.describe_layers(model, None)][:1] == [None]
    with pytest.raises(AdapterError, match=r"weights of the model are not there: .* the device `meta`"):
        dumped(model, tmp_path)


def test_a_lazy_module_that_is_never_called_keeps_nothing_from_being_hashed(tmp_path):
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(8, 8), nn.LazyLinear(3)

        def forward(self, x):
            return self.used(x)

    torch.manual_seed(0)
    model = Lazy().eval()
    _, provenance = dumped(model, tmp_path)
    assert provenance["weights"].startswith("xxh3_128:")
    other = Lazy().eval()
    assert adapt(other).identity()["weights"] != provenance["weights"]


class Secretive(nn.Module):
    """Gives no state."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(8, 8)

    def forward(self, x):
        return self.lin(x)

    def state_dict(self, *_, **__):
        raise RuntimeError("ask my lawyer")


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no words")


class Stateful(nn.Linear):
    """Keeps something in its state that cannot be written down."""

    def get_extra_state(self):
        return Unprintable()


@pytest.mark.parametrize(
    ("make", "reason"),
    [(Secretive, "ask my lawyer"), (lambda: Stateful(8, 8), "no words")],
    ids=["state", "extra"],
)
def test_weights_that_cannot_be_hashed_are_not_seen_and_the_dump_goes_on(tmp_path, make, reason):
    found, provenance = dumped(nn.Sequential(make()).eval(), tmp_path)
    assert found
    assert provenance["weights"] == "not seen"
    assert reason in provenance["reason"]


def test_a_recurrent_layer_is_stored_by_its_batch_axis(tmp_path):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.steps, self.last = nn.GRU(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            hidden, _ = self.steps(x.swapaxes(0, 1))
            return self.last(hidden[-1])

    torch.manual_seed(0)
    model = Recurrent().eval()
    x = np.random.default_rng(1).normal(size=(9, 5, 4)).astype(np.float32)
    with torch.no_grad():
        expected = model.steps(torch.from_numpy(x).swapaxes(0, 1))[0].swapaxes(0, 1).numpy()
    with actstore.dump(model, x, tmp_path / "s.acts", "**", batch_axis={"steps": 1}, batch_size=5) as store:
        assert store.layers["steps"].shape == (9, 5, 6)
        np.testing.assert_allclose(store.layers["steps"][:], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("version", "safe"), [("2.5.1+cu121", False), ("2.6.0", True), ("2.13.0+cpu", True), ("3.0a1", True)]
)
def test_a_pickle_is_not_read_by_a_torch_that_can_be_made_to_run_it(tmp_path, monkeypatch, version, safe):
    torch.save(sequence().state_dict(), tmp_path / "w.pt")
    monkeypatch.setattr(torch, "__version__", version)
    adapter = adapt(sequence())
    if safe:
        adapter.load_weights(tmp_path / "w.pt", None)
        return
    with pytest.raises(AdapterError, match=r"w.pt is a pickle, and torch 2.5.1\+cu121 can be made to run code"):
        adapter.load_weights(tmp_path / "w.pt", None)
