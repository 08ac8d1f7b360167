"""The benchmarks run, on next to nothing, and print their tables; what they measure is for people to read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("script", "options", "lines"),
    [
        (
            "bench_reading.py",
            ["--mb", "8", "--repeats", "1"],
            ["cold blocks, later", "warm 1% of the rows", "from the disk"],
        )
    ],
)
def test_a_benchmark_prints_its_table(tmp_path, script, options, lines):
    done = subprocess.run(
        [sys.executable, HOUSE / "tests" / "benchmarks" / script, *options, "--folder", tmp_path],
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for line in lines:
        assert re.search(rf"^.*{re.escape(line)}.*\d", done.stdout, re.MULTILINE), done.stdout
    assert os.listdir(tmp_path) == []
