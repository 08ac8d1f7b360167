"""Torch from the command line: what `actstore layers` and `actstore dump` show and take of such a model."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import actstore
from cli.main import actstore as program

pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))

class Branching(Net):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x

def function(x):
    return {"a": x}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(line)`` calls the program in a folder with the models above, and gives what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    np.save("x.npy", np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32))

    def call(line, code=0):
        result = CliRunner().invoke(program, line.split())
        assert result.exit_code == code, result.output
        return result

    return call


def test_layers_lists_no_inputs_but_says_how_they_are_called(run):
    lines = run("layers net.py:Net --data x.npy").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:] if line.strip(" -─")][:4] == [
        "input",
        "first",
        "second",
        "output",
    ]
    assert lines[-1] == "NAME:in is what goes into a layer; name it, or **:in, to store it"
    listed = json.loads(run("layers net.py:Net --data x.npy --json").stdout)["layers"]
    assert [layer["name"] for layer in listed] == ["input", "first", "second", "output"]


def test_layers_says_nothing_of_inputs_where_there_are_none(run):
    assert "NAME:in" not in run("layers net.py:function --data x.npy").stdout


def test_layers_and_dump_trace_functional_calls(run):
    listed = json.loads(run("layers net.py:Net --data x.npy --trace --json").stdout)["layers"]
    assert [layer["name"] for layer in listed] == ["input", "first", "relu", "second", "output"]
    run("dump net.py:Net --data x.npy --trace --layers relu --layers second:in -o run.h5")
    with actstore.open("run.h5") as store:
        assert list(store.layers) == ["relu", "second:in"]
        np.testing.assert_array_equal(store.layers["relu"][:], store.layers["second:in"][:])


def test_dump_runs_under_autocast(run):
    listed = json.loads(run("layers net.py:Net --data x.npy --autocast bf16 --json").stdout)["layers"]
    assert [layer["dtype"] for layer in listed] == ["float32", "bfloat16", "bfloat16", "bfloat16"]
    run("dump net.py:Net --data x.npy --autocast bf16 --layers first -o run.h5")
    with actstore.open("run.h5") as store:
        assert store.provenance["model"]["autocast"] == "bf16"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("net.py:function --data x.npy --autocast bf16", "only torch models take the option autocast"),
        ("net.py:function --data x.npy --trace", "only torch models take the option trace"),
        ("net.py:Branching --data x.npy --trace", "torch.fx cannot trace Branching: TraceError: "),
    ],
)
def test_what_can_not_be_had_is_said_in_one_line(run, line, reason):
    for command in (f"layers {line}", f"dump {line} --layers ** -o run.h5"):
        (told,) = run(command, code=1).stderr.splitlines()
        assert reason in told
