"""All peers on one problem at one C: who comes to a gap, at which setting, how soon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solver_peers import DEFAULT_SETTING, OURS, first_tolerance
from solver_runs import Asked, Measured, Runs, families
from solver_tables import TARGETS, quickest
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
            f"> {found.seconds:.3g} s"
            if found.capped
            else f"{found.seconds:.3g} s to {found.gap_nats:.1e} nats"
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
            chosen += [best for target in TARGETS if (best := self.best(variants, target)) is not None]
        self._repeat(dict.fromkeys(each.asked for each in chosen if each.seconds < REPEATED_SECONDS))

    def _repeat(self, chosen: Iterable[Asked]) -> None:
        chosen = list(chosen)
        for repeat in (1, 2):
            for each in chosen if repeat == 1 else reversed(chosen):
                again = Asked(each.problem, each.C, each.family, each.setting, each.effort, repeat)
                self.runs.measure(again, self.cap_seconds)

    def best(self, variants: list[Variant], target: float) -> Measured | None:
        """The quickest of all variants and tolerances that reached the target; None where none did."""
        best = quickest(self._tried(variants), target)
        given_up: set[str] = set()
        for each in variants:
            centred = each.setting.replace("raw", "centred")
            if centred in given_up or self._outlasted(each):  # raw rows take no fewer steps than centred ones
                continue
            cap = math.inf if best is None else best.seconds
            found = self._climb(each, target, cap)
            if found is None and cap >= self.cap_seconds:
                given_up.add(each.setting)
            if found is not None and (best is None or found.seconds < best.seconds):
                best = found
        return best

    def _outlasted(self, entrant: Variant) -> bool:
        """Whether a variant was stopped by the cap before, at this target or an easier one."""
        return any(each.capped and each.seconds >= self.cap_seconds for each in self._tried([entrant]))

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
