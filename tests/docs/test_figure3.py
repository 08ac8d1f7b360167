"""The script behind docs/reproductions/figure3/README.md, on one small data set."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("altair", reason="figures need the extra `report`")
HOUSE = Path(__file__).resolve().parent.parent.parent


def test_the_script_writes_the_figure_and_its_figures(tmp_path):
    script = HOUSE / "docs" / "reproductions" / "figure3" / "network.py"
    small = ["--data-sets", "1", "--rows", "1000", "--steps", "50"]
    done = subprocess.run(
        [sys.executable, script, *small, "-o", tmp_path],
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["figure3.csv", "figure3.png", "figure3.svg"]
    with (tmp_path / "figure3.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 33 * 3
    error = {(line["layer"], line["kind"]): float(line["error"]) for line in lines}
    # 1,000 labels that a hyperplane of 128 dimensions made are separable; the other bounds are far from what is seen.
    assert error["0", "train"] == 0
    assert error["0", "test"] < 0.1
    assert 0.25 < error["32", "train"] < 0.42 < error["32", "test"] < 0.55
    assert all(float(line["worst_gap_nats"]) <= 1e-5 for line in lines if line["kind"] != "train, by RMSProp")
