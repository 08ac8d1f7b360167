"""``make crash``: kill 1,000 dumps, replay all crashes and power losses, fail each call, run 1,000 random sequences.

Exits 1 on any loss.
"""

from __future__ import annotations

import argparse
import errno
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from model.machine import StoreMachine

from crash.checks import LostError, check_crashed, check_refused, check_resumed
from crash.failing import fail_at
from crash.killing import count_operations, kill_after, kill_at, kill_program
from crash.replay import Recorded, unsynced
from crash.scenarios import Scenario, scenarios
from crash.sequences import run_sequences

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTS = ("kills", "replay", "sequences")
COLUMNS = ("kills", "opened", "resumed", "equal", "lost")
PROGRAM_EVERY, TIMED_EVERY = (
    20,
    4,
)  # every twentieth kill is of a program of its own, every fourth comes at any moment


def kill(scenario: Scenario, base: Path, kills: int, seed: int) -> Counter[str]:
    """Kill so many processes. Returns what came of them, by ``COLUMNS``."""
    counted = base / f"counted {scenario.name}"
    out = scenario.fresh(counted)
    begun = time.monotonic()
    operations = [count_operations(counted, lambda job=job: job.run(out)) for job in scenario.jobs]
    seconds = time.monotonic() - begun
    rng = np.random.default_rng([seed, len(scenario.name)])
    counts: Counter[str] = Counter()
    number = 0
    while counts["kills"] < kills:
        number += 1
        with tempfile.TemporaryDirectory(dir=base) as name:
            folder = Path(name) / "killed"
            moments = rng.uniform(0, seconds, len(scenario.jobs)).tolist()
            if number % PROGRAM_EVERY == 0:
                killed, promised = kill_program(scenario, folder, moments)
            elif number % TIMED_EVERY == 0:
                killed, promised = kill_after(scenario, folder, moments)
            else:
                killed, promised = kill_at(scenario, folder, [int(rng.integers(count)) for count in operations])
            counts["kills"] += killed
            try:
                counts["opened"] += killed * bool(check_crashed(scenario, folder, promised))
                check_refused(scenario, folder)
                counts["resumed"] += killed
                check_resumed(scenario, folder)
                counts["equal"] += killed
            except LostError:
                counts["lost"] += 1
                traceback.print_exc()
    return counts


def replay(scenario: Scenario, base: Path, losses: int) -> Counter[str]:
    """Every crash, every power loss so often, every failing call. Returns how many there were, and were lost."""
    counts: Counter[str] = Counter()
    recorded = Recorded(scenario, base)
    for point in recorded.points:
        for seed in (None, *range(losses)):
            counts["crashes" if seed is None else "power losses"] += 1
            counts["lost"] += _lost(lambda point=point, seed=seed: recorded.crash(point, seed))
    for number in (errno.ENOSPC, errno.EIO):
        reached = [True]
        while reached[-1]:
            folder = base / f"{scenario.name} {errno.errorcode[number]} {len(reached)}"
            counts["lost"] += _lost(
                lambda: reached.append(fail_at(scenario, folder, len(reached) - 1, number))  # noqa: B023
            )
            counts["failures"] += 1
    return counts


def _lost(work: object) -> bool:
    try:
        work()
    except LostError:
        traceback.print_exc()
        return True
    return False


def main() -> int:
    """Run it, and print the tables."""
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--losses", type=int, default=5, help="power losses at each point")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; repeatable")
    parser.add_argument("--minutes", type=float, default=30, help="at least so long random sequences are run")
    parser.add_argument("--sequences", type=int, default=1000, help="at least so many of them")
    arguments = parser.parse_args()
    parts = arguments.part or PARTS
    print(f"seed {arguments.seed}", flush=True)
    lost = 0
    if "kills" in parts or "replay" in parts:
        lost += of_scenarios(arguments, parts)
    if "sequences" in parts:
        begun_s = time.monotonic()
        counts = run_sequences(arguments.minutes, arguments.sequences, arguments.seed)
        lost += counts["lost"]
        minutes = (time.monotonic() - begun_s) / 60
        last = arguments.seed + counts["seeds"] - 1
        print(f"\nsequences: {counts['sequences']:,} in {minutes:.0f} min, seeds {arguments.seed} to {last}")
        print("\n".join(f"{what:20}{count:8,}" for what, count in sorted(StoreMachine.counts.items())))
    print(f"\n{'nothing was lost' if not lost else f'LOST: {lost}'}")
    return 1 if lost else 0


def of_scenarios(arguments: argparse.Namespace, parts: Sequence[str]) -> int:
    """Kill and replay each scenario. Returns how often anything was lost."""
    known = scenarios()
    lost = 0
    with tempfile.TemporaryDirectory(prefix="crash-") as name:
        base = Path(name)
        for scenario in known:
            scenario.learn(base / scenario.name)
        if "kills" in parts:
            lost += _killed(known, base, arguments)
        if "replay" in parts:
            lost += _replayed(known, base, arguments)
    return lost


def _killed(known: Sequence[Scenario], base: Path, arguments: argparse.Namespace) -> int:
    lost = 0
    print(f"{'killed':20}", *(f"{column:>8}" for column in COLUMNS))
    for scenario in known:
        counts = kill(scenario, base, -(-arguments.kills // len(known)), arguments.seed)
        print(f"{scenario.name:20}", *(f"{counts[column]:8,}" for column in COLUMNS), flush=True)
        lost += counts["lost"]
    return lost


def _replayed(known: Sequence[Scenario], base: Path, arguments: argparse.Namespace) -> int:
    lost = 0
    columns = ("crashes", "power losses", "failures", "lost")
    print(f"\n{'replayed':20}", *(f"{column:>12}" for column in columns))
    for scenario in known:
        with unsynced():
            counts = replay(scenario, base, arguments.losses)
        print(f"{scenario.name:20}", *(f"{counts[column]:12,}" for column in columns), flush=True)
        lost += counts["lost"]
    return lost


if __name__ == "__main__":
    sys.exit(main())
