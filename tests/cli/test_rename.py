"""`probe eval --rename`: one network under two names; and the split that means `val` under one."""

import json
from pathlib import Path

import numpy as np
import pytest

import actstore
import solvers
from solvers.errors import ProblemError
from solvers.probing.layer.names import other_names

NAMES = ["layers.0", "layers.1", "norm", "layers.1.attn"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"layers.*": "model.layers.*"}, ["model.layers.0", "model.layers.1", "norm", "layers.1.attn"]),
        ({"layers.**": "h.**"}, ["h.0", "h.1", "norm", "h.1.attn"]),
        ({"layers.*.*": "*.of.*"}, ["layers.0", "layers.1", "norm", "1.of.attn"]),
        ({"norm": "final"}, ["layers.0", "layers.1", "final", "layers.1.attn"]),
        ({r"re:layers[.](\d+)": r"h.\1.out"}, ["h.0.out", "h.1.out", "norm", "layers.1.attn"]),
        ({"**": "m.**", "norm": "final"}, ["m.layers.0", "m.layers.1", "final", "m.layers.1.attn"]),
        ({"layers.0": "layers.1", "layers.1": "layers.0"}, ["layers.1", "layers.0", "norm", "layers.1.attn"]),
        ({}, NAMES),
    ],
)
def test_new_names(names, expected):
    assert other_names(NAMES, names) == dict(zip(NAMES, expected, strict=True))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"layer.*": "a.*"}, "no layer is called 'layer.\\*'.*the nearest is 'layers"),
        ({"layers.*": "one"}, "'layers.0' and 'layers.1' would both be called 'one'"),
        ({"norm": "layers.0"}, "'layers.0' and 'norm' would both be called 'layers.0'"),
        ({"layers.*": "*.*"}, "has more stars than"),
        ({"re:(": "a"}, "cannot be renamed 'a': missing"),
        ({"re:norm": r"\2"}, "invalid group reference"),
    ],
)
def test_names_that_cannot_be(names, message):
    with pytest.raises(ProblemError, match=message):
        other_names(NAMES, names)


