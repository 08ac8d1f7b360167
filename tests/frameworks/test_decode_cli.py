"""`probe decode` with a live network, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")

NET = """import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flat = nn.Flatten()
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(width * 9, 3)

    def forward(self, x):
        x = x[:, None].float() / 255
        for layer in self.children():
            x = layer(x)
        return x

def make(width=4, seed=0):
    torch.manual_seed(seed)
    return Net(width)
"""
MODEL = "--model net.py:make --target bar"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from cli.main import actstore, probe

    def call(line, code=0):
        program, *arguments = line.split()
        result = CliRunner().invoke({"actstore": actstore, "probe": probe}[program], arguments)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def bars(run, tmp_path):
    """`s.h5`: 90 + 30 pictures of 6 x 6 with a bar in one of three places, and what a network makes of them."""
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 3
    pictures = generator.integers(0, 60, (120, 6, 6))
    for place in range(3):
        pictures[labels == place, 2 * place : 2 * place + 2] += 190
    pictures = pictures.astype("u1")
    np.savez(tmp_path / "d.npz", x=pictures[:90], y=labels[:90], xt=pictures[90:], yt=labels[90:])
    (tmp_path / "net.py").write_text(NET)
    data = "--data train=d.npz:x --target train:bar=d.npz:y --data test=d.npz:xt --target test:bar=d.npz:yt"
    run(f"actstore dump net.py:make {data} --layers input --layers pool --layers fc -o s.h5")
    return data


def test_the_whole_way(run, bars):
    line = f"probe decode s.h5 --layer pool --layer fc --decoder conv --alpha 0,.5 {MODEL}"
    line += " --reference --evaluate --seeds 2 --epochs 1 --batch-size 32 -o d.h5"
    found = json.loads(run(f"{line} --json").stdout)
    assert len(found["decoders"]) == 2 * 2 * 3
    kinds = {score["kind"] for score in found["scores"]}
    assert kinds == {"decoder", "reference", "input", "mean_picture", "less_reference"}
    over = [score for score in found["scores"] if score["seed"] == -1]
    assert {score["interval"] for score in over} <= {"t_seeds", ""}
    assert {each["verdict"] for each in found["claims"]} <= {
        "holds",
        "does not hold",
        "undecided",
        "not trained",
    }
    assert not os.path.exists("d.h5.parts")
    run("probe explain d.h5 s.h5 -o f.svg")
    assert Path("f.svg").read_text().count("<image") == 8 * (1 + 2 * 3)
    assert "no reference" not in Path("f.svg").read_text()
    run("probe explain d.h5 s.h5 -o f.png")
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")
    run("probe explain d.h5 s.h5 --rows 0 -o g.svg")  # a training row: its reference was not kept
    assert "kept of the scored rows alone" in Path("g.svg").read_text()
    first = Path("d.h5").read_bytes()
    table = run(f"{line} --overwrite").stdout
    assert "12 decoders, scored on 30 rows of test" in table
    assert "the classifier&#x27;s" not in table
    assert len(Path("d.h5").read_bytes()) == len(first)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--model net.py:make --target bar --arg seed=1", "other weights"),
        ("--model net.py:make --target nope", "no target 'nope'"),
        ("--model nope.py:make --target bar", "nope.py"),
        ("--model demo:digits --target bar", "expected a torch module"),
        ("--model net.py:make --target other", "the labels go from 0 to 7, but the model has outputs 0 to 2"),
    ],
)
def test_another_network_is_refused(run, bars, more, said):
    np.savez("o.npz", x=np.arange(90) % 8, xt=np.arange(30) % 8)
    data = f"{bars} --target train:other=o.npz:x --target test:other=o.npz:xt"
    run(f"actstore dump net.py:make {data} --layers input --layers fc -o o.h5")
    result = run(f"probe decode o.h5 --layer fc --decoder conv --alpha .5 --epochs 1 -o d.h5 {more}", code=1)
    assert said in result.stderr
    assert len(result.stderr.strip().split("\n")) == 1
    assert not os.path.exists("d.h5.parts")


def test_a_store_with_dropout_left_on_is_refused(run, bars):
    """The weights are the same, so their hash does not tell: what the layer makes of the stored input does."""
    import actstore

    with actstore.open("s.h5") as store:
        inputs, codes = store.layers["input"][:], store.layers["fc"][:] * 1.5
        labels, splits = store.targets["bar"], store.splits
        with actstore.create("t.acts") as other:
            for split in ("train", "test"):
                rows = np.flatnonzero(splits == split)
                layers = {"input": inputs[rows], "fc": codes[rows]}
                other.append(layers, targets={"bar": labels[rows]}, splits=[split] * len(rows))
    said = run(f"probe decode t.acts --layer fc --decoder conv --reference {MODEL} -o d.h5", code=1).stderr
    assert "layer 'fc' of" in said
    assert "is not what the model makes of the stored input" in said


def interrupted(process):
    """Press Ctrl-C until it is heard: what Python raises within a callback of a weak reference is ignored by Python."""
    for _ in range(60):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=2)[1]
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.communicate()[1]


def test_an_interrupted_study_goes_on(run, bars):
    heard = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job ignores it
    )
    command = f"{heard}; import sys; from cli.main import probe; probe(sys.argv[1:])"
    given = "s.h5 --layer pool --layer fc --decoder conv --epochs 300 --seeds 2 -o d.h5"
    line = ["decode", *given.split()]
    process = subprocess.Popen([sys.executable, "-c", command, *line], stderr=subprocess.PIPE, text=True)
    for _ in range(2000):  # a busy machine takes a minute to load torch
        time.sleep(0.1)
        if list(Path("d.h5.parts").glob("*.epoch.h5")):
            break
    said = interrupted(process)
    assert process.returncode == 130, said
    assert "d.h5.parts: the same command goes on from there" in said
    assert not os.path.exists("d.h5")
    kept = list(Path("d.h5.parts").glob("*.epoch.h5"))
    assert kept
