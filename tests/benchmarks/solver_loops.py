"""Loops over scikit-learn, estimated from a sample of their fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from solver_contest import Contest
from solver_peers import LBFGS, NEWTON_CG, Variant
from solver_runs import families

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from solver_problems import Problem
    from solver_runs import Runs

SAMPLE = 5
"""Every so many of a loop's fits are measured."""


@dataclass(frozen=True)
class Loop:
    """Fits by scikit-learn, one for each C, estimated from a sample: ``more`` where some outlasted the cap."""

    gap_nats: float
    seconds: float
    fits: int
    sampled: int
    more: bool


def sklearn_loop(runs: Runs, problem: Problem, strengths: Sequence[float], gap: float, cap: float) -> Loop:
    """The loop at its best: to a gap, with the quickest of its solvers at every C."""
    sample = list(strengths)[:: SAMPLE if len(strengths) > SAMPLE else 1]
    entrants = families(problem.activations.shape[1], problem.classes, thorough=False)
    variants: list[Variant] = [*entrants[NEWTON_CG], *entrants[LBFGS]]
    seconds, more = 0.0, False
    for C in sample:
        contest = Contest(
            runs, problem.name, float(C), *problem.activations.shape, problem.classes, cap, thorough=False
        )
        best = contest.best(variants, gap)
        seconds += cap if best is None else best.seconds
        more = more or best is None
    return Loop(gap, seconds / len(sample) * len(strengths), len(strengths), len(sample), more)


def kept(problem: Problem, folder: Path) -> None:
    """Write a problem where the processes that fit it read it."""
    path = folder / problem.name
    path.mkdir(parents=True, exist_ok=True)
    np.save(path / "activations.npy", problem.activations)
    np.save(path / "labels.npy", problem.labels)
