"""Measurements of solvers as markdown tables, and the machine they were taken on."""

from __future__ import annotations

import os
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from solver_peers import FAMILIES, OURS
from solver_runs import Measured, Runs
from timing import say

if TYPE_CHECKING:
    from collections.abc import Iterable

TARGETS = (1e-4, 1e-6)
"""Gaps in nats that everybody is asked for."""


def machine() -> str:
    """What the figures were taken on and with, in a line."""
    model = "a processor that does not tell its name"
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = named[0] if named else model
    packages = []
    for package in ("numpy", "scipy", "scikit-learn", "torch"):
        try:
            packages.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            packages.append(f"no {package}")
    return f"On {os.cpu_count()} cores, {model}. With {', '.join(packages)}."


def medians(measured: Iterable[Measured]) -> list[Measured]:
    """One for each that was measured several times: that of median seconds."""
    alike: dict[tuple[str, str, float | None], list[Measured]] = defaultdict(list)
    for each in measured:
        alike[each.asked.family, each.asked.setting, each.asked.effort].append(each)
    chosen = []
    for group in alike.values():
        # One that reached the end counts, also where an earlier try had been given up under a smaller cap.
        done = [each for each in group if not each.capped and not each.failed] or group
        middle = median(each.seconds for each in done)
        chosen.append(min(done, key=lambda each: abs(each.seconds - middle)))
    return chosen


def quickest(measured: Iterable[Measured], target: float) -> Measured | None:
    """Of those that reached a gap, the quickest."""
    reached = [each for each in measured if each.gap_nats <= target]
    return min(reached, key=lambda each: each.seconds, default=None)


def show(path: Path) -> None:
    """Print the summary, and the table of everything."""
    runs = Runs.continued(path, path.parent)
    found: dict[tuple[str, float], list[Measured]] = defaultdict(list)
    for each in runs.known.values():
        found[each.asked.problem, each.asked.C].append(each)
    contests = {key: medians(group) for key, group in found.items()}
    say()
    say(machine())
    say()
    _summary(contests)
    _details(contests)


def _summary(contests: dict[tuple[str, float], list[Measured]]) -> None:
    say("| problem | C | nats | ours, s | best peer, s | ratio | which |")
    say("|---|--:|--:|--:|--:|--:|---|")
    for (problem, C), measured in contests.items():
        ours, peers = _sides(measured)
        for target in TARGETS:
            mine, theirs = quickest(ours, target), quickest(peers, target)
            longest = max((each.seconds for each in peers if each.capped), default=None)
            seconds = f"{theirs.seconds:.3g}" if theirs else f"> {longest:.3g}" if longest else "missed"
            ratio = "-"
            if mine and theirs:
                ratio = f"**{theirs.seconds / mine.seconds:.1f}**"
            elif mine and longest:
                ratio = f"> {longest / mine.seconds:.1f}"
            which = f"{theirs.asked.family}, {theirs.asked.setting}" if theirs else "none arrived"
            own = f"{mine.seconds:.3g}" if mine else "missed"
            say(f"| {problem} | {C:g} | {target:g} | {own} | {seconds} | {ratio} | {which} |")
    say()


def _sides(measured: list[Measured]) -> tuple[list[Measured], list[Measured]]:
    return (
        [each for each in measured if each.asked.family == OURS],
        [each for each in measured if each.asked.family != OURS],
    )


def _details(contests: dict[tuple[str, float], list[Measured]]) -> None:
    say(
        "| problem | C | solver | asked for | s | of ours | evaluations | peak, MB | gap, nats | above best | setting |"
    )
    say("|---|--:|---|---|--:|--:|--:|--:|--:|--:|---|")
    for (problem, C), measured in contests.items():
        ours, peers = _sides(measured)
        best = min(each.loss for each in measured)
        for target in TARGETS:
            mine = next((each for each in ours if each.asked.effort == target), None)
            _row(problem, C, f"{target:g} nats", mine, (mine, best))
            for family in FAMILIES:
                theirs = [each for each in peers if each.asked.family == family]
                if target == TARGETS[0]:
                    default = next((each for each in theirs if each.asked.effort is None), None)
                    _row(problem, C, "its default", default, (mine, best))
                tried = [each for each in theirs if each.asked.effort is not None]
                closest = min(tried, key=lambda each: (each.gap_nats, -each.seconds), default=None)
                arrived = quickest(tried, target)
                asked = (
                    f"{target:g} nats"
                    if arrived or closest is None or closest.capped
                    else f"{target:g} nats: missed"
                )
                _row(problem, C, asked, arrived or closest, (mine, best))


def _row(
    problem: str, C: float, asked: str, each: Measured | None, beside: tuple[Measured | None, float]
) -> None:
    """One line; ``beside`` is our fit to the same gap, and the least loss of anyone's."""
    if each is None:
        return
    mine, best = beside
    more = "> " if each.capped else ""
    ratio = f"{more}{each.seconds / mine.seconds:.2f}" if mine and mine.seconds and not each.failed else "-"
    figures = (
        f"{each.evaluations:,} | {each.peak_bytes / 1e6:,.0f} | {each.gap_nats:.1e} | {each.loss - best:.1e}"
    )
    say(
        f"| {problem} | {C:g} | {each.asked.family} | {asked} | {more}{each.seconds:.3g} | {ratio} | "
        f"{'- | - | - | -' if each.capped or each.failed else figures} | {each.failed or each.asked.setting} |"
    )
