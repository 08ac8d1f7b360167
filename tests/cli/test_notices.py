"""A scheduler's notice (SIGTERM) ends a command as Ctrl-C does: what is sealed stays, in one line; exit code 143."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import actstore
import solvers

NET = """
import os, signal, time
import numpy as np
calls = 0
def run(batch):
    global calls
    calls += 1
    if calls == int(os.environ["AT"]):
        exec(os.environ["WHAT"], globals())
    return {"a": np.asarray(batch, np.float32)}
"""
SMALL_SHARDS = "from actstore.store.writing import pending; pending.SHARD_BYTES = (100, 100)\n"


def program(code, *arguments, cwd, **variables):
    """Run a command in a process of its own, whatever signals this one ignores."""
    reset = "import signal\nfor n in (15, 1): signal.signal(n, signal.SIG_DFL)\n"
    command = [sys.executable, "-c", f"{reset}{code}", *arguments]
    variables = {**os.environ, **variables}
    return subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=100
    )


def dump(folder, *more, at=8, what="os.kill(os.getpid(), signal.SIGTERM)", code=SMALL_SHARDS):
    (folder / "net.py").write_text(NET)
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(40, 6)).astype("f4"))
    arguments = [
        "dump",
        "net.py:run",
        "--data",
        "x.npy",
        "--layers",
        "a",
        "--batch-size",
        "4",
        "--no-selfcheck",
    ]
    run = f"{code}from cli.main import actstore\nactstore(prog_name='actstore')"
    return program(run, *arguments, *more, cwd=folder, AT=str(at), WHAT=what)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
@pytest.mark.parametrize("out", ["out.acts", "out.h5"])
def test_a_dump_that_is_told_to_end_keeps_what_is_sealed(tmp_path, name, code, out):
    what = f"signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.{name})"
    done = dump(tmp_path, "-o", out, what=what)
    staged = tmp_path / (out if out == "out.acts" else "out.h5.partial")
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert "rows that were sealed, as an unfinished store; --resume continues it" in line
    assert name in line or name == "SIGINT"
    rows = actstore.open(staged).rows
    assert 0 < rows < 40
    again = dump(tmp_path, "-o", out, "--resume", at=-1)
    assert (again.returncode, actstore.open(tmp_path / out).rows) == (0, 40), again.stderr
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_dump_that_is_told_to_end_before_a_shard_leaves_nothing(tmp_path):
    done = dump(tmp_path, "-o", "out.acts", at=1)
    assert (done.returncode, len(done.stderr.splitlines())) == (143, 1)
    assert not list(tmp_path.glob("out*"))


def test_further_notices_do_not_disturb_the_tidying(tmp_path):
    code = (
        "from actstore.store.writing import claim\nreal = claim.Claim.leave\nimport os, signal\n"
        "def leave(*arguments):\n    os.kill(os.getpid(), signal.SIGTERM)\n    return real(*arguments)\n"
        "claim.Claim.leave = leave\n"
    )
    done = dump(tmp_path, "-o", "out.acts", code=SMALL_SHARDS + code)
    assert done.returncode == 143, done.stderr
    assert "rows that were sealed" in done.stderr
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_inherited_as_ignored_stays_ignored(tmp_path):
    """As nohup makes it."""
    what, ignored = "os.kill(os.getpid(), signal.SIGHUP)", "signal.signal(1, signal.SIG_IGN)\n"
    done = dump(tmp_path, "-o", "out.acts", what=what, code=ignored)
    assert done.returncode == 0, done.stderr
    assert actstore.open(tmp_path / "out.acts").rows == 40


def test_a_forked_child_dies_of_it_without_a_word(tmp_path):
    """A data loader's worker is told to end by SIGTERM."""
    what = (
        "child = os.fork()\nif not child:\n    time.sleep(60)\n    os._exit(0)\n"
        "time.sleep(0.5)\nos.kill(child, signal.SIGTERM)\n"
        "status = os.waitpid(child, 0)[1]\nassert status == signal.SIGTERM, status"
    )
    done = dump(tmp_path, "-o", "out.acts", what=what)
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_fit_that_is_told_to_end_keeps_the_layers_that_are_finished(tmp_path):
    rng = np.random.default_rng(0)
    with actstore.create(tmp_path / "s.h5") as store:
        rows = {name: rng.normal(size=(60, 4)).astype("f4") for name in ("a", "b", "c")}
        store.append(rows, targets={"y": np.arange(60) % 2}, splits=["train"] * 40 + ["val"] * 20)
    code = (
        "from solvers.probing.layer import run\nimport os, signal\nreal = run.fit_layer\nseen = []\n"
        "def fit_layer(layer, *more):\n    seen.append(layer)\n"
        "    if len(seen) == 2:\n        os.kill(os.getpid(), signal.SIGTERM)\n    return real(layer, *more)\n"
    )
    fit = "from cli.main import probe\nprobe(prog_name='probe')"
    arguments = ["fit", "s.h5", "--target", "y", "-o", "p.h5"]
    done = program(f"{code}run.fit_layer = fit_layer\n{fit}", *arguments, cwd=tmp_path)
    assert done.returncode == 143, done.stderr
    assert "1 of 3 layers fitted" in done.stderr
    again = program(fit, *arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "1 of 3 layers are finished" in again.stderr
    assert len(solvers.load(tmp_path / "p.h5")) == 3
    assert not (tmp_path / "p.h5.parts").exists()
