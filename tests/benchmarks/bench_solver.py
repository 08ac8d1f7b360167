"""One fit: ours and its peers, to the same gap, on the same float32 rows.

    python tests/benchmarks/bench_solver.py [--full] [--only NAME]... [--continue | --table-only] [--folder build/bench]

Every fit runs in a process of its own, under a cap, and its probe is certified by `solvers.certify`, whoever found it.
A peer is shown at its default settings, and at the best: of all its variants (float32 or float64, centred or not, one
BLAS thread or all, ...) and tolerances the quickest that reached 1e-4 and 1e-6 nats. Our seconds include our own
certificate. A variant is given up once it has taken as long as the best of its family; the short run tries the
likeliest alone. Fits below 10 s are the median of three, taken in turn. Every measurement is a line of solver.jsonl
(short: solver-short.jsonl) in the folder; `--continue` measures what is missing there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from solver_contest import Contest
from solver_problems import RECIPES, MissingError, load, saved
from solver_runs import Runs
from solver_tables import show
from timing import say

if TYPE_CHECKING:
    from collections.abc import Iterable


def contests(given: argparse.Namespace) -> Iterable[Contest]:
    """Every problem that can be made here, at every C."""
    problems = given.folder / "problems"
    path = given.folder / f"solver{'' if given.full else '-short'}.jsonl"
    if not given.continued:
        path.unlink(missing_ok=True)
    runs = Runs.continued(path, problems)
    for name in given.only or RECIPES:
        strengths = RECIPES[name].C if given.full else RECIPES[name].short
        if not strengths:
            continue
        try:
            made = saved(name, not given.full, problems)
        except MissingError as missing:
            say(f"{name}: not measured: {missing}")
            continue
        problem = load(made)
        for C in given.C or strengths:
            yield Contest(
                runs,
                problem.name,
                C,
                *problem.activations.shape,
                problem.classes,
                given.cap_seconds,
                given.full,
            )


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--full", action="store_true", help="problems of full size, every C; many hours")
    arguments.add_argument("--only", action="append", choices=list(RECIPES), help="a problem; may be repeated")
    arguments.add_argument(
        "--C", type=float, action="append", help="instead of the problems' own; may be repeated"
    )
    arguments.add_argument("--cap-seconds", type=float, help="of one fit; 10, with --full 600")
    arguments.add_argument("--continue", dest="continued", action="store_true", help="measure what is missing")
    arguments.add_argument("--table-only", action="store_true", help="print the tables of what was measured")
    arguments.add_argument("--folder", type=Path, default=Path("build/bench"))
    given = arguments.parse_args()
    given.cap_seconds = given.cap_seconds or (600.0 if given.full else 10.0)
    if not given.table_only:
        for contest in contests(given):
            contest.run()
    show(given.folder / f"solver{'' if given.full else '-short'}.jsonl")


if __name__ == "__main__":
    main()
