"""Models that torch exported to ONNX: their layers are called as torch's modules are, and give the same."""

from importlib.util import find_spec

import numpy as np
import pytest

from tests.frameworks.onnx_networks import onnx

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn

# The exporters' own: the older one is announced as deprecated.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


class Block(nn.Module):
    """A linear layer on sequences (two nodes in ONNX) and a residual."""

    def __init__(self):
        super().__init__()
        self.norm, self.fc, self.act = nn.LayerNorm(6), nn.Linear(6, 6), nn.Tanh()

    def forward(self, x):
        return x + self.act(self.fc(self.norm(x)))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Sequential(Block(), Block()), nn.Linear(6, 3)).eval()


def exported(model, inputs, path, new):
    example = torch.from_numpy(inputs)
    if new:
        shapes = ({0: torch.export.Dim.DYNAMIC},)
        torch.onnx.export(model, (example,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    else:
        axes = {"x": {0: "rows"}}
        torch.onnx.export(model, (example,), path, dynamo=False, input_names=["x"], dynamic_axes=axes)
    return onnx.load(path)


@pytest.mark.parametrize("new", [False, True], ids=["torchscript", "dynamo"])
def test_layers_are_those_of_torch_by_the_same_names(captured, tmp_path, new):
    if new and not find_spec("onnxscript"):
        pytest.skip("onnxscript, which torch's new exporter needs, is not installed: make test-frameworks")
    inputs = np.random.default_rng(0).normal(size=(5, 7, 4)).astype(np.float32)
    model = network()
    expected = captured(model, inputs)
    del expected["1"]  # what it gives is what the last of its blocks gives, which has the name
    found = captured(exported(model, inputs[:2], tmp_path / "net.onnx", new), inputs)
    assert [name for name in found if name in expected] == list(expected)
    for name, layer in expected.items():
        assert found[name].axes == layer.axes == ("position", "feature")
        # Sums of 6 float32 products of order 1, in another order.
        np.testing.assert_allclose(found[name].array, layer.array, rtol=1e-5, atol=1e-6)
