"""The networks and probes behind docs/reproductions/figure3, on one small data set."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import solvers

HOUSE = Path(__file__).resolve().parents[2]
SCRIPT = HOUSE / "docs" / "reproductions" / "figure3" / "network.py"


def call(folder, *words):
    command = [sys.executable, SCRIPT, *words, "-o", folder]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(HOUSE)}, capture_output=True, text=True, check=False
    )


def test_a_data_set_leaves_its_probes_and_those_by_rmsprop_and_is_not_probed_again(tmp_path):
    words = ("--data-sets", "1", "--rows", "1000", "--every", "16", "--rmsprop", "300")
    done = call(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["0.csv", "0.h5"]
    probes = solvers.load(tmp_path / "0.h5")
    error = {layer: probe.error for (layer, *_), probe in probes.items()}
    # 1,000 labels that a hyperplane of 128 dimensions made are separable; the other bounds are far from what is seen.
    assert error["0"]["train"] == 0
    assert error["0"]["test"] < 0.1
    assert 0.2 < error["32"]["train"] < 0.42 < error["32"]["test"] < 0.55
    assert all(probe.gap_nats <= 1e-5 for probe in probes.values())
    assert all([tried.C for tried in probe.path] == [1, 1000] for probe in probes.values())
    with (tmp_path / "0.csv").open() as file:
        beside = {(line["layer"], line["metric"]): float(line["value"]) for line in csv.DictReader(file)}
    assert beside["0", "error"] < 0.2  # the rows of `train`, and their own labels
    assert 11 < beside["0", "activation_norm"] < 11.6
    assert 1e-5 < beside["32", "activation_norm"] < 0.5
    before = (tmp_path / "0.h5").stat().st_mtime_ns
    assert call(tmp_path, *words).returncode == 0
    assert (tmp_path / "0.h5").stat().st_mtime_ns == before
