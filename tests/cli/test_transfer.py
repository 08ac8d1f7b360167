"""`probe eval` on other rows: features of one's own, other labels, probes beside; trained rows are not held out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import solvers

DATA = "--data train=train.npz:x --target train:sign=train.npz:y --data test=test.npz:x --target test:sign=test.npz:y"


def layers_of(x):
    """The two layers of the model of `net`."""
    matrix = np.random.default_rng(0).normal(size=(6, 4))
    return {"hidden": np.tanh(x @ matrix), "double.out": 2 * x}


def read(name):
    """The arrays of a file."""
    with np.load(name) as file:
        return dict(file)


@pytest.fixture
def probes(run, store):
    """`p.h5`: probes of both layers of `s.h5`, C chosen on rows that were set aside."""
    run(f"probe fit {store} --target sign --C 0.1,1 --holdout 0.2 -o p.h5")
    return "p.h5"


@pytest.fixture
def other(run, net, folder):
    """`o.h5`: new rows of both layers, in the splits `a` and `test`, with 50 groups in `g.csv`."""
    generator = np.random.default_rng(7)
    for split, rows in (("a", 150), ("b", 100)):
        x = generator.normal(size=(rows, 6)).astype("float32")
        np.savez(f"{split}.npz", x=x, y=(x[:, 0] + generator.normal(size=rows) > 0).astype("int64"))
    data = "--data a=a.npz:x --target a:sign=a.npz:y --data test=b.npz:x --target test:sign=b.npz:y"
    run(f"actstore dump {net} {data} --layers hidden --layers double.out -o o.h5")
    ids = [f"a/{n}" for n in range(150)] + [f"test/{n}" for n in range(100)]
    lines = [f"{name},{n // 5}" for n, name in enumerate(ids)]
    Path("g.csv").write_text("\n".join(["id,pair", *lines]) + "\n")
    return "o.h5"


def document(run, line, code=0):
    return json.loads(run(f"probe eval {line} --json", code=code).stdout)


def test_metrics_and_intervals_are_those_of_scikit_learn_and_statsmodels(run, probes, other):
    from sklearn.metrics import log_loss, roc_auc_score
    from statsmodels.stats.proportion import proportion_confint

    found = document(run, f"{probes} {other} --metric error,roc_auc,cross_entropy")
    assert (found["format"], found["version"]) == ("probe eval", 2)
    scores = {(row["layer"], row["split"], row["kind"], row["metric"]): row for row in found["scores"]}
    b = read("b.npz")
    probe = solvers.load(probes)["hidden", "sign", 0]
    p = probe.predict_proba(layers_of(b["x"])["hidden"])
    error = scores["hidden", "test", "task", "error"]
    wrong = int(np.sum(p.argmax(axis=1) != b["y"]))
    assert error["value"] == wrong / 100
    low, high = proportion_confint(wrong, 100, method="wilson")
    assert (error["low"], error["high"]) == pytest.approx((low, high), abs=1e-12)
    assert (error["role"], error["interval"], error["rows"]) == ("held_out", "wilson", 100)
    assert scores["hidden", "test", "task", "roc_auc"]["value"] == pytest.approx(
        roc_auc_score(b["y"], p[:, 1]), abs=1e-12
    )
    assert scores["hidden", "test", "task", "cross_entropy"]["value"] == pytest.approx(
        log_loss(b["y"], p), abs=1e-12
    )
    commonest = np.bincount(read("train.npz")["y"]).argmax()
    assert scores["hidden", "test", "majority", "error"]["value"] == pytest.approx(
        np.mean(b["y"] != commonest), abs=0.02
    )
    assert {row["fitted_on"] for row in found["scores"]} == {probe.fingerprint}
    assert probe.fingerprint not in {row["store"] for row in found["scores"]}


def test_features_of_ones_own_go_to_layers_by_name_whatever_their_order(run, evaluated, probes, other):
    b = read("b.npz")
    layers = layers_of(b["x"])
    np.savez("ab.npz", y=b["y"], **layers)
    np.savez("ba.npz", **dict(reversed(layers.items())), y=b["y"])
    one = evaluated(f"{probes} ab.npz --target sign=ab.npz:y")
    two = evaluated(f"{probes} ba.npz --target sign=ab.npz:y")
    assert [row["value"] for row in one] == [row["value"] for row in two]
    stored = {row["layer"]: row["value"] for row in evaluated(f"{probes} {other}") if row["split"] == "test"}
    assert {row["layer"]: row["value"] for row in one} == stored
    np.save("h.npy", layers["hidden"])
    (alone,) = evaluated(f"{probes} h.npy --layers hidden --target sign=ab.npz:y")
    (named,) = evaluated(f"{probes} new=ab.npz:hidden --layers hidden --target new:sign=ab.npz:y")
    assert alone["value"] == named["value"] == stored["hidden"]
    assert (alone["split"], named["split"]) == ("", "new")


def test_each_split_of_features_has_its_own_labels(evaluated, probes, other):
    for name in "ab":
        np.savez(f"{name}f.npz", **layers_of(read(f"{name}.npz")["x"]))
    line = f"{probes} a=af.npz test=bf.npz --target test:sign=b.npz:y --target a:sign=a.npz:y"
    found = {(row["layer"], row["split"]): row["value"] for row in evaluated(line)}
    assert found == {(row["layer"], row["split"]): row["value"] for row in evaluated(f"{probes} {other}")}


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("p.h5 h.npy --target sign=b.npz:y", 2, "h.npy is one array, but the probes are of 2 layers"),
        ("p.h5 f.npz", 2, "features of your own have no labels; give them: --target"),
        ("p.h5 pos.npz --target sign=b.npz:y", 2, "none of which is a layer of the probes; expected 'hidden'"),
        ("p.h5 f.npz --target sgn=b.npz:y", 2, "have no target 'sgn'; the nearest: 'sign'"),
        ("p.h5 f.npz --target sign=a.npz:y", 1, "150 labels"),
        ("p.h5 f.npz --target sign=text.npy", 1, "the labels are text"),
        ("p.h5 f.npz --target sign=five.npy", 1, "none of the 100 labels (5) is a class of the probe"),
        ("p.h5 f.npz --target sign=b.npz:y --step 3", 2, "--step is for rows of a store"),
        ("p.h5 f.npz f.npz --target sign=b.npz:y", 2, "are both layer"),
        ("p.h5 f.npz s.h5 --target sign=b.npz:y", 2, "give one store, or files"),
        ("p.h5 x=f.npz y=f.npz:hidden --target x:sign=b.npz:y", 2, "were not given the same layers"),
        ("p.h5 f.npz:hidden h.npy --layers hidden --target sign=b.npz:y", 2, "are both layer 'hidden'"),
        ("p.h5 short.npz --target sign=b.npz:y", 2, "layers of a split are of the same rows"),
        ("p.h5 none.npz --target sign=b.npz:y", 1, "there is no file none.npz"),
        ("p.h5 swapped.npz --target sign=b.npz:y", 1, "takes activations of shape (rows, 4) but got (100, 6)"),
        ("p.h5 nan.npz --target sign=b.npz:y", 1, "3 of 100 rows of layer 'hidden' hold NaN"),
        ("p.h5 o.h5 --target sign=b.npz:y", 1, "has 100 labels but"),
        ("p.h5 o.h5 --target test:sign=b.npz:y", 2, "labels are of all rows of a store; write sign=SPEC"),
        ("p.h5 o.h5 --layers hiden", 1, "no layer matches 'hiden'; the nearest: 'hidden'"),
        ("p.h5 o.h5 --metric eror", 1, "did you mean error?"),
        ("p.h5 o.h5 --positive 7", 1, "the positive class '7' is none of the probes'; expected one of 0, 1"),
        ("p.h5 o.h5 -o p.h5", 2, "-o p.h5 is none of .csv, .json"),
        ("p.h5 o.h5 -o there.csv", 1, "there.csv exists already"),
        ("p.h5 o.h5 -o no/where.csv", 1, "its folder does not exist"),
    ],
)
def test_what_could_be_read_wrongly_is_refused_in_one_line(refused, probes, other, line, code, said):
    b = read("b.npz")
    layers = layers_of(b["x"])
    np.savez("f.npz", **layers)
    np.savez("pos.npz", *layers.values())
    np.savez("short.npz", hidden=layers["hidden"], **{"double.out": layers["double.out"][:99]})
    np.savez("swapped.npz", hidden=layers["double.out"])
    np.savez("nan.npz", hidden=np.where(np.arange(100)[:, None] < 3, np.nan, layers["hidden"]))
    np.save("h.npy", layers["hidden"])
    np.save("text.npy", b["y"].astype(str))
    np.save("five.npy", np.full(100, 5))
    Path("there.csv").write_text("mine")
    if line.split()[1] in ("nan.npz", "swapped.npz"):
        line += " --layers hidden"
    assert said in refused(f"probe eval {line}", code=code)
    assert Path("there.csv").read_text() == "mine"


def test_training_rows_given_as_files_are_not_held_out(evaluated, probes, other):
    """As the whole file, as all rows of the store one after another, and as another split."""
    train, test = read("train.npz"), read("test.npz")
    np.savez("t.npz", **layers_of(train["x"]))
    expected = [("fit", 240), ("select", 60)]
    for line in (
        "t.npz --target sign=train.npz:y",
        "test=t.npz --target test:sign=train.npz:y",
    ):
        found = evaluated(f"{probes} {line} --layers hidden")
        assert [(row["role"], row["rows"]) for row in found] == expected
        assert {row["interval"] for row in found} == {""}
    np.savez("all.npz", **layers_of(np.concatenate([train["x"], test["x"]])))
    np.save("y.npy", np.concatenate([train["y"], test["y"]]))
    found = evaluated(f"{probes} all.npz --target sign=y.npy --layers hidden")
    assert [(row["role"], row["rows"]) for row in found] == [*expected, ("held_out", 100)]


def test_training_rows_under_other_ids_are_not_held_out(run, evaluated, net, probes):
    run(
        f"actstore dump {net} --data test=train.npz:x --target test:sign=train.npz:y --layers hidden -o again.h5"
    )
    found = evaluated(f"{probes} again.h5 --layers hidden")
    assert [(row["role"], row["rows"]) for row in found] == [("fit", 240), ("select", 60)]


def test_a_dead_layer_does_not_make_rows_of_others_training_rows(folder):
    """It says the same of any rows with the same labels, so that its scores tell nothing."""
    x, y = np.random.default_rng(0).normal(size=(80, 3)), np.arange(80) % 2
    probes = solvers.fit_layers({"dead": np.zeros((80, 3)), "live": x}, y, C=1.0)
    found = probes.evaluate({"dead": np.zeros((80, 3)), "live": x + 1}, y)
    assert {row.role for row in found} == {"held_out"}
    assert {row.role for row in probes.evaluate({"live": x}, y)} == {"fit"}


def test_labels_of_a_file_or_of_another_target_of_the_store(run, evaluated, probes, other):
    b = np.concatenate([read("a.npz")["y"], read("b.npz")["y"]])
    np.save("flipped.npy", 1 - b)
    plain = {(row["layer"], row["split"]): row["value"] for row in evaluated(f"{probes} {other}")}
    for line in ("--target sign=flipped.npy", "--target sign"):
        found = {(row["layer"], row["split"]): row["value"] for row in evaluated(f"{probes} {other} {line}")}
        assert found == pytest.approx(
            {key: 1 - value for key, value in plain.items()} if "=" in line else plain
        )
    run(f"actstore unpack {other} -o o.acts")
    run("actstore label o.acts flipped.npy --name other")
    found = {
        (row["layer"], row["split"]): row["value"] for row in evaluated(f"{probes} o.acts --target sign=other")
    }
    assert found == pytest.approx({key: 1 - value for key, value in plain.items()})


def test_classes_that_are_missing_or_new(run, probes, other):
    y = np.concatenate([read("a.npz")["y"], read("b.npz")["y"]])
    np.save("more.npy", np.where(np.arange(250) % 50 == 0, 9, y))
    done = run(f"probe eval {probes} {other} --target sign=more.npy --metric error")
    assert done.stdout.split("\n")[0].split()[:5] == ["layer", "split", "role", "rows", "unseen"]
    assert "split 'a': 3 rows are of classes that training had none of (9)" in done.stderr
    np.save("ones.npy", np.ones(250, "int64"))
    done = run(f"probe eval {probes} {other} --target sign=ones.npy --metric roc_auc --layers hidden")
    assert "no row is of class 0" in done.stderr
    found = document(run, f"{probes} {other} --target sign=ones.npy --metric roc_auc --layers hidden")
    assert [row["value"] for row in found["scores"] if row["metric"] == "roc_auc"] == [None, None]


def test_marks_of_no_label_are_warned_of_and_can_be_ignored(run, evaluated, probes, other):
    b = read("b.npz")
    np.savez("f.npz", **layers_of(b["x"]))
    np.save("marks.npy", np.where(np.arange(100) < 5, -100, b["y"]))
    line = f"{probes} f.npz --target sign=marks.npy"
    said = run(f"probe eval {line}").stderr
    assert "warning: target 'sign' has the class -100 (5 rows)" in said
    assert ".py" not in said
    assert {row["rows"] for row in evaluated(line)} == {100}
    assert {row["rows"] for row in evaluated(f"{line} --ignore-label -100")} == {95}
    np.save("all.npy", np.where(np.arange(250) < 5, -100, np.concatenate([read("a.npz")["y"], b["y"]])))
    of_store = evaluated(f"{probes} {other} --target sign=all.npy --ignore-label -100")
    assert {row["rows"] for row in of_store} == {145, 100}
    found = run(
        f"probe errors {probes} {other} --layer hidden --split a --target sign=all.npy --ignore-label -100"
    )
    assert "of 145 wrong" in found.stdout


def test_groups_of_other_rows_widen_the_interval(run, refused, probes, other):
    alone = document(run, f"{probes} {other} --metric error")["scores"][0]
    grouped = document(run, f"{probes} {other} --metric error --group-by g.csv:pair")["scores"][0]
    assert (alone["interval"], alone["groups"]) == ("wilson", None)
    assert (grouped["interval"], grouped["groups"], grouped["value"]) == ("groups", 30, alone["value"])
    assert "--group-by is for rows of a store" in refused(
        f"probe eval {probes} a.npz:x --group-by g.csv:pair --target sign=a.npz:y --layers double.out", code=2
    )


def test_a_fit_with_groups_says_where_rows_have_none(run, store, other):
    ids = [f"train/{n}" for n in range(300)] + [f"test/{n}" for n in range(100)]
    Path("pairs.csv").write_text(
        "\n".join(["id,pair", *(f"{name},{n // 2}" for n, name in enumerate(ids))]) + "\n"
    )
    run(f"probe fit {store} --target sign --C 1 --group-by pairs.csv:pair --layers hidden -o g.h5")
    assert "name their groups with --group-by" in run(f"probe eval g.h5 {other}").stderr
    assert "--group-by" not in run(f"probe eval g.h5 {other} --group-by g.csv:pair").stderr


def test_the_targets_own_probe_beside_it_paired_on_rows_new_to_both(run, probes, other):
    run(f"probe fit {other} --target sign --split-as train=a --C 1 -o q.h5")
    found = document(run, f"{probes} {other} --beside q.h5 --metric error,roc_auc")
    rows = {(each["layer"], each["metric"]): each for each in found["differences"]}
    assert set(rows) == {(layer, name) for layer in ("hidden", "double.out") for name in ("error", "roc_auc")}
    b = read("b.npz")
    one, two = (solvers.load(name)["hidden", "sign", 0] for name in ("p.h5", "q.h5"))
    h = layers_of(b["x"])["hidden"]
    wrong = [np.mean(probe.predict(h) != b["y"]) for probe in (one, two)]
    each = rows["hidden", "error"]
    assert (each["value"], each["beside"]) == pytest.approx(wrong)
    assert each["difference"] == pytest.approx(wrong[0] - wrong[1])
    assert each["low"] <= each["difference"] <= each["high"]
    assert (each["split"], each["rows"], each["family"]) == ("test", 100, 2)
    assert each["p"] <= each["p_holm"] <= 1
    assert {row["split"] for row in found["differences"]} == {"test"}
    assert {(row["split"], row["role"]) for row in found["beside"]} == {("a", "fit"), ("test", "held_out")}
    text = run(f"probe eval {probes} {other} --beside q.h5 --metric error")
    assert "error: p.h5 minus q.h5, on the same rows, new to both" in text.stdout
    assert "split 'a': no row is new to the probe beside it" in text.stderr
    assert max(map(len, text.stdout.split("\n"))) <= 80


def test_a_probe_beside_itself_differs_by_nothing(run, probes, other):
    found = document(run, f"{probes} {other} --beside {probes} --metric error,roc_auc")
    assert {(each["difference"], each["low"], each["high"], each["p"]) for each in found["differences"]} == {
        (0.0, 0.0, 0.0, 1.0)
    }


def test_probes_of_other_classes_differ_in_rates_alone(run, net, probes, other):
    y = np.concatenate([read("a.npz")["y"], read("b.npz")["y"]])
    np.save("three.npy", np.where(np.arange(250) % 5 == 0, 2, y))
    run(f"probe fit {other} --target sign=three.npy --split-as train=a --C 1 -o q.h5")
    line = f"{probes} {other} --beside q.h5 --metric error,cross_entropy --target sign=three.npy"
    found = document(run, line)
    assert {each["metric"] for each in found["differences"]} == {"error"}
    assert any("cross_entropy is not the same number of both" in each for each in found["messages"])


def test_the_threshold_of_a_split_of_negatives(run, refused, probes, other):
    line = f"{probes} {other} --metric tpr_at_fpr_0.01 --layers double.out"
    own, named = (
        {row["split"]: row["value"] for row in document(run, text)["scores"] if row["kind"] == "task"}
        for text in (line, f"{line} --negatives a")
    )
    assert own == {"a": None, "test": None}  # too few negatives for one in a hundred
    assert named == own
    assert "no labelled rows of a split 'none'" in refused(f"probe eval {line} --negatives none")


def test_a_confusion_is_for_files(run, refused, probes, other):
    said = refused(f"probe eval {probes} {other} --metric confusion", code=2)
    assert "confusion has parts alone" in said
    parts = {row["part"] for row in document(run, f"{probes} {other} --metric confusion")["scores"]}
    assert {"0>0", "0>1", "1>0", "1>1"} <= parts


def test_probes_of_several_steps_say_which_rows_they_are_scored_on(run, net, folder):
    source = Path("net.py").read_text()
    for step in (0, 30):
        Path(f"net{step}.py").write_text(source.replace("default_rng(0)", f"default_rng({step})"))
        run(f"actstore dump net{step}.py:run {DATA} --layers hidden --step {step} -o run.acts")
    run("probe fit run.acts --target sign --C 1 --step all -o p.h5")
    done = run("probe eval p.h5 run.acts --step 30")
    assert "the probes of p.h5 are of the steps 0, 30; all are scored on step 30 of run.acts" in done.stderr
    assert done.stdout.split()[:2] == ["layer", "step"]
    assert "choose one with --step" in run("probe eval p.h5 run.acts", code=1).stderr
    assert "say which with --step: 0, 30" in run("probe errors p.h5 run.acts", code=2).stderr
    found = json.loads(run("probe errors p.h5 run.acts --step 30 --json").stdout)
    test = document(run, "p.h5 run.acts --step 30 --metric error")["scores"]
    (score,) = [row for row in test if (row["step"], row["split"], row["kind"]) == (30, "test", "task")]
    assert found["wrong"] / found["rows"] == score["value"]


def test_scores_are_written_whole_as_csv_and_json(run, probes, other):
    run(f"probe eval {probes} {other} --metric error -o scores.csv")
    with open("scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = document(run, f"{probes} {other} --metric error -o scores.json")
    assert [float(row["value"]) for row in rows] == [row["value"] for row in found["scores"]]
    assert json.loads(Path("scores.json").read_text())["scores"] == found["scores"]
    assert not list(Path().glob(".*partial"))


def test_what_is_not_there_is_named_and_the_others_are_scored(run, evaluated, net, probes):
    run(f"actstore dump {net} {DATA} --layers hidden -o h.h5")
    assert {row["layer"] for row in evaluated(f"{probes} h.h5", code=1)} == {"hidden"}
    assert {row["layer"] for row in evaluated(f"{probes} h.h5 --layers hidden")} == {"hidden"}
    np.savez("f.npz", hidden=layers_of(read("test.npz")["x"])["hidden"])
    result = run(f"probe eval {probes} f.npz --target sign=test.npz:y", code=1)
    assert "error: f.npz has no layer 'double.out': 1 of 2 probes are not scored" in result.stderr


def test_in_python_probes_score_the_layers_that_are_given():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(300, 4)), np.arange(300) % 2
    x[:, 0] += y
    probes = solvers.fit_layers({"a": x, "b": x[:, :2]}, y, C=1.0)
    new, labels = generator.normal(size=(80, 4)), np.arange(80) % 2
    found = probes.evaluate({"b": new[:, :2]}, labels, metrics=["error"], splits=np.arange(80) // 40)
    assert [(row.layer, row.split, row.role, row.rows) for row in found if row.kind == "task"] == [
        ("b", "0", "held_out", 40),
        ("b", "1", "held_out", 40),
    ]
    ((_, score),) = [
        (row.split, row) for row in found if row.kind == "task" and row.split == "0" and row.metric == "error"
    ]
    assert score.value == solvers.evaluate(probes["b", "label", 0], new[:40, :2], labels[:40]).error
    masked = np.ma.MaskedArray(labels, mask=np.arange(80) < 70)
    assert {row.rows for row in probes.evaluate({"a": new}, masked)} == {10}
    with pytest.raises(solvers.ProblemError, match="expected rows by layer"):
        probes.evaluate(new, labels)
    with pytest.raises(solvers.ProblemError, match="no probe has its layer and target given"):
        probes.evaluate({"c": new}, labels)
    with pytest.raises(solvers.ProblemError, match="give one label per row"):
        probes.evaluate({"a": new}, labels[:-1])
    with pytest.raises(solvers.ProblemError, match="groups of shape"):
        probes.evaluate({"a": new}, labels, groups=np.arange(3))
    with pytest.raises(solvers.ProblemError, match="splits"):
        probes.evaluate({"a": new}, labels, splits=["x"] * 3)


def test_names_of_splits_and_layers_do_not_act_on_the_terminal(run, folder):
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    solvers.fit_layers({"a\x1b[31m\u202e": x}, y, C=1.0).save("p.h5")
    np.save("x.npy", x[:30] + 1)
    np.save("y.npy", y[:30])
    done = run("probe eval p.h5 x.npy --target label=y.npy")
    assert not set("\x1b\u202e") & set(done.stdout + done.stderr)
    assert "a\\x1b[31m\\u202e" in done.stdout


UNKNOWN = "were among those that p.h5 was fitted on is not known"


def test_trained_rows_in_another_file_and_order_are_not_called_new(run, net, probes):
    """Their ids only count them, so nothing tells them from new ones."""
    train = read("train.npz")
    order = np.random.default_rng(3).permutation(len(train["y"]))
    np.savez("shuffled.npz", x=train["x"][order], y=train["y"][order])
    data = "--data n=shuffled.npz:x --target n:sign=shuffled.npz:y"
    run(f"actstore dump {net} {data} --layers hidden --layers double.out -o n.h5")
    result = run("probe eval p.h5 n.h5")
    assert UNKNOWN in result.output
    assert "on new rows of the same population, if these rows are new\n" in result.stdout


def test_of_the_store_of_the_fit_and_of_named_rows_new_rows_are_known(run, net, store, probes):
    """The store itself knows its rows; so do names that files give, where the fit had names, too."""
    assert UNKNOWN not in run(f"probe eval p.h5 {store}").output
    for name, first in (("old", 0), ("new", 200)):
        x = np.random.default_rng(first).normal(size=(200, 6))
        lines = [
            f"r{first + row}," + ",".join(map(str, cells)) + f",{int(cells[0] > 0)}"
            for row, cells in enumerate(x)
        ]
        Path(f"{name}.csv").write_text("\n".join(["id,a,b,c,d,e,f,sign", *lines]) + "\n")
        split = "train" if name == "old" else "test"
        data = f"--data {split}={name}.csv:a,b,c,d,e,f --target {split}:sign={name}.csv:sign"
        run(f"actstore dump {net} {data} --layers hidden -o {name}.h5")
    run("probe fit old.h5 --target sign --C 1 --overwrite -o p.h5")
    result = run("probe eval p.h5 new.h5")
    assert UNKNOWN not in result.output
    assert "if these rows are new" not in result.stdout
