"""docs/api.md lists what the packages offer, no more and no less; and all of it is there, with a docstring."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import actstore
import solvers

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
NAME = re.compile(r"^\| `(\w+)` \| (.+) \|$", re.MULTILINE)
SECTIONS = {text.split("\n", 1)[0]: NAME.findall(text) for text in PAGE.split("\n## ")[1:]}


@pytest.mark.parametrize("package", [actstore, solvers], ids=["actstore", "solvers"])
def test_the_page_is_the_package(package):
    listed = [name for name, _ in SECTIONS[package.__name__]]
    assert sorted(listed) == sorted(package.__all__)
    assert len(set(listed)) == len(listed)
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("package", [actstore, solvers], ids=["actstore", "solvers"])
def test_every_name_is_there_and_says_what_it_is(package):
    for name in package.__all__:
        assert (getattr(package, name).__doc__ or "").strip(), name


@pytest.mark.parametrize("package", ["actstore", "solvers"])
def test_what_type_checkers_see_is_what_there_is(package):
    """The imports for type checkers alone name the same things as the table that loads them."""
    tree = ast.parse((Path(__file__).resolve().parents[2] / package / "__init__.py").read_text())
    checked = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imports = [each for node in checked for each in ast.walk(node) if isinstance(each, ast.alias)]
    assert {each.asname or each.name for each in imports} >= set(sys.modules[package].__all__)


def test_naming_all_of_actstore_loads_no_framework_and_no_click():
    code = (
        "import actstore, sys; [getattr(actstore, name) for name in actstore.__all__];"
        "print(sorted({'torch', 'jax', 'keras', 'tensorflow', 'transformers', 'onnx', 'click', 'solvers', 'datasets'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