@pytest.fixture
def two(folder):
    """`a.acts` and `b.acts`: the same rows under other names of their layers; `a` calls its split for C `dev`."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 4)).astype("f4")
    y = (x[:, 0] > 0).astype(int)
    splits = ["train"] * 200 + ["dev"] * 50 + ["test"] * 50
    for name, prefix in (("a.acts", ""), ("b.acts", "model.")):
        with actstore.create(name) as store:
            layers = {f"{prefix}layers.0": x, f"{prefix}layers.1": -x}
            store.append(layers, targets={"y": y}, splits=splits)
    return folder


def rows(run, line):
    """The errors of each probe, split and role."""
    scores = json.loads(run(f"probe eval {line} --json").stdout)["scores"]
    return [row for row in scores if (row["kind"], row["metric"]) == ("task", "error")]


def test_probes_find_the_layers_of_a_store_that_calls_them_otherwise(run, refused, two):
    run("probe fit a.acts --target y --C 0.1,1 -o p.h5")
    same = rows(run, "p.h5 a.acts")
    found = rows(run, "p.h5 b.acts --rename layers.*=model.layers.*")
    assert [(row["layer"], row["split"], row["value"]) for row in found] == [
        (f"model.{row['layer']}", row["split"], row["value"]) for row in same
    ]
    line = refused("probe eval p.h5 b.acts")
    assert "no layer 'layers.0'" in line
    assert line.endswith("say --rename OLD=NEW")

    probes = solvers.load("p.h5").renamed({"layers.*": "model.layers.*"})
    assert [layer for layer, *_ in probes] == ["model.layers.0", "model.layers.1"]


def test_joined_layers_and_slices_are_renamed_too(run, two):
    run("probe fit a.acts --target y --C 1 --concat layers.0,layers.1 -o j.h5")
    assert {row["layer"] for row in rows(run, "j.h5 b.acts --rename layers.*=model.layers.*")} == {
        "model.layers.0",
        "model.layers.1",
        "model.layers.0+model.layers.1",
    }
    run("probe fit a.acts --target y --C 1 --split-features 2 -o h.h5")
    assert {row["layer"] for row in rows(run, "h.h5 b.acts --rename layers.*=model.layers.*")} == {
        f"model.layers.{layer}@{head}" for layer in (0, 1) for head in (0, 1)
    }


@pytest.mark.parametrize(
    ("rename", "code", "message"),
    [
        ("layers", 2, "is not OLD=NEW"),
        ("=a", 2, "is not OLD=NEW"),
        ("layers.0=", 2, "is not OLD=NEW"),
        ("layer.0=a", 1, "no layer is called 'layer.0'"),
        ("norm=a --rename norm=b", 2, "was given twice"),
    ],
)
def test_a_rename_that_is_none(run, refused, two, rename, code, message):
    run("probe fit a.acts --target y --C 1 -o p.h5")
    assert message in refused(f"probe eval p.h5 b.acts --rename {rename}", code)


def test_eval_calls_a_split_as_show_does(run, two):
    run("probe fit a.acts --target y --C 0.1,1 -o p.h5")
    done = run("probe eval p.h5 a.acts --json")
    found = rows(run, "p.h5 a.acts")
    shown = json.loads(run("probe show p.h5 --json").stdout)["probes"]
    for probe in shown:
        of_layer = {row["split"]: row["value"] for row in found if row["layer"] == probe["layer"]}
        assert of_layer == probe["error"]
    assert {(row["split"], row["role"]) for row in found} == {
        ("train", "fit"),
        ("val", "select"),
        ("test", "held_out"),
    }
    assert done.stderr.count("note: the split `dev` of a.acts is shown as `val`") == 1
    table = run("probe eval p.h5 a.acts").stdout
    assert "dev" not in table


def test_splits_that_a_fit_was_told_of_have_the_names_of_show(run, two):
    store = actstore.open("a.acts")
    names = {"train": "fit on", "dev": "kept", "test": "later"}
    store.attach("part", [names[split] for split in store.splits.tolist()])
    with actstore.create("d.acts") as other:
        other.append(
            {name: layer[:] for name, layer in store.layers.items()},
            targets={"y": store.targets["y"]},
            splits=store.targets["part"],
        )
    meant = ["train=fit on", "val=kept", "test=later"]
    told = [word for each in meant for word in ("--split-as", each)]
    run(["probe", "fit", "d.acts", "--target", "y", "--C", "1", "-o", "p.h5", *told])
    assert {row["split"] for row in rows(run, "p.h5 d.acts")} == {"train", "val", "test"}
    said = run("probe eval p.h5 d.acts").stderr
    for named, shown in (("fit on", "train"), ("kept", "val"), ("later", "test")):
        assert f"note: the split `{named}` of d.acts is shown as `{shown}`" in said


def test_two_splits_that_may_be_val_keep_their_names(run, two):
    run("probe fit a.acts --target y --C 1 -o p.h5")
    x = np.zeros((6, 4), "f4")
    with actstore.create("c.acts") as store:
        store.append(
            {"layers.0": x, "layers.1": x},
            targets={"y": [0, 1, 0, 1, 0, 1]},
            splits=["val", "dev", "valid", "val", "dev", "valid"],
        )
    assert {row["split"] for row in rows(run, "p.h5 c.acts")} == {"val", "dev", "valid"}


def test_a_disk_that_is_full_leaves_no_empty_parts(two):
    import subprocess
    import sys

    program = (
        "import resource, sys\n"
        "import scipy.optimize, scipy.spatial, scipy.stats\n"  # before 1.14 they open temporary files when loaded
        "from cli.main import probe\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "probe(['fit', 'a.acts', '--target', 'y', '--C', '1', '-o', 'full.h5'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path("full.h5.parts").exists()
    assert not Path("full.h5").exists()
