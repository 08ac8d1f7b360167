"""`probe predictions`, and what `probe fit` says of paths, choices, steps and draws."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import actstore
import solvers


@pytest.fixture
def probes(run, store):
    """`p.h5`: two layers, splits train (300) and test (100)."""
    run(f"probe fit {store} --target sign --C 1 -o p.h5")
    return "p.h5"


def read(path):
    """A file of predictions as columns."""
    if path.endswith(".csv"):
        return pd.read_csv(path)
    if path.endswith(".parquet"):
        return pd.read_parquet(path)
    with np.load(path) as arrays:
        columns = {name: arrays[name] for name in arrays if name not in ("classes", "probability")}
        columns |= {f"p({name})": arrays["probability"][:, n] for n, name in enumerate(arrays["classes"])}
        return pd.DataFrame(columns)


@pytest.mark.parametrize("kind", ["csv", "npz", "parquet"])
def test_every_scored_row_is_there_as_the_probe_says_it(run, store, probes, kind):
    done = run(f"probe predictions {probes} -o t.{kind} --store {store}")
    assert done.stdout == f"wrote t.{kind}: 200 rows of 2 probes\n"
    found = read(f"t.{kind}")
    assert list(found) == ["layer", "step", "seed", "split", "row", "id", "truth", "predicted", "p(0)", "p(1)"]
    loaded = solvers.load(probes)
    with actstore.open(store) as opened:
        for key, probe in loaded.items():
            own = found[found["layer"] == key[0]]
            rows = own["row"].to_numpy()
            activations = opened.layers[key[0]][:][rows]
            assert own["id"].tolist() == opened.ids[:][rows].tolist()
            assert own["truth"].tolist() == opened.targets["sign"][rows].tolist()
            assert own["predicted"].tolist() == probe.predict(activations).tolist()
            # Kept as logits in float32.
            np.testing.assert_allclose(own[["p(0)", "p(1)"]], probe.predict_proba(activations), atol=1e-6)
            assert np.mean(own["truth"] != own["predicted"]) == probe.error["test"]


def test_layers_and_splits_are_chosen(run, probes, folder):
    run(f"probe predictions {probes} -o t.csv --layer hidden --split test")
    with open("t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["layer"], row["split"]) for row in rows} == {("hidden", "test")}
    assert len(rows) == 100
    assert "id" not in rows[0]


def test_of_many_classes_there_are_four_numbers_a_row(run, store, folder):
    np.save("many.npy", np.arange(400) % 40)
    run(f"probe fit {store} --target many=many.npy --layers hidden --C 1 -o p.h5")
    run("probe predictions p.h5 -o t.csv")
    found = pd.read_csv("t.csv")
    assert list(found)[-5:] == ["truth", "predicted", "confidence", "nats", "rank"]
    probe = solvers.load("p.h5")["hidden", "many", 0]
    assert np.mean(found["truth"] != found["predicted"]) == probe.error["test"]
    assert found["nats"].mean() == pytest.approx(probe.cross_entropy["test"], rel=1e-5)
    assert set(found["rank"][found["truth"] == found["predicted"]]) == {0}


def test_rows_of_train_only_where_they_were_kept(run, refused, store, probes):
    said = refused(f"probe predictions {probes} --split train -o t.csv")
    assert (
        "p.h5 keeps no predictions of `train`; it has `test`; keep those of `train` with `probe fit --train"
        in said
    )
    assert "p.h5 has no split 'tset'; the nearest: 'test'" in refused(
        f"probe predictions {probes} --split tset --split test -o t.csv"
    )
    run(f"probe fit {store} --target sign --C 1 --train-predictions -o all.h5")
    run("probe predictions all.h5 --split train -o t.csv")
    assert len(pd.read_csv("t.csv")) == 600
    run(f"probe fit {store} --target sign --C 1 --no-predictions -o none.h5")
    assert "none.h5 keeps no predictions; fit again without --no-predictions" in refused(
        "probe predictions none.h5 -o x.csv"
    )
    assert os.path.getsize("none.h5") < os.path.getsize("p.h5") < os.path.getsize("all.h5")
    both = run(f"probe fit {store} --target sign --no-predictions --train-predictions -o x.h5", code=2).stderr
    assert "exclude each other; give one" in both


def test_what_cannot_be_written_is_refused_in_a_line(run, refused, store, probes, folder, monkeypatch):
    assert "is none of .csv, .npz, .parquet" in run(f"probe predictions {probes} -o t.txt", code=2).stderr
    assert "has no layer 'hiden'; the nearest: 'hidden'" in refused(
        f"probe predictions {probes} --layer hiden -o t.csv"
    )
    assert "has no target 'x'" in refused(f"probe predictions {probes} --target x -o t.csv")
    assert "has no step 7" in refused(f"probe predictions {probes} --step 7 -o t.csv")
    assert "its folder does not exist" in refused(f"probe predictions {probes} -o none/t.csv")
    Path("t.csv").write_text("mine")
    assert "t.csv exists already" in refused(f"probe predictions {probes} -o t.csv")
    run(f"probe predictions {probes} -o t.csv --overwrite")
    Path("q.csv").write_bytes(Path(probes).read_bytes())
    assert "is read by this very command" in refused("probe predictions q.csv -o q.csv --overwrite")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "a .parquet file needs pyarrow" in refused(f"probe predictions {probes} -o t.parquet")
    assert sorted(each.name for each in folder.glob("t.*")) == ["t.csv"]


def test_ids_are_only_those_of_the_rows_that_were_scored(run, refused, net, store, probes):
    data = "--data train=test.npz:x --target train:sign=test.npz:y"
    data += " --data test=train.npz:x --target test:sign=train.npz:y"
    run(f"actstore dump {net} {data} --layers hidden -o other.h5")
    said = refused(f"probe predictions {probes} --store other.h5 -o t.csv")
    assert "other.h5 has other rows than those that p.h5 was scored on (split 'test')" in said


def test_of_several_targets_one_is_named(run, refused, store, folder):
    np.save("odd.npy", np.arange(400) % 3)
    run(f"probe fit {store} --target sign --target odd=odd.npy --C 1 -o p.h5")
    assert "p.h5 has several targets; say which with --target: sign, odd" in refused(
        "probe predictions p.h5 -o t.csv"
    )
    run("probe predictions p.h5 --target odd -o t.csv")
    assert set(pd.read_csv("t.csv")["truth"]) == {0, 1, 2}


def test_a_disk_that_is_full_leaves_nothing(run, refused, probes, folder, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "t.npz could not be written: No space left on device; make room" in refused(
        f"probe predictions {probes} -o t.npz"
    )
    assert not list(folder.glob("t.npz")) + list(folder.glob(".t.npz*"))


# what `probe fit` says


def test_train_errors_are_printed_with_c_and_n(run, store):
    out = run(f"probe fit {store} --target sign --protocol train -o p.h5").stdout
    assert (
        "C of sign: the weakest of the stated 1, 1000, 100000; nothing was chosen and no rows were set aside"
        in out
    )
    table = [line.split() for line in out.split("train error by C:\n")[1].strip().split("\n")]
    assert table[0] == ["layer", "N", "C=1", "C=1000", "C=100000"]
    loaded = solvers.load("p.h5")
    for row in table[1:]:
        path = loaded[row[0], "sign", 0].path
        assert row[1:] == ["300", *[f"{each.scores['error']['train']:.4f}" for each in path]]
    twice = run(f"probe fit {store} --target sign --protocol train --C 2 -o q.h5").stdout
    assert "C of sign: 2, as stated; nothing was chosen" in twice


def test_train_errors_that_miss_their_gap_are_an_error(run, store):
    done = run(f"probe fit {store} --target sign --protocol train --C 1,10 --gap 1e-300 -o p.h5", code=1)
    assert "layer 'hidden' is gap_missed at C=1: gap" in done.stderr
    assert "layer 'hidden' is gap_missed: gap" in done.stderr


def test_one_c_and_the_metric_are_said_and_shown(run, store):
    out = run(f"probe fit {store} --target sign --one-C --select-by error --C 0.01,0.1,1 -o p.h5").stdout
    said = "chosen of 3 values from 0.01 to 1 by error on 5 folds of 300 rows of `train`, the best sum over 2"
    assert said in out
    assert said in run("probe show p.h5").stdout
    assert len({row["C"] for row in json.loads(run("probe show p.h5 --json").stdout)["probes"]}) == 1


@pytest.mark.parametrize("old", ["--random-features", "--feature-subset"])
def test_draws_and_their_spread_are_said(run, store, old):
    out = run(f"probe fit {store} --target sign {old} 2 --seeds 3 --C 1 --layers hidden -o p.h5").stdout
    loaded = solvers.load("p.h5")
    errors = [probe.error["test"] for probe in loaded.values()]
    assert list(loaded) == [("hidden", "sign", 0, seed) for seed in range(3)]
    assert (
        "error on `test` of hidden over 3 draws of columns (seeds 0 to 2): "
        f"mean {np.mean(errors):.4f}, standard deviation {np.std(errors, ddof=1):.4f}\n"
    ) in out
    run("probe predictions p.h5 -o t.csv")
    assert sorted(set(pd.read_csv("t.csv")["seed"])) == [0, 1, 2]


def test_a_split_of_the_path_is_scored_where_asked(run, refused, store):
    run(f"probe fit {store} --target sign --C 0.1,1 --score-path test -o p.h5")
    for probe in solvers.load("p.h5").values():
        assert all("test" in each.scores["error"] for each in probe.path)
    assert "names the split 'tst', which no row is in; did you mean 'test'?" in refused(
        f"probe fit {store} --target sign --C 0.1,1 --score-path tst -o q.h5"
    )


def test_complete_steps_are_fitted_while_a_later_one_is_being_written(run, refused, folder):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 4)).astype("f4"), np.arange(60) % 2
    store = actstore.create("run.acts", layers=["h"])
    for step in (0, 100, 200):
        store.append({"h": x + step}, targets={"y": y}, step=step)
    store.close()
    (folder / "run.acts/steps/200/COMPLETE").unlink()
    done = run("probe fit run.acts --target y --step all --C 1 -o all.h5")
    assert "note: step 200 of run.acts is incomplete and left out" in done.stderr
    assert list(solvers.load("all.h5")) == [("h", "y", 0), ("h", "y", 100)]
    run("probe fit run.acts --target y --step 0,100 --C 1 -o two.h5")
    said = refused("probe fit run.acts --target y --step 100,200 --C 1 -o x.h5")
    assert said.startswith(
        "Error: step 200 of run.acts is incomplete: its dump did not finish, so rows are missing;"
    )
