"""`probe direction`: the gradient of the log-odds, beside the difference of class means, each in a named space."""

import json
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers.probing.afterwards.directions import RAW, SCALED, direction, directions

ROWS = 1500


@pytest.fixture
def uneven(run, folder):
    """`u.h5`: eight columns that say the same of the class, the first 200 times as large as the others; `u.npz`."""
    generator = np.random.default_rng(0)
    y = np.arange(ROWS) % 2
    x = generator.normal(size=(ROWS, 8)) + 0.8 * y[:, None]
    x[:, 0] *= 200
    np.savez("u.npz", x=x, y=y, three=np.arange(ROWS) % 3)
    Path("m.py").write_text("def run(x):\n    return {'h': x, 'both': x[:, :3]}\n")
    run(
        "actstore dump m.py:run --data train=u.npz:x --target y=u.npz:y --target three=u.npz:three --layers ** -o u.h5"
    )
    return "u.h5"


def data():
    with np.load("u.npz") as file:
        return file["x"], file["y"]


def shown(run, line):
    return json.loads(run(f"probe direction {line} --json").stdout)


def test_the_cosine_depends_on_the_space_which_is_named(run, uneven):
    run(f"probe fit {uneven} --target y --layers h --C 1 -o p.h5")
    found = shown(run, f"p.h5 {uneven}")
    raw, scaled = found["spaces"]
    assert (raw["space"], scaled["space"]) == ("raw", "scaled")
    assert raw["cosine"] < 0.2
    assert scaled["cosine"] > 0.95
    assert (found["from"], found["to"], found["rows"]) == ("0", "1", ROWS)
    lines = run(f"probe direction p.h5 {uneven}").stdout.split("\n")
    assert lines[0] == "h for y: from 0 to 1, C = 1"
    assert [line.split()[0] for line in lines[1:4]] == ["space", "raw", "scaled"]
    assert lines[2].split()[-1] == f"{raw['cosine']:.4f}"
    assert max(map(len, lines)) <= 80


def test_raw_is_the_gradient_of_the_log_odds_and_scaled_what_was_penalised(run, uneven):
    run(f"probe fit {uneven} --target y --layers h --C 1 -o p.h5")
    run(f"probe direction p.h5 {uneven} -o raw.npy")
    run(f"probe direction p.h5 {uneven} --space scaled -o scaled.npy")
    x, y = data()
    raw, scaled = np.load("raw.npy"), np.load("scaled.npy")
    probe = solvers.load("p.h5")["h", "y", 0]

    def log_odds(rows):
        logits = probe.logits(rows)
        return logits[:, 1] - logits[:, 0]

    for column in range(8):
        step = np.zeros(8)
        step[column] = 1e-3
        slope = (log_odds(x[:5] + step) - log_odds(x[:5] - step)) / 2e-3
        assert slope == pytest.approx(raw[column], rel=1e-6)
    assert scaled == pytest.approx(raw * x.std(axis=0), rel=1e-9)
    run(f"probe direction p.h5 {uneven} -o both.npz")
    with np.load("both.npz") as file:
        assert np.array_equal(file["raw"], raw)
        assert np.array_equal(file["scaled"], scaled)
        assert file["classes"].tolist() == ["0", "1"]
        means = x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0)
        assert file["difference_of_means_raw"] == pytest.approx(means, rel=1e-12)
        assert file["difference_of_means_scaled"] == pytest.approx(means / x.std(axis=0), rel=1e-12)


