"""docs/reproductions/figure8 in small: its two commands, on the digits of scikit-learn, and what they show."""

import subprocess
import sys
from pathlib import Path

import pytest
from pages import bash

import solvers

pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
pytestmark = pytest.mark.framework

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "reproductions" / "figure8" / "network.py"


def test_two_commands_make_a_table_of_layers_by_steps(tmp_path):
    small = "--layers 12 --width 24 --steps 0,10,20"
    done = bash(
        f"""export OMP_NUM_THREADS=1
        {sys.executable} {SCRIPT} {small} -o skip.acts
        {sys.executable} {SCRIPT} {small} --resume -o skip.acts
        probe fit skip.acts --step all --target digit --C 0.1 --gap 1e-3 -o skip.h5
        probe show skip.h5 --by step""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "error on `test` by layer and step\n\nlayer  step 0  step 10  step 20\ninput " in done.stdout
    probes = solvers.load(tmp_path / "skip.h5")
    assert [key[0] for key in probes if key[2] == 20] == ["input", *map(str, range(1, 13))]
    error = {layer: probes[layer, "digit", 0].error["test"] for layer in ("input", "5", "6", "12")}
    assert error["input"] < error["6"] < error["5"]  # degrades, and begins anew where the input comes in again
    assert error["6"] < error["12"]


def test_steps_that_do_not_ascend_are_refused():
    command = [sys.executable, SCRIPT, "--steps", "100,0", "-o", "x.acts"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "100,0 is no ascending list of steps such as 0,100,500" in done.stderr
