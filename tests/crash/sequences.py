"""Random sequences of everything that is done to stores, run against the model for as long as is asked for."""

from __future__ import annotations

import time
import traceback
import warnings
from collections import Counter

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from model.machine import StoreMachine

CHUNK = 20  # sequences that one seed stands for
STEPS = 25


def run_sequences(minutes: float, sequences: int, first_seed: int) -> Counter[str]:
    """Run at least so many sequences, for at least so long. Returns how many there were, and how many seeds failed."""
    until_s = time.monotonic() + 60 * minutes
    counts: Counter[str] = Counter()
    number = first_seed
    while StoreMachine.sequences < sequences or time.monotonic() < until_s:
        if not run_seed(number, CHUNK):
            counts["lost"] += 1
        number += 1
    counts["sequences"] = StoreMachine.sequences
    counts["seeds"] = number - first_seed
    return counts


def run_seed(number: int, sequences: int) -> bool:
    """Run the sequences of a seed. Returns whether all held; what did not is printed, as short as it can be made."""
    machine = seed(number)(type("StoreMachine", (StoreMachine,), {}))
    how = settings(
        max_examples=sequences,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
            run_state_machine_as_test(machine, settings=how)
    except Exception:  # noqa: BLE001 - whatever it was, it is shown, and the next seed has its turn
        print(
            f"\nFAILED: seed {number}; again: make crash CRASH='--part sequences --minutes 0 --seed {number}'"
        )
        traceback.print_exc()
        return False
    return True
