"""Damage stores and probe files at random and count what is found (`make fuzz`).

``python -m tests.fuzz --count 20000 --seed 1``: so many stores, and a quarter as many probe files.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.actstore.mutation_pool import run, table
from tests.solvers import mutation_probes


def main() -> int:
    """Print a table, and each failure with its number; exit 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="how many mutations")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same mutations")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many processes")
    chosen = parser.parse_args()
    stores = run(chosen.count, chosen.seed, chosen.workers)
    probes = run(chosen.count // 4, chosen.seed, chosen.workers, mutation_probes.COMMAND, mutation_probes.build)
    failures = [case for case in [*stores, *probes] if case.outcome != "found"]
    for case in failures[:20]:
        print(f"case {case.number}, {case.kind}: {case.outcome}\n  {case.what}\n  {case.detail}")  # noqa: T201
    print(table(stores), table(probes), sep="\n\n")  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
