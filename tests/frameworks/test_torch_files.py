"""What torch itself saves is read to the bit, without torch."""

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.formats.containers.torch_file import read_torch

pytestmark = pytest.mark.framework
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_torch_saves_is_what_torch_loads(tmp_path, protocol):
    x = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    tagged = x.clone()
    tagged.note = 1
    value = {
        "x": x,
        "turned": x.T,
        "part": x[2:5, ::2],
        "wide": x[:1].expand(7, 4),
        "one": torch.tensor(3.0),
        "parameter": torch.nn.Parameter(x),
        "tagged": tagged,
        "list": [x.half(), {"deep": x > 0}],
        **{
            str(kind): x.mul(9).to(kind)
            for kind in (torch.float64, torch.int8, torch.uint8, torch.int16, torch.int32)
        },
        "u16": torch.arange(5).to(torch.uint16),
        "state": torch.nn.Linear(3, 2).state_dict(),
        "where": torch.device("cpu"),
        "kind": torch.float32,
        "size": x.shape,
    }
    torch.save(value, tmp_path / "x.pt", pickle_protocol=protocol)
    found, _ = read_torch(tmp_path / "x.pt", "x.pt")
    loaded = torch.load(tmp_path / "x.pt", weights_only=False)
    flat = {**loaded, "list.0": loaded["list"][0], "list.1.deep": loaded["list"][1]["deep"]}
    flat |= {f"state.{name}": one for name, one in loaded["state"].items()}
    tensors = {name: one for name, one in flat.items() if isinstance(one, torch.Tensor)}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name].whole(), tensor.detach().numpy())
    torch.save({"b": x.bfloat16()}, tmp_path / "b.pt")
    np.testing.assert_array_equal(
        read_torch(tmp_path / "b.pt", "b")[0]["b"].whole(), x.bfloat16().float().numpy()
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: torch.nn.Linear(2, 2),
            "it holds torch.nn.modules.linear.Linear, and Python's objects are not loaded",
        ),
        (lambda: torch.zeros(3).to_sparse(), "and Python's objects are not loaded"),
        (lambda: {"x": np.zeros(3)}, "and Python's objects are not loaded"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "is of torch's type ComplexFloat"),
        (lambda: torch.zeros(3).to(torch.float8_e4m3fn), "is of torch's type float8_e4m3fn"),
        (lambda: torch.zeros(3, dtype=torch.complex64).conj().imag, "is a conjugated or negated view"),
    ],
)
def test_what_is_no_tensor_of_numbers_is_refused(tmp_path, make, message):
    torch.save(make(), tmp_path / "x.pt")
    with pytest.raises(SourceError, match=message):
        read_torch(tmp_path / "x.pt", "x.pt")
