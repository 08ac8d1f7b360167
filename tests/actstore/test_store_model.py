"""Whatever is done to stores, in whatever order, and wherever a process dies: they are what plain dictionaries say.

A short run; ``make crash`` does at least 1,000 sequences.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from model.machine import StoreMachine

QUICK = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_stores_are_what_plain_dictionaries_say():
    run_state_machine_as_test(StoreMachine, settings=QUICK)
