"""Who may import whom (DESIGN section 2), seen from outside: what an import really loads."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
FRAMEWORKS = {"torch", "jax", "flax", "keras", "tensorflow", "onnx", "onnxruntime", "transformers"}


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded by a fresh interpreter that ran `code`."""
    report = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True, cwd=HOUSE
    )
    return set(done.stdout.split("\n")[-2].split())


def imported_by(package: str) -> set[tuple[str, str]]:
    """(file, top-level module) for every import anywhere in a package, inside functions too."""
    found = set()
    for file in (HOUSE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            found |= {(str(file.relative_to(HOUSE)), name.split(".")[0]) for name in names}
    return found


def modules_of(package: str) -> dict[str, ast.Module]:
    """Every module of a package by its dotted name, parsed."""
    found = {}
    for file in (HOUSE / package).rglob("*.py"):
        name = ".".join(file.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(file.read_text())
    return found


def imported_at_once(tree: ast.Module) -> set[str]:
    """Names of modules (and of what is taken from them) that importing a module imports, types alone left out."""
    names: set[str] = set()
    nodes = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
        nodes += ast.iter_child_nodes(node)
    return names


@pytest.mark.parametrize("package", ["actstore", "solvers", "cli"])
def test_no_module_imports_itself_in_a_circle(package):
    modules = modules_of(package)
    # A package's own name is what every `from package import module` names, too: only its modules count.
    graph = {
        name: {
            found
            for found in imported_at_once(tree)
            if found in modules and not f"{name}.".startswith(f"{found}.")
        }
        for name, tree in modules.items()
    }
    circle: list[str] = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert not circle, f"modules import each other: {' -> '.join(circle)}"


def test_a_folder_has_no_more_entries_than_a_reader_takes_in():
    """16, but 22 in the two wings themselves and among the documents of a store (docs/decisions/0007)."""
    wide = {"actstore": 22, "solvers": 22, "actstore/store/documents": 22}
    crowded = {}
    for package in ("actstore", "solvers", "cli"):
        for folder in [HOUSE / package, *(HOUSE / package).rglob("*/")]:
            names = [entry.name for entry in folder.iterdir() if not entry.name.startswith("_")]
            entries = [name for name in names if name.endswith(".py") or (folder / name).is_dir()]
            place = str(folder.relative_to(HOUSE))
            if len(entries) > wide.get(place, 16):
                crowded[place] = len(entries)
    assert crowded == {}


@pytest.mark.parametrize(("package", "forbidden"), [("actstore", "solvers"), ("solvers", "actstore")])
def test_neither_library_imports_the_other_nor_the_command_line(package, forbidden):
    names = {name for _, name in imported_by(package)}
    assert not names & {forbidden, "cli", "click"}


def test_solvers_reads_hdf5_in_one_file_only():
    assert {file for file, name in imported_by("solvers") if name == "h5py"} == {
        "solvers/probing/probe_file.py"
    }


def test_one_engine_imports_cupy_and_one_sklearn_whose_estimators_lie_in_one_folder():
    assert {file for file, name in imported_by("solvers") if name == "cupy"} == {
        "solvers/engines/cupy_lbfgs.py"
    }
    files = {file for file, name in imported_by("solvers") if name == "sklearn"}
    assert {file for file in files if not file.startswith("solvers/estimators/")} == {
        "solvers/engines/sklearn_fallback.py"
    }


def test_frameworks_are_known_inside_adapters_only():
    outside = {(file, name) for file, name in imported_by("actstore") if "/adapters/" not in file}
    assert not {name for _, name in outside} & FRAMEWORKS


def test_importing_actstore_loads_no_framework_no_h5py_no_click():
    assert not modules_after("import actstore") & (FRAMEWORKS | {"h5py", "click", "sklearn", "solvers"})


def test_importing_solvers_and_fitting_loads_no_h5py_no_click_and_no_sklearn():
    code = "import numpy as np, solvers; solvers.fit(np.eye(4), [0, 1, 0, 1], engine='numpy')"
    assert not modules_after(code) & (FRAMEWORKS | {"h5py", "click", "actstore", "sklearn"})


@pytest.mark.parametrize("program", ["actstore", "probe"])
def test_help_loads_neither_numpy_nor_h5py_nor_sklearn(program):
    code = f"from cli.main import {program}\ntry: {program}(['--help'])\nexcept SystemExit: pass"
    assert not modules_after(code) & {"numpy", "h5py", "sklearn", "scipy", "altair", "pandas"}


def test_the_words_of_messages_and_comments() -> None:
    """HOUSE section 5: what reads as if translated is not written."""
    banned = re.compile(r"\bcan not\b| came;|\b(was|were) expected\b")
    found = [
        f"{path.relative_to(HOUSE)}:{number}: {line.strip()}"
        for package in ("actstore", "solvers", "cli")
        for path in sorted((HOUSE / package).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if banned.search(line)
    ]
    assert not found, "\n".join(found)
