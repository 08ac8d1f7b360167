"""Torch: forward passes under autocast, and models in bfloat16 without it."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.dumping.dump import DumpSettings, describe_layers, dump
from actstore.errors import AdapterError, DumpError, SourceError, StoreError
from actstore.patterns import select
from actstore.sources import SplitData
from actstore.sources.python import from_object

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).eval()


def vectors(rows=6):
    return np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)


def data(rows=6):
    return [SplitData("", from_object(vectors(rows), "vectors"))]


def broken_after(rows):
    """The same data, which ends in an error after so many rows."""

    class Batches:
        def __iter__(self):
            for start in range(0, rows, 2):
                yield vectors()[start : start + 2]
            raise OSError("the disk went away")

    return [SplitData("", from_object(Batches(), "vectors"))]


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_layers_come_in_the_dtypes_that_autocast_gives(name, dtype):
    model = network()
    adapter = adapt(model, autocast=name)
    layers = select(["**", "0:in"], adapter.layers(vectors()))
    with adapter.running(layers) as run:
        found = run(vectors())
    with torch.no_grad(), torch.autocast("cpu", dtype):
        linear = model[0](torch.from_numpy(vectors()))
        normed = model[1](linear)
    assert linear.dtype == dtype
    assert {layer: captured.dtype for layer, captured in found.items()} == {
        "0:in": "float32", "0": str(dtype)[6:], "1": str(normed.dtype)[6:], "2": str(dtype)[6:]
    }  # fmt: skip
    np.testing.assert_array_equal(found["0"].array.view(np.int16), linear.view(torch.int16))
    assert model[0].weight.dtype == torch.float32


def test_a_dump_says_that_it_ran_under_autocast(tmp_path):
    settings = DumpSettings(("0",), batch_size=2, autocast="bf16")
    with dump(network(), data(), tmp_path / "run.h5", settings) as store:
        assert store.provenance["model"]["autocast"] == "bf16"
        assert store.layers["0"].stored_dtype == "bfloat16"
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            expected = network()[0](torch.from_numpy(vectors())).float()
        np.testing.assert_array_equal(store.layers["0"][:], expected)
    with dump(network(), data(), tmp_path / "plain.h5", DumpSettings(("0",))) as store:
        assert "autocast" not in store.provenance["model"]


def test_another_precision_does_not_resume_a_dump(tmp_path, monkeypatch):
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (8, 8))  # a shard for every batch
    path = tmp_path / "run.acts"
    with pytest.raises(SourceError, match="the disk went away"):
        dump(network(), broken_after(4), path, DumpSettings(("0:in",), 2, autocast="bf16"))
    for autocast in (None, "fp16"):
        with pytest.raises(StoreError, match=r"begun differently: .*model.autocast"):
            dump(network(), broken_after(4), path, DumpSettings(("0:in",), 2, autocast=autocast, resume=True))


def test_a_model_in_bfloat16_needs_no_autocast(captured):
    model = network().bfloat16()
    found = captured(model, vectors(), "**", "**:in", "output")
    assert {layer.dtype for layer in found.values()} == {"bfloat16"}
    with torch.no_grad():
        expected = model(torch.from_numpy(vectors()).bfloat16())
    np.testing.assert_array_equal(found["output"].array.view(np.int16), expected.view(torch.int16))


def test_autocast_is_seen_when_layers_are_described():
    layers = {layer.name: layer.dtype for layer in describe_layers(network(), data(), autocast="bf16")}
    assert (layers["0:in"], layers["0"]) == ("float32", "bfloat16")


def test_a_trace_runs_under_autocast_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(x) * 2

    layers = {layer.name: layer.dtype for layer in describe_layers(Net(), data(), autocast="bf16", trace=True)}
    assert (layers["fc:in"], layers["fc"], layers["mul"]) == ("float32", "bfloat16", "bfloat16")


def test_a_device_that_can_not_is_named(monkeypatch):
    def refuse(device_type, dtype):
        raise RuntimeError(f"User specified an unsupported autocast device_type {device_type!r}")

    monkeypatch.setattr(torch, "autocast", refuse)
    with pytest.raises(
        AdapterError, match=r"autocast to bf16 does not work on device 'cpu': RuntimeError: User spec"
    ):
        adapt(network(), autocast="bf16").layers(vectors())


def test_other_words_are_refused():
    with pytest.raises(DumpError, match="autocast is 'float16'; expected bf16 or fp16"):
        DumpSettings(("0",), autocast="float16")
