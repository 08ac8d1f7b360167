"""One fit: ours and its peers, to the same gap, on the same float32 rows.

    python tests/benchmarks/bench_solver.py [--full] [--only NAME]... [--continue | --table-only] [--folder build/bench]

Every fit runs in a process of its own, under a cap, and its probe is certified by `solvers.certify`, whoever found it. A
peer is shown at its default settings, and at the best: of all its variants (float32 or float64, centred or not, ...) and
tolerances the quickest that reached 1e-4 and 1e-6 nats. Our seconds include our own certificate. A variant is given up
once it has taken as long as the best of its family; the short run tries the likeliest variants alone. Fits below 10 s are the median of three, taken in turn. Every
measurement is a line of solver.jsonl in the folder; `--continue` measures what is missing there.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from solver_peers import DEFAULT_SETTING, OURS, first_tolerance
from solver_problems import RECIPES, MissingError, load, saved
from solver_runs import Asked, Measured, Runs, families
from solver_tables import TARGETS, quickest, show
from timing import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from solver_peers import Variant

RUNGS = 6
REPEATED_SECONDS = 10.0
"""Fits shorter than this are measured three times."""
STALLED = 0.7
"""Share of its gap that a harder try must at least get rid of; float32 comes to a point where none does."""


@dataclass(frozen=True)
class Contest:
    """One problem at one C, of known size, and what a fit may take."""

    runs: Runs
    problem: str
    C: float
    rows: int
    width: int
    classes: int
    cap_seconds: float
    thorough: bool

    def measure(self, family: str, setting: str, effort: float | None, cap: float = math.inf) -> Measured:
        """Measure once, and say so."""
        asked = Asked(self.problem, self.C, family, setting, effort)
        found = self.runs.measure(asked, min(cap, self.cap_seconds))
        outcome = found.failed or (
            f"> {found.seconds:.3g} s" if found.capped else f"{found.seconds:.3g} s to {found.gap_nats:.1e} nats"
        )
        effort_text = "default" if effort is None else f"{effort:g}"
        say(f"  {self.problem} C={self.C:g}: {family}, {setting}, {effort_text}: {outcome}")
        return found

    def run(self) -> None:
        """Ours, the peers at their defaults, the peers at their best; then the short ones twice more, in turn."""
        chosen = [self.measure(OURS, "numpy", target) for target in TARGETS]
        entrants = families(self.width, self.classes, self.thorough)
        for family, variants in entrants.items():
            if family == OURS:
                continue
            chosen.append(self.measure(family, DEFAULT_SETTING[family], None))
            chosen += [best for target in TARGETS if (best := self._best(variants, target)) is not None]
        self._repeat(dict.fromkeys(each.asked for each in chosen if each.seconds < REPEATED_SECONDS))

    def _repeat(self, chosen: Iterable[Asked]) -> None:
        chosen = list(chosen)
        for repeat in (1, 2):
            for each in chosen if repeat == 1 else reversed(chosen):
                again = Asked(each.problem, each.C, each.family, each.setting, each.effort, repeat)
                self.runs.measure(again, self.cap_seconds)

    def _best(self, variants: list[Variant], target: float) -> Measured | None:
        """The quickest of all variants and tolerances that reached the target; None where none did."""
        best = quickest(self._tried(variants), target)
        given_up: set[str] = set()
        for each in variants:
            centred = each.setting.replace("raw", "centred")
            if centred in given_up:  # raw rows take no fewer steps than centred ones
                continue
            cap = math.inf if best is None else best.seconds
            found = self._climb(each, target, cap)
            if found is None and cap >= self.cap_seconds:
                given_up.add(each.setting)
            if found is not None and (best is None or found.seconds < best.seconds):
                best = found
        return best

    def _tried(self, variants: list[Variant]) -> list[Measured]:
        """What was measured of some variants at other than their default settings."""
        names = {(each.family, each.setting) for each in variants}
        return [
            each
            for each in self.runs.of(self.problem, self.C)
            if (each.asked.family, each.asked.setting) in names and each.asked.effort is not None
        ]

    def _climb(self, entrant: Variant, target: float, cap: float) -> Measured | None:
        """Try harder until the target is reached, then once less hard where it was far exceeded."""
        tolerance, before = self._start(entrant, target)
        reached: Measured | None = None
        for _ in range(RUNGS):
            tolerance = float(f"{tolerance:.2g}")
            found = self.measure(entrant.family, entrant.setting, tolerance, cap)
            if found.capped or found.failed:
                break
            if found.gap_nats <= target:
                if reached is None or found.seconds < reached.seconds:
                    reached = found
                if found.gap_nats > target / 10 or before is not None:
                    break
            elif reached is not None or (before is not None and found.gap_nats > STALLED * before):
                break
            before = found.gap_nats
            # The gap goes with the square of the gradient, where the Hessian is the penalty's.
            tolerance *= min(20.0, max(0.05, 0.7 * math.sqrt(target / max(found.gap_nats, 1e-16))))
        return reached

    def _start(self, entrant: Variant, target: float) -> tuple[float, float | None]:
        """A tolerance that may do, and the gap that the last one left."""
        guess = first_tolerance(target, self.C, self.rows, self.width, self.classes)
        earlier = [each for each in self._tried([entrant]) if math.isfinite(each.gap_nats)]
        if not earlier:
            return guess, None
        last = min(earlier, key=lambda each: each.asked.effort or math.inf)
        step = min(1.0, max(0.01, 0.7 * math.sqrt(target / max(last.gap_nats, 1e-16))))
        return (last.asked.effort or guess) * step, None


def contests(given: argparse.Namespace) -> Iterable[Contest]:
    """Every problem that can be made here, at every C."""
    problems = given.folder / "problems"
    path = given.folder / f"solver{'' if given.full else '-short'}.jsonl"
    if not given.continued:
        path.unlink(missing_ok=True)
    runs = Runs.continued(path, problems)
    for name in given.only or RECIPES:
        strengths = RECIPES[name].C if given.full else RECIPES[name].short_C
        if not strengths:
            continue
        try:
            made = saved(name, not given.full, problems)
        except MissingError as missing:
            say(f"{name}: not measured: {missing}")
            continue
        problem = load(made)
        for C in given.C or strengths:
            yield Contest(runs, problem.name, C, *problem.activations.shape, problem.classes, given.cap_seconds, given.full)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--full", action="store_true", help="problems of full size, every C; many hours")
    arguments.add_argument("--only", action="append", choices=list(RECIPES), help="a problem; may be repeated")
    arguments.add_argument("--C", type=float, action="append", help="instead of the problems' own; may be repeated")
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
