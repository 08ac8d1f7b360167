"""Which layer feeds which, as torch's operations and an ONNX graph say it, kept in the store and drawn."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.framework
torch = pytest.importorskip("torch")
nn = torch.nn

import actstore  # noqa: E402
from actstore.adapters.base import contracted  # noqa: E402

ROWS = np.random.default_rng(0).normal(size=(12, 8)).astype("float32")


class Net(nn.Module):
    """A stem, blocks with skips, a recurrent layer whose state alone goes on, an auxiliary branch written in place."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 6)
        self.relu = nn.ReLU(inplace=True)
        self.inner = nn.Linear(6, 6)
        self.rnn = nn.LSTM(6, 6, batch_first=True)
        self.aux = nn.Linear(6, 2)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        stem = self.stem(x)
        hidden = stem + self.inner(self.relu(stem.clone()))
        _, (state, _) = self.rnn(self.relu(hidden)[:, None])
        found = state[0].reshape(len(x), -1)
        found[:, :2] += self.aux(hidden)
        kept = torch.empty(len(x), 6)
        torch.mul(found, 2, out=kept)
        return self.head(kept)


NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
"""


def graph_of(model, layers, path, **options):
    with actstore.create(path, layers=layers, **options) as recording:
        recording.dump(model, ROWS)
    return actstore.open(path).provenance.get("graph")


def test_skips_branches_states_and_writes_in_place_are_seen(tmp_path):
    torch.manual_seed(0)
    graph = graph_of(Net().eval(), ["**", "input"], tmp_path / "s.h5")
    assert graph["told_by"] == "torch"
    assert {tuple(edge) for edge in graph["edges"]} == {
        ("input", "stem"),
        ("stem", "relu"),
        ("relu", "inner"),
        ("stem", "relu#1"),
        ("inner", "relu#1"),
        ("relu#1", "rnn"),
        ("relu#1", "aux"),
        ("rnn", "head"),
        ("aux", "head"),
    }


def test_edges_pass_through_what_is_not_stored(tmp_path):
    torch.manual_seed(0)
    graph = graph_of(Net().eval(), ["stem", "head"], tmp_path / "s.h5")
    assert graph["edges"] == [["stem", "head"]]


def test_a_model_that_cannot_be_followed_is_dumped_without_a_graph(tmp_path, monkeypatch):
    from actstore.adapters.for_torch.feeding import Feeding

    def refuse(*_):
        raise NotImplementedError("no rule for this operation")

    monkeypatch.setattr(Feeding, "_follow", refuse)
    assert graph_of(Net().eval(), ["stem", "head"], tmp_path / "s.h5") is None


def test_the_values_are_those_of_a_pass_that_nobody_follows(tmp_path):
    torch.manual_seed(0)
    model = Net().eval()
    graph_of(model, ["**"], tmp_path / "s.h5")
    with torch.no_grad():
        stem = model.stem(torch.from_numpy(ROWS)).numpy()
    assert np.array_equal(actstore.open(tmp_path / "s.h5").layers["stem"][:], stem)


def test_an_onnx_graph_says_the_same(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a_out"], name="/a/MatMul"),
        helper.make_node("Relu", ["a_out"], ["r_out"], name="/r/Relu"),
        helper.make_node("Add", ["r_out", "a_out"], ["s_out"], name="/s/Add"),
        helper.make_node("Relu", ["s_out"], ["y"], name="/y/Relu"),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, ["n", 8])],
        [helper.make_tensor_value_info("y", kind, ["n", 8])],
        [numpy_helper.from_array(np.eye(8, dtype="float32"), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    found = graph_of(model, ["**", "input"], tmp_path / "s.h5")
    names = {name: name.split(".")[0].split("/")[0] for edge in found["edges"] for name in edge}
    assert found["told_by"] == "onnx"
    assert {(names[source], names[to]) for source, to in found["edges"]} == {
        ("input", "a"),
        ("a", "r"),
        ("r", "s"),
        ("a", "s"),
        ("s", "y"),
    }
    skipping = graph_of(model, ["a", "output"], tmp_path / "t.h5")
    assert skipping["edges"] == [["a", "output"]]


def test_what_is_between_is_passed_and_nothing_twice():
    edges = [("a", "x"), ("x", "b"), ("a", "b"), ("b", "y"), ("y", "c"), ("c", "y")]
    assert contracted(edges, ["a", "b", "c"]) == [("a", "b"), ("b", "c")]
    assert contracted(edges, ["c", "a"]) == [("a", "c")]
    assert contracted([], ["a"]) == []


def test_the_graph_of_a_store_is_drawn(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from cli.main import actstore as program
    from cli.main import probe

    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=ROWS.repeat(10, axis=0), y=np.arange(120) % 3)
    (tmp_path / "net.py").write_text(NETWORK)
    lines = (
        (program, "dump net.py:make --data d.npz:x --target y=d.npz:y --layers ** -o s.h5"),
        (probe, "fit s.h5 --target y --layers 0 --layers 2 --C 1 -o p.h5"),
        (probe, "plot p.h5 --kind graph -o g.svg"),
        (probe, "fit s.h5 --target y --layers re:[012] --concat 0,2 --C 1 -o pattern.h5"),
        (probe, "plot pattern.h5 --kind graph -o pattern.svg"),
    )
    for command, line in lines:
        done = CliRunner().invoke(command, line.split())
        assert done.exit_code == 0, done.output
    assert "1 edge, recorded in the store" in (tmp_path / "g.svg").read_text()
    assert "2 edges, recorded in the store" in (tmp_path / "pattern.svg").read_text()
    import solvers

    assert json.dumps(solvers.load("p.h5")["2", "y", 0].provenance.stored["2"]["fed_by"]) == '["0"]'
