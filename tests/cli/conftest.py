"""The programs as a user runs them, in a folder of their own."""

import json

import numpy as np
import pytest
from click.testing import CliRunner


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder):
    """``run("probe show p.h5")`` gives the result; ``code`` is the exit code that is expected."""
    from cli.main import actstore, probe

    def call(line, code=0):
        program, *arguments = line.split() if isinstance(line, str) else line
        result = CliRunner().invoke({"actstore": actstore, "probe": probe}[program], arguments)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


@pytest.fixture
def refused(run):
    """Run a line that must fail with exit code 1 (or `code`) and one line of reason; gives that line.

    What click itself refuses (`Usage: ...`) has its usage above.
    """

    def call(line, code=1):
        result = run(line, code=code)
        lines = result.stderr.strip().split("\n")
        if not lines[0].startswith("Usage: "):
            assert len(lines) == 1, result.stderr
        assert "Traceback" not in result.output
        return lines[-1]

    return call


@pytest.fixture
def evaluated(run):
    """``evaluated("p.h5 s.h5")`` gives the error of each probe, split and role, as `probe eval --json` prints it."""

    def call(line, code=0):
        scores = json.loads(run(f"probe eval {line} --json", code=code).stdout)["scores"]
        return [row for row in scores if (row["kind"], row["metric"]) == ("task", "error")]

    return call


@pytest.fixture
def net(folder):
    """A file with a small model: a plain function with two layers, one noisy and one clean."""
    (folder / "net.py").write_text(
        "import numpy as np\n"
        "MATRIX = np.random.default_rng(0).normal(size=(6, 4))\n"
        "def run(batch):\n"
        "    hidden = np.tanh(batch @ MATRIX)\n"
        "    return {'hidden': hidden, 'double.out': 2 * batch}\n"
    )
    generator = np.random.default_rng(1)
    for split, rows in (("train", 300), ("test", 100)):
        x = generator.normal(size=(rows, 6)).astype("float32")
        np.savez(folder / f"{split}.npz", x=x, y=(x[:, 0] + generator.normal(size=rows) > 0).astype("int64"))
    return "net.py:run"


@pytest.fixture
def store(run, net):
    """`s.h5`: the model above over its two splits, target `sign`."""
    data = "--data train=train.npz:x --target train:sign=train.npz:y"
    data += " --data test=test.npz:x --target test:sign=test.npz:y"
    run(f"actstore dump {net} {data} --layers hidden --layers double.out -o s.h5")
    return "s.h5"
