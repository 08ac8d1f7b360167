"""Errors of the user's own code, told in one line."""

import tomllib
from pathlib import Path

import pytest

from actstore.usercode import explain

HOUSE = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "torch"),
        ("jax.numpy", "jax"),
        ("flax", "jax"),
        ("keras", "keras"),
        ("onnx", "onnx"),
        ("onnxruntime", "onnx"),
        ("transformers", "hf"),
        ("datasets", "hf"),
        ("PIL.Image", "images"),
    ],
)
def test_a_missing_package_comes_with_the_extra_that_installs_it(module, extra):
    line = explain(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert line == f"ModuleNotFoundError: No module named {module!r}; pip install 'actstore[{extra}]'"
    package = {"PIL": "pillow"}.get(name := module.partition(".")[0], name)
    assert any(needed.startswith(package) for needed in PROJECT["optional-dependencies"][extra])


def test_other_missing_modules_are_told_as_they_are():
    line = explain(ModuleNotFoundError("No module named 'mine'", name="mine"))
    assert line == "ModuleNotFoundError: No module named 'mine'"
