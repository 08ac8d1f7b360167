"""`probe decode` and `probe explain` as a user runs them, without torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.linear_model import Ridge

import actstore

NET = """import numpy as np
M = np.random.default_rng(0).normal(size=(30, 12)) / 5
def run(batch):
    h = np.asarray(batch, np.float32).reshape(len(batch), -1) @ M
    return {"h": h, "relu": np.maximum(h, 0)}
"""


@pytest.fixture
def pictures(folder):
    """`p.npz`: 240 + 60 pictures of 5 x 6 in floats, and what they show."""
    generator = np.random.default_rng(1)
    basis = generator.normal(size=(8, 30))
    for name, count in (("train", 240), ("test", 60)):
        x = (generator.normal(size=(count, 8)) @ basis).reshape(count, 5, 6).astype("f4")
        np.savez(folder / f"{name}.npz", x=x, y=(x[:, 0, 0] > 0).astype("i8"))
    (folder / "net.py").write_text(NET)
    return folder


@pytest.fixture
def decodable(run, pictures):
    run(
        "actstore dump net.py:run --data train=train.npz:x --target train:y=train.npz:y --data test=test.npz:x "
        "--target test:y=test.npz:y --layers input --layers h --layers relu -o s.h5"
    )
    return "s.h5"


def test_the_decoder_is_ridge_on_the_stored_rows(run, decodable, pictures):
    result = run(f"probe decode {decodable} --layer h --penalty 3 -o d.h5 --json")
    found = json.loads(result.stdout)
    assert found["decoders"][0]["training"]["residual"] < 1e-12
    with actstore.open("s.h5") as store:
        codes, images = store.layers["h"][:], store.layers["input"][:].reshape(300, -1).astype("f8")
    low, high = images[:240].min(), images[:240].max()
    unit = (images - low) / (high - low)
    ridge = Ridge(alpha=3.0).fit(codes[:240].astype("f8"), unit[:240])
    error = ((ridge.predict(codes[240:]) - unit[240:]) ** 2).mean()
    (score,) = [
        each for each in found["scores"] if each["metric"] == "squared_error" and each["kind"] == "decoder"
    ]
    assert score["value"] == pytest.approx(error, rel=1e-9)
    assert (score["role"], score["rows"], score["split"], score["C"]) == (
        "held_out",
        60,
        "test",
        pytest.approx(1 / 3),
    )
    assert score["low"] < score["value"] < score["high"]


def test_a_table_and_a_figure(run, decodable):
    result = run(f"probe decode {decodable} --layer ** --target y -o d.h5")
    assert "2 decoders, scored on 60 rows of test" in result.stdout
    assert "24 rows of `train` were set aside to choose the penalty" in result.stdout
    assert "relative residual" in result.stdout
    assert not os.path.exists("d.h5.parts")
    run("probe explain d.h5 s.h5 -o f.svg")
    text = Path("f.svg").read_text()
    assert text.count("<image") == 8 * 3
    assert "no reference was trained" in text
    assert "test/" in text
    run("probe explain d.h5 s.h5 --rows test/3,0 --layer relu -o g.svg")
    assert Path("g.svg").read_text().count("<image") == 2 * 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("probe decode s.h5 --layer nope -o d.h5", "nope"),
        ("probe decode s.h5 --layer input* -o d.h5", "input"),
        ("probe decode s.h5 --layer h --target nope -o d.h5", "no target 'nope'"),
        ("probe decode s.h5 --layer h --penalty 0 -o d.h5", "penalty 0; expected a number above 0"),
        ("probe decode s.h5 --layer h --image-axes CHW -o d.h5", "--image-axes CHW does not fit"),
        (
            "probe decode s.h5 --layer h --image-shape 7x7 -o d.h5",
            "--image-shape 7x7 does not hold the 30 values",
        ),
        ("probe decode s.h5 --layer h --engine sklearn -o d.h5", "no engine 'sklearn'"),
        ("probe decode s.h5 --layer h --memory 1kB -o d.h5", "takes 0.0 GB"),
        (
            "probe decode s.h5 --layer h --reference --model net.py:run --target y -o d.h5",
            "neither a reference",
        ),
        (
            "probe decode s.h5 --layer h --evaluate --model net.py:run --target y -o d.h5",
            "expected a torch module",
        ),
        ("probe decode s.h5 --layer h -o s.h5 --overwrite", "read by this very command"),
        ("probe decode s.h5 --layer h -o net.py --overwrite", "no decoder file"),
        ("probe decode s.h5 --layer h -o none/d.h5", "the folder none"),
        ("probe explain s.h5 s.h5 -o f.svg", "not a decoder file"),
        ("probe explain nope.h5 s.h5 -o f.svg", "no decoder file nope.h5"),
        ("probe explain ok.h5 s.h5 -o f.pdf", ".svg or .png"),
        ("probe explain ok.h5 s.h5 --rows nope -o f.svg", "no row 'nope'"),
        ("probe explain ok.h5 s.h5 --layer nope -o f.svg", "no decoder of layer 'nope'"),
        ("probe show ok.h5", "not a probe file"),
    ],
)
def test_mistakes_are_one_line(run, refused, decodable, line, said):
    run("probe decode s.h5 --layer h -o ok.h5 --penalty 1")
    before = {name: Path(name).read_bytes() for name in ("s.h5", "net.py", "ok.h5")}
    assert said in refused(line)
    assert before == {name: Path(name).read_bytes() for name in before}
    assert not os.path.exists("d.h5.parts")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--alpha 0.5", "--alpha is of the convolutional decoder"),
        ("--decoder conv --penalty 1", "--penalty is of the linear decoder"),
        ("--decoder conv --alpha .5", "give --model and --target"),
        ("--decoder conv --reference", "give --model and --target"),
        ("--penalty one", "'one' is no list of penalties"),
        ("--weights w.pt", "--weights is of a --model"),
        ("--arg a=1", "--arg is of a --model"),
    ],
)
def test_options_that_do_not_go_together(refused, decodable, line, said):
    assert said in refused(f"probe decode s.h5 --layer h -o d.h5 {line}", code=2)


def test_a_store_without_pictures(run, refused, pictures):
    run("actstore dump net.py:run --data train=train.npz:x --layers h -o no.h5")
    assert "no layer `input`, which decoders give back" in refused("probe decode no.h5 --layer h -o d.h5")
    run(
        "actstore dump net.py:run --data train=train.npz:x --layers input --layers h --random-features 5 -o r.h5"
    )
    assert "the layer `input` of" in refused("probe decode r.h5 --layer h -o d.h5")
    flat = np.load("train.npz")["x"].reshape(240, 30)
    np.save("flat.npy", flat)
    run("actstore dump net.py:run --data train=flat.npy --layers input --layers h -o flat.h5")
    assert "say its shape with --image-shape" in refused("probe decode flat.h5 --layer h -o d.h5")
    result = run("probe decode flat.h5 --layer h --image-shape 5x6 -o d.h5")
    assert "48 rows of `train` were set aside to be scored" in result.stdout


def test_torch_that_is_missing_is_one_line(refused, decodable, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    said = refused("probe decode s.h5 --layer h --decoder conv -o d.h5")
    assert "pip install 'actstore[torch]'" in said
    assert "--decoder linear" in said


def test_another_store_is_known(run, refused, decodable, pictures):
    run("probe decode s.h5 --layer h --penalty 1 -o d.h5")
    run("actstore dump net.py:run --data test=test.npz:x --layers input --layers h -o other.h5")
    assert "say which with --rows" in refused("probe explain d.h5 other.h5 -o f.svg")
    run("probe explain d.h5 other.h5 --rows 0 -o f.svg")
    (pictures / "other.py").write_text(NET.replace("np.maximum(h, 0)", "np.maximum(h, 1)"))
    run("actstore dump other.py:run --data test=test.npz:x --layers input --layers h -o weights.h5")
    assert "other weights" in refused("probe explain d.h5 weights.h5 --rows 0 -o g.svg")


def test_a_damaged_file_gives_no_picture(run, refused, decodable):
    run("probe decode s.h5 --layer h --penalty 1 -o d.h5")
    with h5py.File("d.h5", "r+") as file:
        offset, size = file["header"].id.get_offset(), file["header"].size
    content = bytearray(Path("d.h5").read_bytes())
    header = bytes(content[offset : offset + size])
    for wrong in (b'"linear"', b'"mean"'):
        assert wrong in header
        content[offset : offset + size] = header.replace(wrong, wrong[:-2] + b'X"', 1)
        Path("bad.h5").write_bytes(bytes(content))
        assert "bad.h5" in refused("probe explain bad.h5 s.h5 --rows 0 -o f.svg")
        assert not Path("f.svg").exists()


def test_a_folder_of_somebody_else_stays(refused, decodable, folder):
    (folder / "d.h5.parts").mkdir()
    (folder / "d.h5.parts" / "thesis.txt").write_text("precious")
    assert "thesis.txt" in refused("probe decode s.h5 --layer h -o d.h5")
    assert (folder / "d.h5.parts" / "thesis.txt").read_text() == "precious"


def test_a_full_disk_is_one_line(decodable, folder):
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)); "
    code += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from cli.main import probe; "
    code += "probe(['decode', 's.h5', '--layer', 'h', '--penalty', '1', '-o', 'd.h5'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not os.path.exists("d.h5")
