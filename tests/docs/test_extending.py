"""The package that docs/extending.md writes is installed as it stands there, and used by its own commands."""

import os
import re
import subprocess
import sys
import tomllib
import wave
from pathlib import Path

import numpy as np
import pytest

import actstore

HOUSE = Path(__file__).resolve().parent.parent.parent
PAGE = (HOUSE / "docs" / "extending.md").read_text()
MODULE = re.compile(r"^```python\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROJECT = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
LONGEST = 40

NET = """
import numpy as np

class Chain:
    def __init__(self, links, weights):
        self.links, self.weights = links, weights

class Linear:
    def __init__(self, weights):
        self.weights = weights
    def __call__(self, x):
        return x @ self.weights

def relu(x):
    return np.maximum(x, 0, out=x)  # in place: what came before must have been copied

def make():
    first, last = np.random.default_rng(0).normal(size=(2, 16, 16)).astype("float32")
    return Chain({"first": Linear(first), "relu": relu, "last": Linear(last)}, {"first": first, "last": last})
"""


def installed(folder, name="waves", **changes):
    """The page's package, as an installer lays it out: its modules, and a dist-info folder with the entry points."""
    site = folder / "site"
    for file, code in MODULE.findall(PAGE):
        path = site / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    project = tomllib.loads(*PROJECT.findall(PAGE))["project"]
    points = {**project["entry-points"], **changes}
    info = site / f"{name}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in own.items())
            for group, own in points.items()
        )
    )
    return site


def bash(code, folder, *more):
    path = os.pathsep.join([str(folder / "site"), str(HOUSE), str(folder), *more])
    programs = "".join(
        f'{name}() {{ "{sys.executable}" -c "from cli.main import {name}; {name}()" "$@"; }}\n'
        for name in ("actstore", "probe")
    )
    programs += f'python() {{ "{sys.executable}" "$@"; }}\n'
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", programs + code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """A net of the framework's, and a recording of 100 windows, half of them loud."""
    (tmp_path / "net.py").write_text(NET)
    generator = np.random.default_rng(0)
    sound = generator.normal(size=(100, 16)) * np.where(np.arange(100) % 2, 0.2, 0.01)[:, None]
    with wave.open(str(tmp_path / "recording.wav"), "wb") as recording:
        recording.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        recording.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return tmp_path


def commands():
    """What stands behind the prompts of the page."""
    return ["\n".join(line[2:] for line in block.splitlines()) for block in CONSOLE.findall(PAGE)]


def test_each_extension_is_under_forty_lines():
    modules = MODULE.findall(PAGE)
    assert [file for file, _ in modules] == ["waves/adapter.py", "waves/source.py"]
    assert all(len(code.splitlines()) < LONGEST for _, code in modules)


def test_the_commands_of_the_page_run_with_its_package(folder):
    installed(folder)
    outputs = []
    for code in commands():
        done = bash(code, folder)
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
        outputs.append(done.stdout)
    listed = [line.split()[:3] for line in outputs[0].splitlines()]
    assert listed[2:5] == [["first", "1", "Linear"], ["relu", "2", "function"], ["last", "3", "Linear"]]
    with actstore.open(folder / "sound.h5") as store:
        assert list(store.layers) == ["first", "relu", "last"]
        assert store.rows == 100
        assert store.targets["loud"].tolist() == [False, True] * 50
        first = store.layers["first"][:]
        assert first.min() < 0, "copied before the next link wrote over it"
        np.testing.assert_array_equal(store.layers["relu"][:], np.maximum(first, 0))


def test_without_the_package_neither_is_known(folder):
    done = bash("actstore layers net.py:make --data recording.wav:16", folder)
    assert done.returncode == 2  # the data is looked at before the model is made
    assert "recording.wav:16" in done.stderr
    done = bash("actstore layers net.py:make", folder)
    assert done.returncode == 1
    assert "is not a model that an adapter knows" in done.stderr


def test_one_that_is_broken_is_named_in_a_line_and_the_others_work(folder):
    installed(
        folder, **{"actstore.adapters": {"chain": "waves.adapter:ChainAdapter", "bad": "waves.adapter:keep"}}
    )
    broken = {
        "actstore.adapters": {"gone": "waves.nowhere:A", "half": "math:pi"},
        "actstore.sources": {"void": "math"},
    }
    installed(folder, "broken", **broken)
    done = bash("actstore layers net.py:make --data recording.wav:16", folder)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stderr.strip().splitlines())
    assert [line.split(" of another")[0] for line in lines] == [
        "adapter 'bad'", "adapter 'gone'", "adapter 'half'", "source 'void'",
    ]  # fmt: skip
    assert "(waves.adapter:keep) is left out: it cannot be loaded: AttributeError" in lines[0]
    assert "ModuleNotFoundError: No module named 'waves.nowhere'" in lines[1]
    assert "an adapter is a subclass of actstore.adapters.Adapter, not float" in lines[2]
    assert "a source is a module with FORMS and resolve; it has no 'FORMS', 'resolve'" in lines[3]
