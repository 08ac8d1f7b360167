"""Crashes between any two file operations, losses of power, and disks that fail: nothing that was promised is lost.

Each scenario is recorded once; then what it did to the disk is replayed up to some point. ``make crash`` does all.
"""

from __future__ import annotations

import errno

import numpy as np
import pytest
from crash.checks import LostError
from crash.disk import Saved
from crash.failing import fail_at
from crash.replay import Recorded, unsynced
from crash.scenarios import Scenario, scenarios

from actstore import StoreError
from actstore.store.disk import durable
from actstore.store.documents.journal import SECTOR_BYTES, Journal, read_journal

WHOLE = ("folder",)  # scenarios of which every point is made; of the others every eleventh


@pytest.fixture(scope="module", params=scenarios(), ids=lambda scenario: scenario.name.replace(" ", "-"))
def scenario(request, tmp_path_factory) -> Scenario:
    """A scenario that was done undisturbed once, so that it knows what has to come of it."""
    with unsynced():
        request.param.learn(tmp_path_factory.mktemp("learnt") / "undisturbed")
    return request.param


@pytest.fixture(scope="module")
def recorded(scenario, tmp_path_factory) -> Recorded:
    """Its file operations."""
    return Recorded(scenario, tmp_path_factory.mktemp("replayed"))


def stride(scenario):
    return 1 if scenario.name in WHOLE else 11


def test_a_crash_between_two_file_operations_costs_nothing(recorded):
    assert len(recorded.points) > 100
    for point in recorded.points[:: stride(recorded.scenario)]:
        recorded.crash(point, None)


def test_a_power_loss_costs_nothing_that_was_synced(recorded):
    assert len(recorded.points) > 100
    for seed, point in enumerate(recorded.points[:: stride(recorded.scenario)]):
        recorded.crash(point, seed)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full disk", "broken disk"])
def test_a_call_that_fails_is_told_in_one_line_and_costs_nothing(scenario, tmp_path, number):
    call, reached = 0, True
    while reached:
        with unsynced():
            reached = fail_at(scenario, tmp_path / str(call), call, number)
        call += stride(scenario) if scenario.name not in WHOLE else 5
    assert call > 100


@pytest.mark.parametrize("name", ["sync_file", "sync_data", "sync_folder"])
def test_the_replay_sees_a_sync_that_is_missing(tmp_path, monkeypatch, name):
    """What the tests above prove depends on it: without any of the three, some power loss costs something."""
    scenario = next(one for one in scenarios() if one.name == "folder")
    scenario.learn(tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        patch.setattr(durable, name, lambda what: None)
        recorded = Recorded(scenario, tmp_path)
    lost = 0
    for point in recorded.points[60::3]:
        try:
            recorded.crash(point, 0)
        except LostError:
            lost += 1
    assert lost


def test_the_replay_sees_rows_that_are_not_the_dumps(tmp_path):
    scenario = next(one for one in scenarios() if one.name == "folder")
    scenario.learn(tmp_path / "undisturbed")
    recorded = Recorded(scenario, tmp_path)
    writes = [
        number for number, event in enumerate(recorded.events) if event[0] == "write" and len(event[3]) > 100
    ]
    kind, inode, offset, data = recorded.events[writes[0]]
    recorded.events[writes[0]] = (kind, inode, offset, bytes(len(data)))
    with pytest.raises(LostError, match="after event"):
        recorded.crash(len(recorded.events), None)


def test_what_a_power_loss_leaves_of_a_file():
    """Nothing, all or some pages of what was not synced; never a byte that nobody wrote."""
    rng = np.random.default_rng(0)
    saved = Saved(b"a" * 700, [("write", 600, b"b" * 2000), ("size", 2500)])
    left = {saved.after_loss(rng) for _ in range(200)}
    assert {b"a" * 700, saved.now()} < left
    assert len(left) > 10
    for data in left:
        assert len(data) in (700, 2500)
        assert data[:512] == b"a" * 512
        assert set(data) <= set(b"ab\0")


def test_a_journal_record_of_which_sectors_are_missing_is_left_out(tmp_path):
    """The power failed while it was written: its end is there, sectors before are zeros. Damage elsewhere is told."""
    path = tmp_path / "journal"
    journal = Journal(path, "start")
    for number in range(3):
        journal.append({"number": number, "text": "x" * 2000})
    data = path.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    sector = -(-last // SECTOR_BYTES) * SECTOR_BYTES
    for first, stop in [(last, sector), (sector, sector + SECTOR_BYTES), (last, len(data) - 1)]:
        path.write_bytes(data[:first] + bytes(stop - first) + data[stop:])
        assert len(read_journal(path, "start").records) == 2
        with pytest.raises(StoreError, match=r"is damaged at record 2, whose checksum does not fit|has no end"):
            read_journal(path, "start", whole=True)
        continued = Journal(path, "start")
        assert path.stat().st_size == last
        continued.append({"number": 2, "text": "x" * 2000})
        assert path.read_bytes() == data
    for damaged, number in [
        (data[:10] + bytes(30) + data[40:], 0),
        (data[: sector + 1] + bytes(SECTOR_BYTES - 1) + data[sector + SECTOR_BYTES :], 2),
        (data[: last + 20] + b"\0" + data[last + 21 :], 2),
    ]:
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=f"is damaged at record {number}, whose checksum does not fit"):
            read_journal(path, "start")
