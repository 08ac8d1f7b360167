"""Damage stores, files of others, and probe files, at random and count what is found (`make fuzz`).

``python -m tests.fuzz --count 20000 --foreign 5000 --probes 5000 --seed 1``
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.actstore.mutation_pool import run, table


def main() -> int:
    """Print a table, and each failure with its number; exit 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="how many mutations of stores")
    parser.add_argument("--foreign", type=int, default=5_000, help="how many of files that others wrote")
    parser.add_argument(
        "--probes", type=int, default=5_000, help="how many mutations of probe files and of parts"
    )
    parser.add_argument(
        "--containers",
        type=int,
        default=5_000,
        help="how many of tables, tensors and the like that others wrote",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same mutations")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many processes")
    chosen = parser.parse_args()
    cases = [
        *run(chosen.count, chosen.seed, chosen.workers),
        *run(chosen.foreign, chosen.seed, chosen.workers, "tests.actstore.mutation_foreign"),
        *run(chosen.containers, chosen.seed, chosen.workers, "tests.actstore.mutation_containers"),
        *run(chosen.probes, chosen.seed, chosen.workers, "tests.solvers.mutation_probes"),
    ]
    failures = [case for case in cases if case.outcome != "found"]
    for case in failures[:20]:
        print(f"case {case.number}, {case.kind}: {case.outcome}\n  {case.what}\n  {case.detail}")  # noqa: T201
    print(table(cases))  # noqa: T201
    crashes = sum("library crashed" in case.detail for case in cases)
    print(f"files on which the HDF5 library crashed in its own process, which was told in a line: {crashes}")  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
