"""Disks that fail: at one call, or from it on until there is room again."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, Any

from actstore.errors import ActstoreError
from crash.checks import LostError, check_crashed, check_refused, check_resumed, sealed_rows
from crash.operations import Operation, intercepted
from crash.replay import promising, unsynced
from crash.scenarios import Shown

if TYPE_CHECKING:
    from pathlib import Path

    from crash.disk import Event
    from crash.scenarios import Scenario

REMOVING = ("unlink", "remove", "rmdir")


def fail_at(scenario: Scenario, folder: Path, call: int, number: int) -> bool:
    """Fail a call: ENOSPC all that need room from then on, EIO this one alone. Then resume on a disk that works.

    Returns:
        whether it came to that call. LostError where the error is not told as it should be, or costs anything.
    """
    out = scenario.fresh(folder)
    calls = [0]

    def handler(operation: Operation) -> Any:
        calls[0] += 1
        failing = (
            calls[0] == call + 1 if number == errno.EIO else calls[0] > call and operation.name not in REMOVING
        )
        if failing:
            raise OSError(number, os.strerror(number), operation.path)
        return operation.real()

    events: list[Event] = []
    where = f"{scenario.name}, {errno.errorcode[number]} at call {call}"
    with unsynced():
        try:
            with intercepted(str(folder), handler):
                for job in scenario.jobs:
                    with promising(job, events):
                        job.run(out)
                    events.append(("promise", job, None))
        except ActstoreError as error:
            _check_told(error, number, where)
            _check_note(scenario, out, error, where)
        except OSError as error:
            raise LostError(f"{where}: {type(error).__name__} and not one line: {error}") from error
        try:
            check_crashed(scenario, folder, {job: rows for _, job, rows in events})
            check_refused(scenario, folder)
            check_resumed(scenario, folder)
        except LostError as error:
            raise LostError(f"{where}: {error}") from error
    shutil.rmtree(folder)
    return calls[0] > call


def _check_told(error: ActstoreError, number: int, where: str) -> None:
    if "\n" in str(error) or os.strerror(number) not in str(error) or len(getattr(error, "__notes__", [])) != 1:
        raise LostError(f"{where}: {error}; {getattr(error, '__notes__', [])}") from error


def _check_note(scenario: Scenario, out: Path, error: ActstoreError, where: str) -> None:
    """What the error says is left has to be what is left."""
    (note,) = error.__notes__
    partial = out.with_name(out.name + ".partial")
    if " is whole" in note:
        true = Shown.of(out).equals(scenario.whole)
    elif "as a whole store" in note:
        true = Shown.of(partial if partial.exists() else out).complete
    elif "keeps the" in note:
        true = any(f"keeps the {rows:,} rows" in note for rows in _kept(scenario, out, partial))
    elif "nothing" in note and len(scenario.jobs) == 1 and not scenario.before:
        true = not out.exists() and not partial.exists()
    else:
        true = True
    if not true:
        raise LostError(f"{where}: {note!r} is not so")


def _kept(scenario: Scenario, *places: Path) -> list[int]:
    """How many rows each job has sealed."""
    return [sealed_rows(path, job) for path in places if path.is_dir() for job in scenario.jobs]
