"""A program that dumps one job of a scenario, for ``kill_program``: it waits to be told to begin."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from crash.killing import ENDED, telling
from crash.scenarios import scenarios


def main(name: str, job: str, folder: str) -> None:
    """Run it."""
    scenario = next(scenario for scenario in scenarios() if scenario.name == name)
    os.write(1, b"ready\n")
    sys.stdin.read()
    with telling(1):
        scenario.jobs[int(job)].run(Path(folder) / scenario.out)
    os.write(1, ENDED)


if __name__ == "__main__":
    main(*sys.argv[1:])
