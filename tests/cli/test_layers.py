"""`actstore layers`: names, types, shapes, axes, sizes and call order, as a table and as JSON."""

import json

import pytest

EXPECTED = {
    "input": {"order": 0, "shape": [6], "axes": ["feature"], "bytes_per_row": 24, "dump_bytes": 24 * 300},
    "hidden": {"order": 1, "shape": [4], "axes": ["feature"], "bytes_per_row": 32, "dump_bytes": 32 * 300},
    "double.out": {"order": 2, "shape": [6], "axes": ["feature"], "bytes_per_row": 24, "dump_bytes": 24 * 300},
}


def test_json_has_everything_in_call_order(run, net):
    rows = json.loads(run(f"actstore layers {net} --data train.npz:x --json").stdout)["layers"]
    assert [row["name"] for row in rows] == list(EXPECTED)
    for row in rows:
        assert {key: row[key] for key in EXPECTED[row["name"]]} == EXPECTED[row["name"]]
        assert {"type", "dtype", "note", "explicit", "calls"} <= set(row)


def test_the_table_says_what_a_dump_would_take(run, net):
    lines = run(f"actstore layers {net} --data train.npz:x").stdout.splitlines()
    assert lines[0].split("  ")[0] == "layer"
    assert lines[1].split() == [
        "input",
        "0",
        "input",
        "6",
        "feature",
        "float32",
        "24",
        "B",
        *["by", "its", "exact", "name", "only"],
    ]
    assert lines[2].split() == ["hidden", "1", "array", "4", "feature", "float64", "32", "B"]
    assert lines[-1] == "300 rows: 16.8 kB for all layers that '**' picks"


@pytest.mark.parametrize(("more", "rows"), [("", "300 rows: 16.8 kB"), ("--limit 100", "100 rows: 5.6 kB")])
def test_a_dump_without_layers_counts_the_rows_it_would_have(run, net, more, rows):
    result = run(f"actstore dump {net} --data train.npz:x {more} -o s.h5", code=2)
    assert f"{rows} for all layers that '**' picks" in result.stdout


def test_a_dump_with_a_row_per_token_has_no_size_by_examples(run, net):
    result = run(f"actstore dump {net} --data train.npz:x --row token -o s.h5", code=2)
    assert "hidden" in result.stdout
    assert "rows:" not in result.stdout


def test_data_that_only_reading_counts_has_no_size(run, folder, net):
    (folder / "batches.py").write_text("import numpy as np\nbatches = [np.zeros((2, 6))]\n")
    assert "rows:" not in run(f"actstore layers {net} --data batches.py:batches").stdout
    rows = json.loads(run(f"actstore layers {net} --data batches.py:batches --json").stdout)["layers"]
    assert {row["dump_bytes"] for row in rows} == {None}


def test_a_model_that_shows_its_layers_without_data_numbers_them_alike(run):
    without = json.loads(run("actstore layers demo:digits --json").stdout)["layers"]
    given = json.loads(run("actstore layers demo:digits --data digits --json").stdout)["layers"]
    assert [(row["name"], row["order"]) for row in given[1:]] == [
        (row["name"], row["order"]) for row in without
    ]
    assert without[0]["order"] == 1
