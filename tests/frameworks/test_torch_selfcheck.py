"""The self-check on torch's own ways of mixing rows up."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")

from actstore.dumping.dump import DumpSettings, dump  # noqa: E402
from actstore.errors import DumpError  # noqa: E402
from actstore.sources import SplitData  # noqa: E402
from actstore.sources.python import from_object  # noqa: E402


class FunctionalDropout(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.5)


class Counting(torch.nn.Module):
    """Batch statistics of its own, updated in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x):
        self.mean += 0.1 * (x.mean(dim=0) - self.mean)
        return x - self.mean


def network(layer):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 6), layer, torch.nn.Linear(6, 6)).train()


@pytest.fixture
def dumped(tmp_path):
    inputs = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)

    def dump_once(model, **settings):
        data = [SplitData("", from_object(inputs, "inputs"))]
        with dump(model, data, tmp_path / "run.acts", DumpSettings(("*",), **settings)) as store:
            return {name: layer[:] for name, layer in store.layers.items()}

    return dump_once


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (FunctionalDropout(), r"layer '1' \(FunctionalDropout\) gives other values .* the model is random"),
        (Counting(), r"layer '1' \(Counting\) gives other values .* changes its own weights or buffers"),
        (
            torch.nn.BatchNorm1d(6, track_running_stats=False),
            r"layer '1' \(BatchNorm1d\) gives row '0' other values beside other rows",
        ),
    ],
)
def test_the_module_at_fault_is_named(dumped, layer, message):
    with pytest.raises(DumpError, match=message):
        dumped(network(layer))
    assert set(dumped(network(layer), selfcheck=False)) == {"0", "1", "2"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layer", [torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(6), torch.nn.LayerNorm(6)])
def test_modules_that_know_evaluation_mode_pass_in_every_precision(dumped, layer, dtype):
    found = dumped(network(layer).to(dtype))
    assert all(len(rows) == 40 for rows in found.values())


def test_a_deep_network_in_bfloat16_with_a_wide_end_passes(dumped):
    """Its last layer is float32, with the rounding of twenty bfloat16 layers."""

    class Widened(torch.nn.Module):
        def forward(self, x):
            return x.float()

    torch.manual_seed(0)
    layers = [
        part for _ in range(20) for part in (torch.nn.Linear(6, 6), torch.nn.GELU(), torch.nn.LayerNorm(6))
    ]
    model = torch.nn.Sequential(*layers).to(torch.bfloat16)
    model.append(Widened())
    assert dumped(model)["60"].dtype == np.float32


def test_layers_changed_in_place_pass(dumped):
    found = dumped(network(torch.nn.ReLU(inplace=True)))
    assert found["0"].min() < 0 <= found["1"].min()
