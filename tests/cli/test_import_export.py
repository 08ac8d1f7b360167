"""`actstore import`, `export` and `pack` as a user runs them."""

import errno
import json
import os
import re

import h5py
import numpy as np
import pytest


@pytest.fixture
def arrays(folder):
    generator = np.random.default_rng(0)
    for split, rows in (("train", 30), ("test", 10)):
        (folder / split).mkdir()
        np.save(folder / split / "conv1.npy", generator.normal(size=(rows, 2, 3)).astype("float32"))
        np.save(folder / split / "fc.npy", generator.normal(size=(rows, 4)))
    return folder


def test_import_as_the_help_page_says(run, arrays):
    line = "actstore import train=train/conv1.npy train=train/fc.npy test=test/conv1.npy test=test/fc.npy -o net.acts"
    assert run(line).stdout == "net.acts: 40 rows of 2 layers\n"
    found = json.loads(run("actstore info net.acts --json").stdout)
    assert (found["splits"], list(found["layers"])) == ({"train": 30, "test": 10}, ["conv1", "fc"])
    assert found["complete"] is True


def test_import_of_sentences(run, folder):
    with h5py.File(folder / "bert.hdf5", "w") as file:
        for index, tokens in enumerate((3, 5)):
            file[str(index)] = np.ones((12, tokens, 8), "f4")
    assert run("actstore import train=bert.hdf5 -o bert.h5").stdout == "bert.h5: 8 rows of 12 layers\n"
    assert json.loads(run("actstore info bert.h5 --json").stdout)["row_unit"] == "token"


def test_import_warns_of_nan(run, folder):
    np.save(folder / "x.npy", np.array([[1, np.nan], [2, 3]]))
    result = run("actstore import x.npy -o x.h5 --layer bad --split train --row word")
    assert result.stderr == "warning: layer 'bad' has NaN or infinities in 1 rows\n"
    assert json.loads(run("actstore info x.h5 --json").stdout)["row_unit"] == "word"


@pytest.mark.parametrize("end", ["npz", "safetensors"])
def test_there_and_back_through_the_commands(run, store, folder, end):
    out = run(f"actstore export {store} --layer hidden --layer double.out -o x.{end}").stdout
    assert re.fullmatch(rf"x\.{end}: 400 rows of 2 layers, [0-9.]+ kB\n", out)
    run(f"actstore import x.{end} -o back.h5")
    before, after = (json.loads(run(f"actstore info {name} --json").stdout) for name in (store, "back.h5"))
    # In .safetensors the widest come first, and rows have neither splits nor labels.
    assert {name: {**layer, "axes": 0} for name, layer in after["layers"].items()} == {
        name: {**layer, "axes": 0} for name, layer in before["layers"].items()
    }
    assert (after["targets"] == before["targets"]) == (end == "npz")
    assert (after["splits"] == before["splits"]) == (end == "npz")


def test_export_of_one_layer(run, store, folder):
    assert "x.npy: 400 rows of 1 layer, " in run(f"actstore export {store} --layer hidden -o x.npy").stdout
    assert np.load(folder / "x.npy").shape == (400, 4)


def test_bfloat16_is_said_to_be_written_as_float32(run, store, folder):
    run(f"actstore pack {store} -o half.h5 --dtype bfloat16")
    result = run("actstore export half.h5 --layer hidden -o x.npy")
    assert result.stderr == (
        "layer 'hidden' is bfloat16, which NumPy lacks: written as the same values in float32\n"
    )
    assert run("actstore export half.h5 --layer hidden -o x.safetensors").stderr == ""


def test_pack(run, net, folder):
    run(f"actstore dump {net} --data train=train.npz:x --layers hidden -o s.acts")
    assert re.fullmatch(r"s\.h5: 300 rows of 1 layer, [0-9.]+ kB\n", run("actstore pack s.acts -o s.h5").stdout)
    one, other = (json.loads(run(f"actstore info s.{end} --json").stdout) for end in ("acts", "h5"))
    assert {**one, "path": 0} == {**other, "path": 0}


