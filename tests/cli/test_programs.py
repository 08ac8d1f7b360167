"""The programs from outside: `python -m`, versions, and what a shell completes."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import actstore
import solvers


def started(*arguments, **variables):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("module", "command"), [("actstore", "dump"), ("solvers", "fit")])
def test_python_m_is_the_program(module, command):
    done = started("-m", module, "--help")
    assert done.returncode == 0, done.stderr
    assert f"\n  {command} " in done.stdout
    assert started("-m", module, "--version").stdout.strip().endswith(version("actstore"))
    assert started("-m", module, command, "--nonsense").returncode == 2


@pytest.mark.parametrize("module", ["actstore", "solvers"])
def test_a_package_that_is_not_installed_says_so(monkeypatch, capsys, module):
    from importlib import import_module
    from importlib.metadata import PackageNotFoundError

    main = import_module(f"{module}.__main__")

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(main, "distribution", missing)
    with pytest.raises(SystemExit, match="Error: no installed package has the program"):
        main.main()


def test_both_packages_know_their_version():
    assert actstore.__version__ == solvers.__version__ == version("actstore")


COMPLETED = [
    ("actstore", "actstore ", 1, "plain,unpack"),
    ("actstore", "actstore un", 1, "plain,unpack"),
    ("probe", "probe e", 1, "plain,eval"),
    ("actstore", "actstore merge --lay", 2, "plain,--layers"),
    ("actstore", "actstore info --js", 2, "plain,--json"),
    ("actstore", "actstore dump net.py:make --row t", 4, "plain,token"),
    ("actstore", "actstore info run", 2, "file,run"),
    ("actstore", "actstore dump net", 2, "file,net"),
    ("actstore", "actstore dump net.py:make --data x", 4, "file,x"),
    ("actstore", "actstore pack run.acts -o run", 4, "file,run"),
    ("probe", "probe eval p.h5 run", 3, "file,run"),
]


@pytest.mark.parametrize(("program", "words", "at", "expected"), COMPLETED)
def test_the_shell_completes_commands_options_values_and_files(program, words, at, expected):
    code = f"from cli.main import {program}; {program}(prog_name='{program}')"
    variables = {
        f"_{program.upper()}_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(at),
    }
    done = started("-c", code, **variables)
    assert expected in done.stdout.splitlines(), done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_for_shells_are_there(shell):
    code = "from cli.main import actstore; actstore(prog_name='actstore')"
    done = started("-c", code, _ACTSTORE_COMPLETE=f"{shell}_source")
    assert done.returncode == 0
    assert "_ACTSTORE_COMPLETE" in done.stdout


def test_a_program_on_a_full_disk_is_one_line(store):
    """`/dev/full` takes nothing: neither the text nor the document of `--json`."""
    for more in ([], ["--json"]):
        code = "from cli.main import actstore; actstore(prog_name='actstore')"
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-c", code, "info", store, *more],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode != 0
        assert "Traceback" not in done.stderr, done.stderr
        assert "No space left" in done.stderr


def test_info_says_what_was_reduced_from_which_weights_and_how_large_it_is(run):
    import json

    run(
        "actstore dump demo:digits --data digits --layers hidden0 --layers hidden1 --random-features 8 -o s.acts"
    )
    found = json.loads(run("actstore info s.acts --json").stdout)
    assert found["layers"]["hidden0"]["reductions"] == "random_features 8 of 128"
    assert found["steps"]["0"]["weights"].startswith("xxh3_128:")
    assert found["activation_bytes"] == 2 * 1797 * 8 * 4
    text = run("actstore info s.acts").stdout
    assert f"weights: {found['steps']['0']['weights']}" in text
    assert "random_features 8 of 64" in text
    assert "\n115.0 kB of activations\n" in text
