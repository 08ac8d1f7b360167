"""What has to hold after a crash, wherever it came."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from actstore import verify
from actstore.errors import ActstoreError, StoreError
from actstore.store.documents.folder import read_header
from actstore.store.documents.rank import read_rank
from actstore.store.format import JOURNAL, STORE_JSON, rank_folder
from crash.scenarios import Shown

if TYPE_CHECKING:
    from pathlib import Path

    from crash.scenarios import Job, Scenario

Promises = Mapping["Job", int | None]
"""By job: how many rows it was told were sealed; None once its dump returned."""


class LostError(AssertionError):
    """Something was lost, mixed up or left behind."""


def check_crashed(scenario: Scenario, folder: Path, promised: Promises) -> int:
    """Open what is there. Returns how many outputs could be opened. LostError where rows are wrong, or missing."""
    out = folder / scenario.out
    partial = out.with_name(out.name + ".partial")
    opened = 0
    for path in (out, partial):
        shown = _open(path)
        if shown is None:
            continue
        opened += 1
        _check_sound(path)
        right = shown.begins(scenario.whole)
        if not right and not (path == out and scenario.old is not None and shown.equals(scenario.old)):
            raise LostError(f"{path.name} shows rows that are not the dump's")
    for job, rows in promised.items():
        _check_promise(scenario, job, rows, [out, partial])
    if scenario.old is not None:
        _check_old_stays(scenario, out, partial)
    return opened


def _check_sound(path: Path) -> None:
    """LostError where `actstore verify` would find damage: what a crash leaves over is none."""
    damages = verify(path, workers=1).damages
    if damages:
        raise LostError(f"verify finds damage: {damages}")


def _open(path: Path) -> Shown | None:
    if not path.exists():
        return None
    try:
        return Shown.of(path)
    except ActstoreError as error:
        if "no rows yet" not in str(error) or "\n" in str(error):
            raise LostError(f"{path.name} cannot be opened: {error}") from error
        return None


def _check_promise(scenario: Scenario, job: Job, rows: int | None, places: list[Path]) -> None:
    shown = [found for found in map(_open, places) if found is not None]
    if rows is None:
        done = any(found.begins(scenario.whole) and job.number in found.steps for found in shown[:1])
        if not done or (len(scenario.jobs) == 1 and not shown[0].equals(scenario.whole)):
            raise LostError(f"{job} had ended, and is not there")
    elif rows and not any(sealed_rows(place, job) >= rows for place in places):
        raise LostError(f"{job} was told of {rows} sealed rows, which are not there")


def sealed_rows(place: Path, job: Job) -> int:
    """How many rows the journal of a job's rank lists; of a file, more than any."""
    if place.is_file():
        return 10**9  # its rows were compared
    if not (place / STORE_JSON).exists():
        return 0
    try:
        rank = read_rank(place, read_header(place), job.number, job.rank)
    except StoreError as error:
        raise LostError(f"a journal cannot be read: {error}") from error
    return rank.rows if rank else 0


def _check_old_stays(scenario: Scenario, out: Path, partial: Path) -> None:
    """What is to be replaced is there until the new one is whole, and one of them has the name, or both lie beside."""
    if out.exists():
        shown = Shown.of(out)
        if not shown.equals(scenario.old) and not shown.equals(scenario.whole):
            raise LostError("neither the old store nor the new one is whole")
    elif not (partial.exists() and Shown.of(partial).equals(scenario.whole)):
        raise LostError("the old store is gone, and the new one is not whole")


def check_refused(scenario: Scenario, folder: Path) -> None:
    """A dump that does not ask to resume neither continues nor replaces what is there."""
    out = folder / scenario.out
    partial = out.with_name(out.name + ".partial")
    for job in scenario.jobs:
        journals = [place / rank_folder(job.number, job.rank) / JOURNAL for place in (out, partial)]
        if not out.is_file() and not any(path.exists() and path.stat().st_size for path in journals):
            continue
        before = _bytes_of(folder)
        try:
            job.run(out, overwrite=False, resume=False)
        except StoreError as error:
            if "\n" in str(error) or not ("resume" in str(error) or "already" in str(error)):
                raise LostError(f"refused, but not in one line that says what to do: {error}") from error
        else:
            raise LostError(f"{job} went over what was there without --resume")
        if _bytes_of(folder) != before:
            raise LostError(f"{job} was refused, and changed what is there")


def _bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "lock" not in path.name
    }


def check_resumed(scenario: Scenario, folder: Path) -> None:
    """Resume every job. LostError unless the end is the undisturbed dump's, with nothing left beside it or within."""
    out = folder / scenario.out
    try:
        for job in scenario.jobs:
            _resume(scenario, job, out)
        shown = Shown.of(out)
    except ActstoreError as error:
        raise LostError(f"resuming failed: {error}") from error
    _check_sound(out)
    if not shown.equals(scenario.whole):
        raise LostError("the resumed dump differs from the undisturbed one")
    left = [path.name for path in folder.iterdir() if path != out]
    left += [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]
    left += [str(path.relative_to(folder)) for path in folder.rglob("packed.h5")]
    if left:
        raise LostError(f"left behind: {', '.join(left)}")


def _resume(scenario: Scenario, job: Job, out: Path) -> None:
    try:
        job.run(out, overwrite=False, resume=True)
    except StoreError as error:
        if scenario.old is None or "was begun differently" not in str(error):
            raise
        if not Shown.of(out).equals(
            scenario.old
        ):  # nothing of the new one had been begun: the old one is untouched
            raise LostError("neither resumed nor as it was") from error
        job.run(out)
