"""`actstore layers` of a torch model: axes, and why a layer has nothing to store."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.unused = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.conv(x)
"""


@pytest.fixture
def listed(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
    from cli.main import actstore

    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    np.save("x.npy", np.zeros((10, 1, 5, 5), np.float32))

    def call(*arguments):
        result = CliRunner().invoke(actstore, ["layers", "net.py:Net", *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_a_layer_without_output_shows_why(listed):
    lines = {line.split()[0]: line for line in listed("--data", "x.npy").splitlines()}
    assert lines["conv"].split()[1:9] == ["1", "Conv2d", "2", "x", "3", "x", "3", "channel,"]
    assert lines["unused"].split() == [
        "unused",
        "Linear",
        "-",
        "-",
        "-",
        *["it", "was", "not", "called", "for", "this", "batch"],
    ]
    rows = {row["name"]: row for row in json.loads(listed("--data", "x.npy", "--json"))["layers"]}
    assert rows["conv"]["axes"] == ["channel", "height", "width"]
    assert rows["conv"]["dump_bytes"] == 10 * 2 * 9 * 4
    assert rows["unused"]["order"] is None
    assert rows["unused"]["note"] == "it was not called for this batch"


def test_without_data_shapes_are_not_known(listed):
    lines = {line.split()[0]: line for line in listed().splitlines()}
    assert lines["conv"].split() == ["conv", "Conv2d", "?", "?", "?"]