def test_pack_says_what_a_cast_loses(run, store, folder):
    lines = run(f"actstore pack {store} -o half.h5 --dtype float16").stdout.split("\n")
    assert lines[2].split() == ["layer", "from", "to", "largest", "error", "overflows", "NaN"]
    name, before, after, error, overflows, nan = lines[3].split()
    assert (name, after, overflows, nan) == ("hidden", "float16", "0", "0")
    assert 0 < float(error) < 2**-11  # half a step below 1, the largest tanh
    found = json.loads(run("actstore info half.h5 --json").stdout)
    assert found["provenance"]["cast"]["hidden"]["from"] == before
    assert found["layers"]["hidden"]["dtype"] == "float16"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("actstore import none.npy -o x.h5", "there is no file none.npy"),
        ("actstore import net.py -o x.h5", r"'net\.py' cannot be imported"),
        ("actstore import s.h5 -o x.h5", r"s\.h5 is a store already, and no file of others"),
        ("actstore import train.npz -o s.h5", r"s\.h5 already exists.*--overwrite"),
        ("actstore import train.npz -o x.csv", r"x\.csv is not the name of a store"),
        (
            "actstore export s.h5 --layer hiden -o x.npy",
            "no layer 'hiden' in this store; nearest of 2: 'hidden'",
        ),
        ("actstore export s.h5 --layer hidden -o x.csv", r"x\.csv is not the name of an export"),
        ("actstore export none.h5 --layer hidden -o x.npy", r"none\.h5 cannot be opened"),
        ("actstore pack s.h5 -o x.acts", r"x\.acts is not the name of a single file; expected NAME\.h5"),
        ("actstore pack s.h5 -o x.h5 --dtype int8", "dtype is 'int8'; expected one of float16, float32"),
        ("actstore pack s.h5 -o s.h5", r"s\.h5 is an input \(s\.h5\), which an output never replaces"),
        ("actstore pack none.acts -o x.h5", r"none\.acts"),
        ("actstore pack s.h5 -o none/x.h5", "there is no folder .*none"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(refused, store, folder, line, message):
    before = sorted(folder.iterdir())
    assert re.search(message, refused(line))
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "line", ["import", "import x.npy", "export s.h5", "export s.h5 --layer a", "pack s.h5"]
)
def test_wrong_usage_exits_2(run, line):
    assert "Usage: " in run(f"actstore {line}", code=2).stderr


def test_pack_never_replaces_what_it_reads(refused, store, folder):
    before = (folder / store).read_bytes()
    assert "is an input" in refused(f"actstore pack {store} -o {store} --overwrite")
    assert (folder / store).read_bytes() == before


@pytest.mark.parametrize(
    "line", ["pack s.h5 -o x.h5", "export s.h5 --layer hidden -o x.npz", "import train.npz -o x.h5"]
)
def test_a_full_disk_is_one_line_and_leaves_nothing(refused, store, folder, monkeypatch, line):
    before = sorted(folder.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    assert "No space left on device" in refused(f"actstore {line}")
    assert sorted(folder.iterdir()) == before


def test_features_are_told_by_their_bytes_and_a_store_beside_others_is_refused(run, store, folder):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    np.save(folder / "y.npy", y)
    with h5py.File(folder / "others.h5", "w") as file:
        file["x"] = x
    with open(folder / "x.data", "wb") as file:
        np.save(file, x)
    (folder / "t.csv").write_text(
        "a,b,c,mark\n"
        + "".join(f"{','.join(map(repr, row))},{mark}\n" for row, mark in zip(x.tolist(), y, strict=True))
    )
    shown = []
    for data, target in (("others.h5", "y.npy"), ("x.data", "y.npy"), ("t.csv", "t.csv:mark")):
        run(f"probe fit {data} --target y={target} --C 1 -o probes-{data}.h5")
        found = json.loads(run(f"probe show probes-{data}.h5 --json").stdout)["probes"][0]
        shown.append((found["error"], round(found["cross_entropy"]["train"], 6)))
    assert shown[0] == shown[1] == shown[2]
    assert 0 < shown[0][0]["train"] < 0.5  # the label is none of the features
    done = run(f"probe fit {store} others.h5 --target y=y.npy -o x.h5", code=2)
    assert "s.h5 is a store or a folder, and 2 things were given" in done.stderr
