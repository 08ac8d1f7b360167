"""`probe errors`: the wrong rows with the highest nats of the truth, and what is known of them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import solvers
from actstore.store.reading.reader import Store


@pytest.fixture
def probes(run, store):
    """`p.h5`: probes of both layers of `s.h5`."""
    run(f"probe fit {store} --target sign --C 0.1,1 --holdout 0.2 -o p.h5")
    return "p.h5"


def shown(run, line):
    return json.loads(run(f"probe errors {line} --json").stdout)


def test_the_worst_rows_by_hand(run, probes, store):
    found = shown(run, f"{probes} {store} --layer hidden --top 7")
    with np.load("test.npz") as file:
        x, y = file["x"], file["y"]
    hidden = np.tanh(x @ np.random.default_rng(0).normal(size=(6, 4)))
    p = solvers.load(probes)["hidden", "sign", 0].predict_proba(hidden)
    nats = -np.log(p[np.arange(100), y])
    wrong = np.flatnonzero(p.argmax(axis=1) != y)
    worst = wrong[np.argsort(-nats[wrong])][:7]
    assert (found["split"], found["rows"], found["wrong"]) == ("test", 100, len(wrong))
    assert [each["id"] for each in found["errors"]] == [f"test/{row}" for row in worst]
    assert [each["row"] for each in found["errors"]] == (300 + worst).tolist()
    assert [each["nats"] for each in found["errors"]] == pytest.approx(nats[worst], rel=1e-9)
    assert [each["truth"] for each in found["errors"]] == y[worst].tolist()
    assert [each["predicted"] for each in found["errors"]] == (1 - y[worst]).tolist()
    assert [each["truth_probability"] for each in found["errors"]] == pytest.approx(np.exp(-nats[worst]))
    assert [each["probability"] for each in found["errors"]] == pytest.approx(p[worst].max(axis=1), rel=1e-6)
    text = run(f"probe errors {probes} {store} --layer hidden --top 7").stdout.split("\n")
    assert text[0] == f"hidden for sign, split test: {len(wrong)} of 100 wrong; the 7 with the highest nats"
    assert [line.split()[0] for line in text[2:9]] == [f"test/{row}" for row in worst]


def test_rows_that_were_trained_on_are_marked(run, probes, store):
    found = shown(run, f"{probes} {store} --layer hidden --split train --top 1000")
    roles = {each["role"] for each in found["errors"]}
    assert roles == {"fit", "select"}
    done = run(f"probe errors {probes} {store} --layer hidden --split train --top 3")
    assert "3 of these rows trained the probe or chose its C" in done.stderr
    assert done.stdout.split("\n")[1].split()[:2] == ["id", "role"]
    assert "role" not in run(f"probe errors {probes} {store} --layer hidden").stdout


def test_a_file_of_the_rows(run, probes, store):
    run(f"probe errors {probes} {store} --layer hidden --top 5 -o e.csv")
    found = shown(run, f"{probes} {store} --layer hidden --top 5")["errors"]
    with open("e.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [each["id"] for each in found]
    assert [float(row["nats"]) for row in rows] == [each["nats"] for each in found]


def test_classes_that_training_had_none_of_come_first(run, net, probes):
    with np.load("test.npz") as file:
        x, y = file["x"], file["y"]
    np.savez("odd.npz", x=x, y=np.where(np.arange(100) == 41, 9, y))
    run(f"actstore dump {net} --data odd.npz:x --target sign=odd.npz:y --layers hidden -o odd.h5")
    found = shown(run, f"{probes} odd.h5 --layer hidden --top 2")
    assert (found["split"], found["errors"][0]["row"], found["errors"][0]["truth"]) == ("", 41, 9)
    assert found["errors"][0]["nats"] is None
    assert found["errors"][0]["truth_probability"] == 0.0
    text = run(f"probe errors {probes} odd.h5 --layer hidden --top 2").stdout.split("\n")
    assert text[0].startswith("hidden for sign, split (none): ")
    assert text[2].split()[-1] == "inf"


def test_no_errors_at_all(run, folder):
    y = np.arange(80) % 2
    np.savez("x.npz", x=(y[:, None] * 2.0 - 1 + np.zeros((80, 2))), y=y)
    Path("m.py").write_text("def run(x):\n    return {'h': x}\n")
    run("actstore dump m.py:run --data x.npz:x --target y=x.npz:y --layers h -o s.h5")
    run("probe fit s.h5 --target y --C 1 -o p.h5")
    done = run("probe errors p.h5 s.h5 -o e.csv")
    assert done.stdout == "h for y, split (none): 0 of 80 wrong\n"
    assert shown(run, "p.h5 s.h5")["errors"] == []
    assert Path("e.csv").read_text().startswith("row,id,role,truth,predicted,probability")


def test_groups_texts_and_names_are_shown_and_do_not_act(run, probes, store, monkeypatch):
    """Kept inputs are what a dump with --keep-input stores."""
    texts = np.array([f"row {row} \x1b[31m\u202e\nsecond line" + "long " * 40 for row in range(400)])
    monkeypatch.setattr(Store, "inputs_kept", property(lambda _: texts), raising=False)
    groups = np.array([f"pair {row // 2}" for row in range(400)])
    monkeypatch.setattr(Store, "groups", property(lambda _: groups))
    found = shown(run, f"{probes} {store} --layer hidden --top 3")["errors"]
    assert [each["text"] for each in found] == [texts[each["row"]] for each in found]
    assert [each["group"] for each in found] == [groups[each["row"]] for each in found]
    out = run(f"probe errors {probes} {store} --layer hidden --top 3").stdout
    assert not set("\x1b\u202e") & set(out)
    assert max(map(len, out.split("\n"))) <= 82  # what is left for a text is 20 characters at least
    assert len(out.strip().split("\n")) == 5
    run(f"probe errors {probes} {store} --layer hidden --top 3 -o e.csv")
    with open("e.csv", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [each["text"] for each in found]


def test_the_text_that_a_dump_kept(run, folder):
    texts = [f"{'a' * (row % 7)} word {row}" for row in range(90)]
    lines = ["text,y", *(f"{text},{int(row % 7 > 3) ^ (row % 10 == 0)}" for row, text in enumerate(texts))]
    Path("t.csv").write_text("\n".join(lines) + "\n")
    Path("m.py").write_text(
        "import numpy as np\ndef run(texts):\n    return {'h': np.array([[t.count('a'), 1] for t in texts], 'f4')}\n"
    )
    run("actstore dump m.py:run --data t.csv:text --target y=t.csv:y --layers h --keep-input text -o t.h5")
    run("probe fit t.h5 --target y --C 1 -o p.h5")
    found = shown(run, "p.h5 t.h5 --top 3")["errors"]
    assert [each["text"] for each in found] == [texts[each["row"]] for each in found]
    assert found[0]["text"] in run("probe errors p.h5 t.h5 --top 3").stdout


def test_pictures_that_were_kept_are_not_printed_and_it_is_said(run, probes, store, monkeypatch):
    monkeypatch.setattr(Store, "inputs_kept", property(lambda store: store.layers["hidden"]), raising=False)
    assert "rows are shown by their ids" in run(f"probe errors {probes} {store} --layer hidden").stderr


def test_other_labels_are_taken_where_they_are_given(run, probes, store):
    with np.load("train.npz") as one, np.load("test.npz") as two:
        np.save("flipped.npy", 1 - np.concatenate([one["y"], two["y"]]))
    plain = shown(run, f"{probes} {store} --layer hidden")
    flipped = shown(run, f"{probes} {store} --layer hidden --target sign=flipped.npy")
    assert plain["wrong"] + flipped["wrong"] == 100


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("p.h5 s.h5", 2, "p.h5 has probes of several layers; say which with --layer: 'hidden', 'double.out'"),
        ("p.h5 s.h5 --layer hiden", 2, "p.h5 has no layer 'hiden'; the nearest: 'hidden'"),
        ("p.h5 s.h5 --layer hidden --target sgn", 2, "p.h5 has no target 'sgn'; the nearest: 'sign'"),
        (
            "p.h5 s.h5 --layer hidden --split tst",
            2,
            "no labelled rows of a split 'tst'; it has `train`, `test`",
        ),
        ("p.h5 two.h5 --layer hidden", 2, "two.h5 has no split `test`; say which with --split: `a`, `b`"),
        ("p.h5 two.h5 --layer double.out --split a", 1, "'double.out'"),
        ("p.h5 bare.h5 --layer hidden", 1, "has no target 'sign'"),
        ("p.h5 reduced.h5 --layer hidden", 1, "layer 'hidden' of reduced.h5 is not what p.h5 was fitted on"),
        ("p.h5 s.h5 --layer hidden -o e.txt", 2, "-o e.txt is none of .csv"),
        ("p.h5 none.h5 --layer hidden", 1, "none.h5"),
        ("none.h5 s.h5 --layer hidden", 1, "none.h5"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(run, refused, net, probes, line, code, said):
    data = "--data a=train.npz:x --target a:sign=train.npz:y --data b=test.npz:x --target b:sign=test.npz:y"
    run(f"actstore dump {net} {data} --layers hidden -o two.h5")
    run(f"actstore dump {net} --data test=test.npz:x --layers hidden -o bare.h5")
    run(
        f"actstore dump {net} --data test=test.npz:x --target test:sign=test.npz:y --layers hidden --random-features 2 "
        "-o reduced.h5"
    )
    assert said in refused(f"probe errors {line}", code=code)
