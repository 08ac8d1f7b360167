"""The benchmarks run, on next to nothing, and print their tables; what they measure is for people to read."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip where a package is not installed, and say which."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


def table_of(folder: Path, script: str, *options: str) -> str:
    """What a benchmark prints. It leaves nothing in its folder."""
    done = subprocess.run(
        [sys.executable, HOUSE / "tests" / "benchmarks" / script, *options, "--folder", folder],
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(folder) == []
    return done.stdout


def assert_has_figures(table: str, lines: list[str]) -> None:
    for line in lines:
        assert re.search(rf"^.*{re.escape(line)}.*\|? +\**[-+\d].*\d", table, re.MULTILINE), table


def test_reading_prints_its_table(tmp_path):
    table = table_of(tmp_path, "bench_reading.py", "--mb", "8", "--repeats", "1")
    assert_has_figures(table, ["cold blocks, later", "warm 1% of the rows", "from the disk"])


WRITING = ["bench_writing.py", "--mb", "32", "--repeats", "1", "--shard-mb", "1", "--overhead-rows", "16"]


def test_writing_prints_its_tables_whatever_is_installed(tmp_path):
    table = table_of(tmp_path, *WRITING)
    ours = ["NAME.acts, Writer.append", "NAME.acts, create()", "NAME.h5, Writer.append", "NAME.h5, create()"]
    peers = ["np.save,", "open_memmap,", "h5py, appended, chunks=True", "1 MiB |", "flushed per batch"]
    assert_has_figures(table, [*ours, *peers, "| 100 | 100 |"])
    for package, line in (
        ("safetensors", "safetensors,"),
        ("zarr", "zarr, its default"),
        ("zarr", "zarr, uncomp"),
    ):
        if importlib.util.find_spec(package):
            assert_has_figures(table, [line])
        else:
            assert re.search(rf"^\| {line}.*not installed: {package} ", table, re.MULTILINE), table
    assert ("not measured: torch is not installed" in table) == (importlib.util.find_spec("torch") is None)


@pytest.mark.framework
@needs("torch")
def test_writing_prints_the_overhead_over_the_forward_pass(tmp_path):
    assert_has_figures(table_of(tmp_path, *WRITING), ["| layer4 ", "| layer1, "])


@pytest.mark.framework
@needs("torch")
def test_the_forward_pass_is_set_against_reading_back(tmp_path):
    table = table_of(tmp_path, "bench_forward.py", "--rows", "2", "--side", "32", "--repeats", "1")
    assert "25.6 million weights" in table
    assert_has_figures(table, ["forward pass", "read back cold, pooled", "read back warm, whole"])
