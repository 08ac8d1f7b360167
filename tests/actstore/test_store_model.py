"""Whatever is done to stores, in whatever order, and wherever a process dies: they are what plain dictionaries say.

A short run; ``make crash`` does at least 1,000 sequences.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from model.actions import label
from model.machine import StoreMachine
from model.plain import Dump
from model.slots import MUST, NEVER, NEW

QUICK = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # forks are on purpose


def test_stores_are_what_plain_dictionaries_say():
    StoreMachine.counts.clear()
    run_state_machine_as_test(StoreMachine, settings=QUICK)  # which asserts after every step
    assert {"dump done", "dump killed", "pack done", "label done"} <= set(StoreMachine.counts)
    assert sum(StoreMachine.counts.values()) >= 30


@pytest.fixture(scope="module")
def right():
    """A dump of two steps, a killed one, a frozen store and a packed one: all of it as the model says."""
    made = StoreMachine()
    made.begin(what=Dump(1, 1), frozen=True)
    made.add_a_step(pick=0, scale=2, world_size=1, kill=None)
    made._dump("c.acts", Dump(2, 1), 0, NEW, 80)
    made._pack("a.acts", "d.h5", 1, overwrite=False, kill=None)
    assert made.slots["c.acts"].begun
    assert made.slots["d.h5"].whole
    made.what_was_finished_is_there()
    yield made
    made.teardown()


@pytest.fixture
def machine(right):
    """A copy of it."""
    made = StoreMachine()
    shutil.copytree(right.folder, made.folder, dirs_exist_ok=True)
    made.slots = right.slots
    yield made
    made.teardown()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


SPOILT = {
    "a bit of a shard": lambda folder: flip(folder / "a.acts/steps/0/rank-0000/shard-000001.h5"),
    "a bit of a file": lambda folder: flip(folder / "d.h5"),
    "a step is gone": lambda folder: shutil.rmtree(folder / "a.acts/steps/1"),
    "a store is gone": lambda folder: shutil.rmtree(folder / "b.acts"),
    "a label nobody gave": lambda folder: label(folder / "a.acts", "word", 1, overwrite=False),
    "a journal is gone": lambda folder: (folder / "c.acts/steps/0/rank-0000/journal").unlink(),
    "another store": lambda folder: shutil.copytree(folder / "b.acts", folder / "a.acts", dirs_exist_ok=True),
    "a store that nobody made": lambda folder: shutil.copytree(folder / "b.acts", folder / "x.acts"),
    "left beside": lambda folder: (folder / f"d.h5.{'0' * 16}.tmp").write_bytes(b""),
    "left within": lambda folder: (folder / f"a.acts/store.json.{'0' * 16}.tmp").write_bytes(b""),
    "an export nobody made": lambda folder: np.save(folder / "f.npy", np.zeros(3)),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_the_model_sees_what_is_not_so(machine, spoil):
    spoil(machine.folder)
    with pytest.raises(AssertionError, match=r"\w"):
        machine.what_was_finished_is_there()


def test_the_model_sees_what_was_to_be_refused_and_what_was_not(machine):
    with pytest.raises(AssertionError, match="a dump was to be refused, and was not"):
        machine._act("a dump", lambda: None, None, NEVER)
    with pytest.raises(AssertionError, match=r"label was refused: .* is one file"):
        machine._act("label", lambda: label(machine.folder / "d.h5", "word", 1, overwrite=False), None, MUST)
