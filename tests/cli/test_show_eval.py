"""`probe show` and `probe eval`: every split, how C was chosen, which rows were seen; names that would act."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import solvers
from actstore.errors import StoreError
from cli.probe.afterwards.store_rows import refuse_another_layer
from cli.probe.bridge import described, with_stored
from solvers.probing.probes import Probes

DATA = "--data train=train.npz:x --target train:sign=train.npz:y --data test=test.npz:x --target test:sign=test.npz:y"
HARMFUL = "a\x1b[31m\u202eb\nc</script><script>alert(1)</script>"


def shown(run, probes):
    return json.loads(run(f"probe show {probes} --json").stdout)


@pytest.fixture
def others(net, folder):
    """`dev` and `odd.npz`: further splits, one with a class that training has none of."""
    generator = np.random.default_rng(5)
    x = generator.normal(size=(60, 6)).astype("float32")
    np.savez("odd.npz", x=x, y=np.where(np.arange(60) < 7, 5, x[:, 0] > 0).astype("int64"))
    return "--data extra=odd.npz:x --target extra:sign=odd.npz:y"


def test_every_split_majority_unseen_and_how_c_was_chosen(run, net, others):
    run(f"actstore dump {net} {DATA} {others} --layers hidden -o s.h5")
    run("probe fit s.h5 --target sign --C 0.01,0.1,1,10 --holdout 0.1 -o p.h5")
    run("probe plot p.h5 -o f.svg")
    assert "split: extra" in Path("f.svg").read_text()
    table, *rest, about, rows, chosen = run("probe show p.h5").stdout.strip().split("\n\n")
    header = table.split("\n")[0].split()
    assert header == ["layer", "error", "train", "error", "val", "error", "test", "95%", "C", "gap", "(nats)"]
    assert rest[0].split("\n")[0].split()[:4] == ["layer", "error", "extra", "95%"]
    assert all(each.startswith("layer ") for each in rest)
    assert (
        about
        == "95%: an interval of the fitted probe on new rows of the same population\npositive class of sign: 1"
    )
    probe = solvers.load("p.h5")["hidden", "sign", 0]
    lines = {line.split()[1]: line.split() for line in rows.split("\n")[1:]}
    assert list(lines) == ["train", "val", "test", "extra"]
    for split, line in lines.items():
        assert line == [
            "sign",
            split,
            f"{probe.rows[split]}",
            "0",
            f"{probe.unseen[split]}",
            f"{probe.majority[split]:.4f}",
        ]
    assert lines["extra"][4] == "7"
    assert chosen.startswith(
        "C of sign: chosen of 4 values from 0.01 to 10 by cross-entropy on 30 rows set aside from `train` (shown as "
        "`val`, not trained on)"
    )


def test_c_of_a_split_at_the_end_of_the_grid_and_given(run, net):
    data = DATA.replace("test", "val", 1).replace("test:sign", "val:sign")
    run(f"actstore dump {net} {data} --layers hidden -o s.h5")
    run("probe fit s.h5 --target sign --C 1e-5,1e-4 -o p.h5")
    said = run("probe show p.h5").stdout.strip().split("\n")[-1]
    assert said == (
        "C of sign: chosen of 2 values from 1e-05 to 0.0001 by cross-entropy on 100 rows of `val`; at the end of the "
        "grid for hidden, so try further"
    )
    assert shown(run, "p.h5")["probes"][0]["chosen"] == {
        "how": "split",
        "split": "val",
        "rows": 100,
        "at_end": "highest",
    }
    run("probe fit s.h5 --target sign --C 1 -o q.h5")
    assert run("probe show q.h5").stdout.strip().split("\n")[-1] == "C of sign: given, not chosen"


@pytest.mark.parametrize("grid", ["1,1,1", "1e-9,inf"])
def test_nothing_lies_beyond_infinity_or_beside_one_value(run, net, grid):
    data = DATA.replace("test", "val", 1).replace("test:sign", "val:sign")
    run(f"actstore dump {net} {data} --layers hidden -o s.h5")
    run(f"probe fit s.h5 --target sign --C {grid} -o p.h5")
    said = run("probe show p.h5").stdout.strip().split("\n")[-1]
    assert "chosen" in said
    assert "try further" not in said
    assert "from 1 to 1" not in said
    assert shown(run, "p.h5")["probes"][0]["chosen"]["at_end"] is None


def test_an_engine_that_is_none_is_wrong_usage(refused, store):
    assert "there is no engine 'foo'; expected auto, " in refused(
        f"probe fit {store} --target sign --engine foo -o p.h5", code=2
    )


def test_probes_of_layers_that_are_not_there_do_not_end_the_others(run, evaluated, store, net):
    run(f"probe fit {store} --target sign --C 1 -o p.h5")
    run(f"actstore dump {net} {DATA} --layers hidden -o other.h5")
    assert {row["layer"] for row in evaluated("p.h5 other.h5", code=1)} == {"hidden"}
    result = run("probe eval p.h5 other.h5", code=1)
    assert "other.h5 has no layer 'double.out'" in result.stderr


def test_the_json_of_show(run, store):
    run(f"probe fit {store} --target sign --C 0.1,1 --holdout 0.1 -o p.h5")
    document = shown(run, "p.h5")
    assert (document["format"], document["version"]) == ("probe show", 1)
    assert [entry["layer"] for entry in document["probes"]] == ["hidden", "double.out"]
    columns = "store,layer,step,target,kind,method,part,C,seed,fold,split,role,metric,unit,value,low,high,interval,rows"
    assert list(document["scores"][0]) == [*columns.split(","), "groups", "status", "features", "fitted_on"]
    entry = document["probes"][0]
    for row in document["scores"]:
        if row["layer"] == "hidden" and row["kind"] == "task" and row["metric"] in entry:
            assert row["value"] == entry[row["metric"]][row["split"]]
    roles = {row["split"]: row["role"] for row in document["scores"]}
    assert roles == {"train": "fit", "val": "select", "test": "held_out"}


def test_rows_that_were_trained_on_or_chosen_by_stand_apart(run, evaluated, store):
    run(f"probe fit {store} --target sign --C 0.1,1 --holdout 0.1 --layers hidden -o p.h5")
    found = evaluated(f"p.h5 {store}")
    assert [(row["split"], row["role"], row["rows"]) for row in found] == [
        ("train", "fit", 270),
        ("train", "select", 30),
        ("test", "held_out", 100),
    ]
    entry = shown(run, "p.h5")["probes"][0]
    assert [row["value"] for row in found] == [entry["error"][split] for split in ("train", "val", "test")]
    run(f"probe fit {store} --target sign --C 1 --layers hidden -o q.h5")
    assert [row["role"] for row in evaluated(f"q.h5 {store}")] == ["fit", "held_out"]


def test_rows_of_another_dump_of_the_same_inputs_are_known_again(run, evaluated, store, net):
    """Another function over the same inputs: other activations, another fingerprint, the same examples."""
    run(f"probe fit {store} --target sign --C 1 --layers hidden -o p.h5")
    source = Path("net.py").read_text()
    Path("other.py").write_text(source.replace("np.tanh(batch", "np.tanh(2 * batch"))
    run(f"actstore dump other.py:run {DATA} --layers hidden -o t.h5")
    done = run("probe eval p.h5 t.h5 --json")
    assert [(row["split"], row["role"]) for row in evaluated("p.h5 t.h5")] == [
        ("train", "fit"),
        ("test", "held_out"),
    ]
    assert done.stderr == (
        "note: t.h5 was dumped from other weights than p.h5 was fitted on, so these are scores of transfer\n"
    )


def test_rows_of_other_inputs_with_the_same_ids_are_marked_and_not_claimed(run, evaluated, store, net):
    run(f"probe fit {store} --target sign --C 1 --layers hidden -o p.h5")
    generator = np.random.default_rng(8)
    for split, rows in (("train", 300), ("test", 100)):
        x = generator.normal(size=(rows, 6)).astype("float32")
        np.savez(f"{split}.npz", x=x, y=(x[:, 0] > 0).astype("int64"))
    run(f"actstore dump {net} {DATA} --layers hidden -o t.h5")
    done = run("probe eval p.h5 t.h5 --json")
    assert [(row["split"], row["role"]) for row in evaluated("p.h5 t.h5")] == [
        ("train", "same_ids"),
        ("test", "held_out"),
    ]
    assert (
        "note: rows of t.h5 have ids that p.h5 was fitted with, though the inputs are others or unknown"
        in done.stderr
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "--random-features 2 --seed 1",
            "--random-features 2 --seed 2",
            "by random_features 2 of 4, this by others of",
        ),
        ("--random-features 3", "", "by random_features 3 of 4, this by nothing"),
        (
            "--random-projection 3 --seed 1",
            "--random-projection 3 --seed 2",
            "by random_projection 3, this by others",
        ),
    ],
)
def test_a_layer_that_was_reduced_otherwise_is_refused(run, evaluated, refused, net, before, after, said):
    run(f"actstore dump {net} {DATA} --layers hidden {before} -o s.h5")
    run(f"actstore dump {net} {DATA} --layers hidden {after} -o t.h5")
    run("probe fit s.h5 --target sign --C 1 -o p.h5")
    line = refused("probe eval p.h5 t.h5")
    assert f"layer 'hidden' of t.h5 is not what p.h5 was fitted on: that was reduced {said}" in line
    assert len(evaluated("p.h5 s.h5")) == 2


@pytest.mark.parametrize(("there", "refused"), [("mean", False), ("max", True), (None, False)])
def test_a_layer_that_was_pooled_otherwise_is_refused(folder, there, refused):
    """What a store does not say is not compared: `None` is a store of files that were imported."""

    def store(pool):
        steps = [{"step": "pool", "pool": pool, "axes": ["height", "width"]}]
        said = {"reductions": {"layers": {"h": {"steps": steps}}}} if pool else {}
        return SimpleNamespace(provenance=said, layers={"h": None})

    x = np.random.default_rng(0).normal(size=(30, 3))
    probe = solvers.fit_layers({"h": x}, np.arange(30) % 2, C=1.0)["h", "label", 0]
    probe = with_stored(probe, {"h": described(store("mean"), "h")})
    Probes([probe]).save("p.h5")
    (loaded,) = solvers.load("p.h5").values()
    if not refused:
        refuse_another_layer(loaded, store(there), "p.h5", "t.h5")
        return
    with pytest.raises(StoreError, match="was reduced by pool mean, this by pool max; dump it with the same"):
        refuse_another_layer(loaded, store(there), "p.h5", "t.h5")


def test_a_cast_is_no_other_layer(run, evaluated, net):
    run(f"actstore dump {net} {DATA} --layers hidden -o s.h5")
    run(f"actstore dump {net} {DATA} --layers hidden --dtype float16 -o t.h5")
    run("probe fit s.h5 --target sign --C 1 -o p.h5")
    assert [row["role"] for row in evaluated("p.h5 t.h5")] == ["fit", "held_out"]


@pytest.fixture
def steps(run, net):
    """`run.acts`: three steps of the same rows."""
    source = Path("net.py").read_text()
    for step in (0, 30, 500):
        Path(f"net{step}.py").write_text(source.replace("default_rng(0)", f"default_rng({step})"))
        run(f"actstore dump net{step}.py:run {DATA} --layers hidden --step {step} -o run.acts")
    return "run.acts"


@pytest.mark.parametrize(
    ("asked", "fitted"),
    [
        ("--step 0 --step 30", [0, 30]),
        ("--step 0,500", [0, 500]),
        ("--step all", [0, 30, 500]),
        ("--step 30", [30]),
    ],
)
def test_several_steps_in_one_file(run, steps, folder, asked, fitted):
    run(f"probe fit {steps} --target sign --C 1 {asked} -o p.h5")
    probes = solvers.load("p.h5")
    assert sorted(probes) == [("hidden", "sign", step) for step in fitted]
    for step in fitted:
        run(f"probe fit {steps} --target sign --C 1 --step {step} -o one{step}.h5")
        alone = solvers.load(f"one{step}.h5")["hidden", "sign", step]
        both = probes["hidden", "sign", step]
        assert abs(both.loss - alone.loss) <= both.gap_nats + alone.gap_nats
        assert both.fingerprint == alone.fingerprint
    assert not list(folder.glob("*.parts"))
    assert ("step" in run("probe show p.h5").stdout.split("\n")[0].split()) == (len(fitted) > 1)


def test_a_figure_has_a_panel_for_each_step(run, refused, steps, folder):
    run(f"probe fit {steps} --target sign --C 1 --step all -o p.h5")
    run("probe plot p.h5 -o all.svg")
    assert all(f">step {step}<" in (folder / "all.svg").read_text() for step in (0, 30, 500))
    assert "there is no score of step 7; there is 0, 30, 500" in refused("probe plot p.h5 --step 7 -o f.svg")
    run("probe plot p.h5 --step 30 -o f.svg")
    assert "step 500" not in (folder / "f.svg").read_text()


def test_steps_that_are_not_there(run, refused, steps, store):
    assert "run.acts has no step 7; it has 0, 30, 500" in refused(
        f"probe fit {steps} --target sign --step 0,7 -o p.h5"
    )
    said = run(f"probe fit {steps} --target sign --step 0-30 -o p.h5", code=2).stderr
    assert "--step 0-30 is no list of steps; write for example --step 0,500 or --step all" in said
    line = "probe fit train=train.npz:x --target train:y=train.npz:y --step 0 -o p.h5"
    assert "--step chooses a step of a store; features of your own have none" in run(line, code=2).stderr


@pytest.fixture
def harmful(folder):
    """`p.h5`: a probe of a layer and a target whose names would act on a terminal, a page, a figure."""
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    splits = np.where(np.arange(60) < 40, "train", "te\x1bst")
    solvers.fit_layers({HARMFUL: x}, {HARMFUL: y}, splits=splits, C=1.0).save("p.h5")
    return "p.h5"


def test_names_do_not_act_on_the_terminal(run, refused, harmful, store):
    for line in ("probe show p.h5", "probe show p.h5 p.h5", "probe show p.h5 --json"):
        out = run(line).stdout
        assert not set("\x1b\u202e") & set(out)
        assert "\\u202e" in out
    assert run("probe show p.h5").stdout.split("\n")[1].startswith("a\\x1b[31m\\u202eb\\x0ac</script>")
    assert json.loads(run("probe show p.h5 --json").stdout)["probes"][0]["layer"] == HARMFUL
    said = refused(f"probe eval p.h5 {store}")
    assert not set("\x1b\u202e") & set(said)


def test_names_in_a_refusal_do_not_act_on_the_terminal(refused, folder):
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    solvers.fit_layers({"fc": x}, {"a\x1b[31m": y, "b\u202e": y}, C=1.0).save("p.h5")
    said = refused("probe plot p.h5 -o f.svg --target c")
    assert "there is no score of target 'c'; there is a\\x1b[31m, b\\u202e" in said


def test_names_do_not_act_on_a_page_or_end_a_figure(run, harmful, folder):
    for name in ("f.html", "f.svg", "f.png"):
        run(["probe", "plot", harmful, "-o", name])
    page = (folder / "f.html").read_text()
    assert "<script>alert(1)" not in page
    assert "\\u003c/script\\u003e" in page
    assert "\x1b" not in (folder / "f.svg").read_text()
    assert "<script>" not in (folder / "f.svg").read_text()
    run(["probe", "plot", harmful, "-o", "t.html", "--title", "</script><script>alert(1)</script>"])
    assert "<script>alert(1)" not in (folder / "t.html").read_text()


def test_a_file_of_another_layer_of_the_same_name_says_nothing_false(run, refused, store, folder):
    run(f"probe fit {store} --target sign --C 1 -o p.h5")
    shutil.copy("p.h5", "q.h5")
    assert re.match(r"layer +error", run("probe show p.h5 q.h5").stdout)