def test_it_is_of_the_rows_that_were_trained_on(run, uneven):
    """Not of rows that chose C, of other splits, or without a label."""
    _, y = data()
    np.save("some.npy", np.where(np.arange(ROWS) % 5 == 0, -1, y))
    run(f"probe fit {uneven} --target y=some.npy --ignore-label -1 --layers h --C 0.1,1 --holdout 0.2 -o p.h5")
    probes = solvers.load("p.h5")
    probe = probes["h", "y", 0]
    (index,) = [table.arrays["index"] for table in probes.beside.tables if table.split == "train"]
    x, _ = data()
    run(f"probe direction p.h5 {uneven} -o d.npz")
    means = x[index][y[index] == 1].mean(axis=0) - x[index][y[index] == 0].mean(axis=0)
    with np.load("d.npz") as file:
        assert file["difference_of_means_raw"] == pytest.approx(means, rel=1e-12)
    assert shown(run, f"p.h5 {uneven}")["rows"] == len(index) == probe.rows["train"]


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ("--no-scale", "the fit did not scale columns, so what was penalised is raw space"),
        ("--feature-subset 4", "the probe looks at 4 of 8 columns; both vectors are of these"),
        (
            "--random-projection 4",
            "fitted on 4 random directions, which its penalty was taken in, so there is only raw",
        ),
    ],
)
def test_what_the_fit_did_to_columns_is_said(run, uneven, options, note):
    run(f"probe fit {uneven} --target y --layers h --C 1 {options} -o p.h5")
    done = run(f"probe direction p.h5 {uneven}")
    assert note in done.stderr
    spaces = {each["space"]: each for each in shown(run, f"p.h5 {uneven}")["spaces"]}
    if "--no-scale" in options:
        assert spaces["raw"]["cosine"] == spaces["scaled"]["cosine"]
    if "--random-projection" in options:
        assert list(spaces) == ["raw"]
        assert (
            "no direction in scaled columns"
            in run(f"probe direction p.h5 {uneven} --space scaled", code=1).stderr
        )
    if "--feature-subset" in options:
        probe = solvers.load("p.h5")["h", "y", 0]
        run(f"probe direction p.h5 {uneven} -o d.npz")
        with np.load("d.npz") as file:
            elsewhere = np.setdiff1d(np.arange(8), probe.columns)
            assert not file["difference_of_means_raw"][elsewhere].any()
            assert not file["raw"][elsewhere].any()


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (
            "three.h5 u.h5 --layer h",
            1,
            "has 3 classes; a direction leads from one class to another: expected two",
        ),
        ("p.h5 other.h5 --layer h", 1, "other.h5 does not hold the rows that p.h5 was trained on"),
        ("p.h5 u.h5", 2, "p.h5 has probes of several layers; say which with --layer: 'h', 'both'"),
        ("p.h5 u.h5 --layer hh", 2, "p.h5 has no layer 'hh'; the nearest: 'h'"),
        ("p.h5 u.h5 --layer h --target yy", 2, "p.h5 has no target 'yy'"),
        ("p.h5 u.h5 --layer h --step 3", 2, "p.h5 has no step 3"),
        ("p.h5 u.h5 --layer h -o d.csv", 2, "-o d.csv is none of .npy, .npz"),
        ("p.h5 u.h5 --layer h -o u.npz --overwrite", 0, ""),
        ("features.h5 u.h5", 1, "'features'"),
    ],
)
def test_what_has_no_direction_here_is_refused(run, refused, uneven, line, code, said):
    x, y = data()
    run(f"probe fit {uneven} --target y --C 1 -o p.h5")
    run(f"probe fit {uneven} --target three --C 1 -o three.h5")
    np.savez("v.npz", x=x + 1, y=y)
    run("actstore dump m.py:run --data train=v.npz:x --target y=v.npz:y --layers h -o other.h5")
    run("probe fit train=u.npz:x --target train:y=u.npz:y --C 1 -o features.h5")
    if code:
        assert said in refused(f"probe direction {line}", code=code)
    else:
        run(f"probe direction {line}")


def test_the_same_rows_in_another_store_will_do(run, uneven):
    """Another file of the same activations: told by what the probe says of them."""
    run(f"probe fit {uneven} --target y --layers h --C 1 -o p.h5")
    run("actstore dump m.py:run --data again=u.npz:x --layers h -o again.h5")
    assert shown(run, "p.h5 again.h5") == shown(run, f"p.h5 {uneven}")


def test_columns_that_are_constant_or_far_from_zero():
    generator = np.random.default_rng(1)
    y = np.arange(400) % 2
    x = generator.normal(size=(400, 4)) + y[:, None]
    x[:, 1] = 7.0
    x[:, 2] += 1e9
    probe = solvers.fit_layers({"h": x}, y, C=1.0, scale=True)["h", "label", 0]
    raw, scaled = directions(probe, x, y)
    assert raw.vector[1] == scaled.vector[1] == scaled.difference[1] == 0.0
    assert raw.difference[2] == pytest.approx(
        (x[y == 1, 2] - 1e9).mean() - (x[y == 0, 2] - 1e9).mean(), abs=1e-6
    )
    assert 0 < scaled.cosine <= 1
    assert np.array_equal(direction(probe, RAW), raw.vector)
    assert np.array_equal(direction(probe, SCALED), scaled.vector)
    with pytest.raises(solvers.ProblemError, match="expected 'raw'"):
        direction(probe, "row")
    with pytest.raises(solvers.ProblemError, match="expected rows of either"):
        directions(probe, x, np.zeros(400, int))
    with pytest.raises(solvers.ProblemError, match="one label per row"):
        directions(probe, x, y[:-1])


def test_a_probe_that_is_zero_has_no_cosine(run, folder):
    x, y = np.zeros((60, 3)), np.arange(60) % 2
    np.savez("z.npz", x=x, y=y)
    Path("m.py").write_text("def run(x):\n    return {'h': x}\n")
    run("actstore dump m.py:run --data train=z.npz:x --target y=z.npz:y --layers h -o z.h5")
    run("probe fit z.h5 --target y --C 1 -o p.h5")
    done = run("probe direction p.h5 z.h5")
    assert "the probe is zero in every column, so it has no direction" in done.stderr
    assert [each["cosine"] for each in shown(run, "p.h5 z.h5")["spaces"]] == [None, None]
