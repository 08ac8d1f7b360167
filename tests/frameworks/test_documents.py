"""Every block of docs/frameworks.md runs, section by section, where the framework of the section is installed."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import BLOCK, run_block

HOUSE = Path(__file__).resolve().parents[2]
PAGE = (HOUSE / "docs" / "frameworks.md").read_text()
SECTIONS = {
    heading: BLOCK.findall(text)
    for heading, text in (section.split("\n", 1) for section in PAGE.split("\n## ")[1:])
}
NEEDED = {
    "JAX and Flax": ("jax", "flax"),
    "ONNX": ("onnx", "onnxruntime"),
    "Keras": ("keras",),
    "Stores and probes beside torch and datasets": ("torch", "datasets"),
}
BACKEND = next((name for name in ("torch", "jax", "tensorflow") if find_spec(name)), "")


def test_every_section_says_what_it_needs():
    assert set(NEEDED) == {heading for heading, blocks in SECTIONS.items() if blocks}


@pytest.mark.parametrize("heading", [heading for heading, blocks in SECTIONS.items() if blocks])
def test_every_block_of_a_section_runs(heading, tmp_path):
    for package in NEEDED[heading]:
        if not find_spec(package):
            pytest.skip(f"{package} is not installed: make test-frameworks")
    for language, code in SECTIONS[heading]:
        done = run_block(language, code, tmp_path, KERAS_BACKEND=os.environ.get("KERAS_BACKEND", BACKEND))
        assert done.returncode == 0, f"{heading}:\n{code}\n{done.stdout}{done.stderr}"
