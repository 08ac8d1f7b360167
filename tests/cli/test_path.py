"""From a network to a table of certified probe errors, by command."""

import json

import pytest


def test_dump_fit_show_eval_and_plot(run, evaluated, store, folder):
    assert "400 rows" in run(f"actstore info {store}").stdout
    assert "p.h5: 2 probes by numpy, each within" in run(f"probe fit {store} --target sign -o p.h5").stdout
    table = run("probe show p.h5").stdout.split("\n\n")[0].split("\n")
    assert [line.split()[0] for line in table] == ["layer", "hidden", "double.out"]
    shown = json.loads(run("probe show p.h5 --json").stdout)["probes"]
    by_hand = {(row["layer"], row["split"]): row["value"] for row in evaluated(f"p.h5 {store}")}
    assert by_hand["hidden", "test"] == shown[0]["error"]["test"]
    for suffix in ("svg", "png", "pdf", "html"):
        run(f"probe plot p.h5 -o figure.{suffix}")
        assert (folder / f"figure.{suffix}").stat().st_size > 1000


def test_json_of_show_holds_what_the_design_names(run, store):
    run(f"probe fit {store} --target sign --C 0.1,1 -o p.h5")
    first = json.loads(run("probe show p.h5 --json").stdout)["probes"][0]
    wanted = {
        "layer",
        "target",
        "step",
        "classes",
        "C",
        "gap_nats",
        "status",
        "engine",
        "error",
        "cross_entropy",
        "rows",
    }
    assert wanted <= set(first)
    assert (first["layer"], first["target"], first["step"], first["classes"]) == ("hidden", "sign", 0, [0, 1])
    assert first["rows"] == {"train": 300, "test": 100}
    assert set(first["error"]) == {"train", "test"}
    assert first["status"] == "converged"
    assert 0 <= first["gap_nats"] <= 1e-5


def test_two_engines_side_by_side_find_the_same_optimum(run, store):
    for engine in ("numpy", "sklearn"):
        run(f"probe fit {store} --target sign --C 1 --gap 1e-8 --engine {engine} -o {engine}.h5")
    for left, right in json.loads(run("probe show numpy.h5 sklearn.h5 --json").stdout)["pairs"]:
        assert (left["engine"], right["engine"]) == ("numpy", "sklearn")
        # Losses within 1e-8 nats of one optimum: the weights, and so the cross-entropies, agree to about its root.
        assert left["cross_entropy"]["test"] == pytest.approx(right["cross_entropy"]["test"], abs=1e-3)
        assert left["error"] == right["error"]
    assert "difference" in run("probe show numpy.h5 sklearn.h5").stdout


def test_other_rows_are_not_set_side_by_side(run, store, refused):
    run(f"probe fit {store} --target sign --C 1 -o a.h5")
    run(f"probe fit {store} --target sign --C 0.1,1 --holdout 0.1 -o b.h5")
    assert "fitted on different rows" in refused("probe show a.h5 b.h5")


def test_features_of_the_users_own_give_the_same_probe_as_a_store(run, net, folder):
    data = "--target train:sign=train.npz:y --target test:sign=test.npz:y"
    run(f"actstore dump {net} --data train=train.npz:x --data test=test.npz:x {data} --layers input -o s.h5")
    run("probe fit s.h5 --target sign --C 1 --engine numpy -o stored.h5")
    run(f"probe fit train=train.npz:x test=test.npz:x {data} --C 1 --engine numpy -o own.h5")
    stored, own = (
        json.loads(run(f"probe show {name} --json").stdout)["probes"][0] for name in ("stored.h5", "own.h5")
    )
    assert own["error"] == stored["error"]
    assert own["gap_nats"] == stored["gap_nats"]


def test_labels_of_the_users_own_on_a_store(run, store):
    import numpy as np

    labels = np.concatenate([np.load(f"{split}.npz")["y"] for split in ("train", "test")])
    np.save("names.npy", np.where(labels, "plus", "minus"))
    run(f"probe fit {store} --target word=names.npy --C 1 --layers hidden -o p.h5")
    (shown,) = json.loads(run("probe show p.h5 --json").stdout)["probes"]
    assert (shown["target"], shown["classes"]) == ("word", ["minus", "plus"])


def test_layers_are_listed_and_without_layers_nothing_is_stored(run, net, folder):
    assert "double.out" in run(f"actstore layers {net} --data train.npz:x").stdout
    rows = json.loads(run(f"actstore layers {net} --data train.npz:x --json").stdout)["layers"]
    assert [(row["name"], row["shape"]) for row in rows] == [
        ("input", [6]),
        ("hidden", [4]),
        ("double.out", [6]),
    ]
    result = run(f"actstore dump {net} --data train.npz:x -o s.h5", code=2)
    assert "double.out" in result.stdout
    assert "--layers is missing" in result.stderr
    assert not (folder / "s.h5").exists()


def test_a_folder_store_is_read_by_every_command(run, evaluated, net):
    run(f"actstore dump {net} --data train=train.npz:x --target sign=train.npz:y --layers ** -o s.acts".split())
    assert "s.acts: 300 rows" in run("actstore info s.acts").stdout
    run("probe fit s.acts --target sign --C 1 -o p.h5")
    scored = evaluated("p.h5 s.acts")
    assert [(row["layer"], row["rows"]) for row in scored] == [("hidden", 300), ("double.out", 300)]


def test_doctor_says_what_works_and_what_does_not(run):
    engines = {row["engine"]: row for row in json.loads(run("probe doctor --json").stdout)["engines"]}
    assert engines["numpy"]["works"]
    assert engines["sklearn"]["works"]
    assert engines["cupy"]["works"] or engines["cupy"]["why_not"]
    assert "not yet run on hardware" in run("probe doctor").stdout
