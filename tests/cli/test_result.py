"""What a command returns, the one place that prints it, and the net beneath every command."""

import json
import os
import signal

import click
import numpy as np
import pytest
from click.testing import CliRunner

from cli.program import Program
from cli.result import Failure, Result, Table, command


def program(function, name="work"):
    """A program of one command, which runs `function`."""

    @click.group("tool", cls=Program)
    def tool():
        pass

    @command(name)
    @click.option("--number", type=int)
    def work(number):
        return function()

    tool.add_command(work)
    return tool


def call(function, *arguments):
    done = CliRunner().invoke(program(function), ["work", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def raising(error):
    def function():
        raise error

    return function


RESULT = Result(
    {"rows": np.int64(3), "share": float("nan")},
    ["three rows", "", Table(["layer", "rows"], [["a\x1b[31m", "3"]])],
    ["note: few rows"],
)


def test_text_goes_to_stdout_and_messages_to_stderr():
    done = call(lambda: RESULT)
    assert done.stdout == "three rows\n\nlayer      rows\na\\x1b[31m     3\n"
    assert (done.stderr, done.exit_code) == ("note: few rows\n", 0)


def test_json_is_one_document_with_a_format_and_a_version():
    done = call(lambda: RESULT, "--json")
    assert json.loads(done.stdout) == {
        "format": "tool work",
        "version": 1,
        "rows": 3,
        "share": None,
        "messages": ["note: few rows"],
    }
    assert done.stderr == "note: few rows\n"
    assert list(json.loads(done.stdout))[:2] == ["format", "version"]


def test_a_failure_keeps_what_there_is_and_exits_1():
    failed = Result({"rows": 3}, ["three rows"], failure=Failure("damaged", ["one block", "another"]))
    assert (failed.exit_code, failed.error_code) == (1, "damaged")
    done = call(lambda: failed)
    assert (done.stdout, done.stderr) == ("three rows\n", "error: one block\nerror: another\n")
    assert done.exit_code == 1
    done = call(lambda: failed, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["rows"] == 3
    assert json.loads(done.stdout)["error"] == {"code": "damaged", "message": "one block; another"}


@pytest.mark.parametrize("given", [{"lines": []}, {"lines": ["bad"], "exit_code": 0}])
def test_no_failure_without_a_reason_or_with_exit_code_0(given):
    with pytest.raises(ValueError, match="a failure has a reason and an exit code of 1 or more"):
        Failure("x", **given)


class OwnEnd(BaseException):
    """What some compiled libraries raise: no Exception."""


@pytest.mark.parametrize(
    ("error", "said", "exit_code", "error_code"),
    [
        (
            ZeroDivisionError("a / b"),
            "Error: ZeroDivisionError: a / b (in cli/test_result.py:",
            1,
            "unexpected",
        ),
        (KeyError(), "Error: KeyError (in cli/test_result.py:", 1, "unexpected"),
        (ValueError("two\nlines \x1b[31m"), "Error: ValueError: two lines \\x1b[31m (in ", 1, "unexpected"),
        (OwnEnd("panic"), "Error: OwnEnd: panic (in ", 1, "unexpected"),
        (
            SystemExit(0),
            "Error: SystemExit: the program was told to exit (0) before it was done (in ",
            1,
            "unexpected",
        ),
        (MemoryError(), "Error: there is not enough memory: none was left", 1, "memory"),
        (FileNotFoundError(2, "No such file", "x"), "Error: [Errno 2] No such file: 'x'", 1, "system"),
        (click.UsageError("--number is odd"), "Error: --number is odd", 2, "usage"),
        (click.ClickException("no luck"), "Error: no luck", 1, "failed"),
        (KeyboardInterrupt(), "Interrupted", 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_is_one_line_and_with_json_one_document(error, said, exit_code, error_code):
    done = call(raising(error))
    assert done.stderr.splitlines()[-1].startswith(said), done.stderr
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert len(done.stderr.splitlines()) == 1 or exit_code == 2
    done = call(raising(error), "--json")
    document = json.loads(done.stdout)
    assert (document["format"], document["version"], document["error"]["code"]) == ("tool work", 1, error_code)
    assert document["error"]["message"].casefold() in done.stderr.casefold()
    assert done.exit_code == exit_code


def test_errors_of_the_libraries_have_codes_of_their_own():
    from actstore.errors import LayerError, RowError, StoreError
    from solvers.errors import ProbeFileError, SolverError

    for error, code in (
        (StoreError("x"), "store"),
        (LayerError("x"), "layer"),
        (RowError(3, "x"), "dump"),
        (ProbeFileError("x"), "probe-file"),
        (SolverError("x"), "failed"),
    ):
        assert json.loads(call(raising(error), "--json").stdout)["error"]["code"] == code


def test_every_error_class_of_the_libraries_has_a_code():
    import actstore.errors
    import solvers.errors
    from cli.program import FAILED, explained

    for module in (actstore.errors, solvers.errors):
        for kind in vars(module).values():
            bases = ("ActstoreError", "SolverError", "RowError")
            if isinstance(kind, type) and issubclass(kind, Exception) and kind.__name__ not in bases:
                assert explained(kind("x"))[0] != FAILED, kind


@pytest.mark.parametrize("line", [["work", "--json", "--number", "x"], ["work", "--nubmer", "1", "--json"]])
def test_a_line_that_cannot_be_parsed_answers_in_json_where_it_asks_for_it(line):
    done = CliRunner().invoke(program(lambda: RESULT), line)
    document = json.loads(done.stdout)
    assert (done.exit_code, document["format"], document["error"]["code"]) == (2, "tool work", "usage")


def test_a_command_that_is_not_there_answers_in_json():
    done = CliRunner().invoke(program(lambda: RESULT), ["wrok", "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["format"], document["error"]["code"]) == (2, "tool", "usage")


@pytest.mark.parametrize("how", ["command", "program", "environment"])
def test_the_traceback_is_there_for_the_asking(monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("ACTSTORE_DEBUG", "1")
    line = {"command": ["work", "--debug"], "program": ["--debug", "work"], "environment": ["work"]}[how]
    done = CliRunner().invoke(program(raising(ValueError("bad"))), line)
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("Error: ValueError: bad (in cli/test_result.py:")
    assert done.exit_code == 1


def test_debugging_set_to_0_is_off(monkeypatch):
    monkeypatch.setenv("ACTSTORE_DEBUG", "0")
    assert "Traceback" not in call(raising(ValueError("bad"))).stderr


def test_what_a_model_prints_is_no_part_of_the_document(run, folder):
    (folder / "loud.py").write_text(
        "print('loading')\ndef run(batch):\n    print('batch')\n    return {'a': batch}\n"
    )
    np.save("x.npy", np.zeros((4, 3), "f4"))
    line = "actstore dump loud.py:run --data x.npy --layers a -o s.h5"
    done = run(f"{line} --json")
    assert json.loads(done.stdout)["rows"] == 4
    assert "loading" in done.stderr
    assert "batch" in done.stderr
    assert "batch" in run(f"{line} --overwrite").stdout


def test_an_interrupt_is_never_hidden():
    def function():
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    done = call(function)
    assert (done.exit_code, done.stderr) == (128 + signal.SIGTERM, "Ended by SIGTERM\n")


def test_info_and_doctor_are_versioned(run, store):
    found = json.loads(run(f"actstore info {store} --json").stdout)
    assert (found["format"], found["version"], found["rows"]) == ("actstore info", 1, 400)
    found = json.loads(run("probe doctor --json").stdout)
    assert (found["format"], found["version"]) == ("probe doctor", 1)
    assert {row["engine"] for row in found["engines"]} >= {"numpy", "sklearn"}


def test_fit_and_predictions_are_versioned(run, store):
    found = json.loads(run(f"probe fit {store} --target sign --C 1 -o p.h5 --json").stdout)
    assert (found["format"], found["version"], found["failures"]) == ("probe fit", 1, {})
    assert [each["status"] for each in found["probes"]] == ["converged", "converged"]
    found = json.loads(run("probe predictions p.h5 -o t.csv --split test --json").stdout)
    assert (found["format"], found["rows"], found["probes"]) == ("probe predictions", 200, 2)


def test_a_fit_that_is_not_proven_fails_with_what_there_is(run, store):
    done = run(f"probe fit {store} --target sign --C 1 --gap 1e-300 -o p.h5 --json", code=1)
    document = json.loads(done.stdout)
    assert document["error"]["code"] == "not-proven"
    assert {each["status"] for each in document["probes"]} == {"gap_missed"}
    assert "is gap_missed" in done.stderr


def test_a_missing_store_is_a_document_too(run):
    done = run("actstore info none.h5 --json", code=1)
    assert json.loads(done.stdout)["error"]["code"] == "store"
    assert "none.h5 cannot be opened" in done.stderr


def test_no_room_for_a_thread_is_told_as_lack_of_memory():
    from cli.program import MEMORY, explained

    code, said = explained(RuntimeError("can't start new thread"))
    assert code == MEMORY
    assert "ulimit -v" in said
