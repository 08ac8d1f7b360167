"""Every block of docs/frameworks-onnx-keras.md runs, where the framework of its section is installed."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = dict(
    section.split("\n", 1)
    for section in (HOUSE / "docs" / "frameworks-onnx-keras.md").read_text().split("\n## ")[1:]
)
NEEDED = {"ONNX": ("onnx", "onnxruntime"), "Keras": ("keras",)}
BACKEND = next((name for name in ("torch", "jax", "tensorflow") if find_spec(name)), "")
ENVIRONMENT = {
    "KERAS_BACKEND": BACKEND,
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_block_of_a_section_runs(heading, tmp_path):
    for package in NEEDED[heading]:
        if not find_spec(package):
            pytest.skip(f"{package} is not installed: make test-frameworks")
    blocks = BLOCK.findall(SECTIONS[heading])
    assert blocks
    for code in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{heading}:\n{code}\n{done.stdout}{done.stderr}"
