"""Every page of docs/reproductions that has commands runs to its end, at its quick sizes, and makes what it names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.framework

PAGES = Path(__file__).resolve().parents[2] / "docs" / "reproductions"
COMMANDS = "```sh reproduce\n"
NAMES = sorted(page.parent.name for page in PAGES.glob("*/README.md") if COMMANDS in page.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_the_quick_version_of_a_page_runs_to_its_end(name, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
    before = {
        path: path.stat().st_mtime_ns for path in (PAGES / name).rglob("*") if "__pycache__" not in str(path)
    }
    command = [sys.executable, PAGES / "reproduce.py", name, "--quick", "--folder", tmp_path]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    if f"{name}: skipped, for there is no" in done.stdout:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / f"{name}-quick"
    made = {path.name for path in (folder / "page").iterdir() if path.stat().st_size}
    named = re.findall(r"\$PAGE/([\w.-]+)", (PAGES / name / "README.md").read_text())
    assert named
    assert set(named) <= made
    assert (folder / "times.json").exists()
    # What is shown on the page is of the full run.
    assert before == {
        path: path.stat().st_mtime_ns for path in (PAGES / name).rglob("*") if "__pycache__" not in str(path)
    }


@pytest.mark.parametrize("name", ["figure7", "figure8"])
def test_steps_that_do_not_ascend_are_refused(name):
    pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
    command = [sys.executable, PAGES / name / "network.py", "--mnist", "x", "--steps", "100,0", "-o", "x.acts"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "100,0 is no ascending list of steps such as 0,500," in done.stderr
