"""How far: a line search that asks for the objective at one step length after another.

Along a direction the objective is a convex function φ(t) of one variable. A step is taken where the slope has fallen,
|φ'(t)| ≤ σ |φ'(0)|, and φ has not risen: the strong Wolfe conditions with the sufficient decrease read off the slopes
(Hager and Zhang 2005), which float32 can still resolve near the optimum. The direction comes with a metric, so step 1
is tried first and mostly taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["StepTrial", "step_length"]

_SLOPE_RATIO = 0.9
MAX_TRIALS = 25
_MAX_GROWTH = 8.0
_STALE = 0.25
"""What the slope of an end that stayed counts, from one trial to the next."""


@dataclass(frozen=True)
class StepTrial:
    """The objective along a direction, at one step length."""

    step: float
    loss: float
    slope: float


@dataclass
class _Bracket:
    """The trials that a good step lies between; ``above`` is None while the objective only fell.

    ``repeats`` counts the last trials that moved the lower end, or, less than zero, the upper one.
    """

    below: StepTrial
    previous: StepTrial
    above: StepTrial | None = None
    repeats: int = 0

    def move(self, trial: StepTrial, *, falling: bool) -> None:
        """Put the end on the side of a trial there."""
        if falling:
            self.previous, self.below = self.below, trial
            self.repeats = max(self.repeats, 0) + 1
        else:
            self.above = trial
            self.repeats = min(self.repeats, 0) - 1

    def next_step(self) -> float:
        """Return the step to try next."""
        if self.above is None:
            return _grow(self.previous, self.below)
        return _between(self.below, self.above, self.repeats)


def step_length(
    start: StepTrial, rounding: float, first: float = 1.0
) -> Generator[float, StepTrial, StepTrial | None]:
    """Find an acceptable step of a convex function by safeguarded secants on its slope.

    Yields step lengths; is sent the trial at each.

    Args:
        start: the objective at step 0, with a negative slope.
        first: the step to try first.
        rounding: relative error of a loss, which a rise must exceed to count.

    Returns:
        The last trial, which is accepted; where there are too many, the longest step on which the objective only fell;
        None where rounding hides every acceptable step.
    """
    bracket = _Bracket(below=start, previous=start)
    ceiling = start.loss + rounding * (1.0 + abs(start.loss))
    step = first
    for _ in range(MAX_TRIALS):
        trial = yield step
        if abs(trial.slope) <= -_SLOPE_RATIO * start.slope and trial.loss <= ceiling:
            return trial
        bracket.move(trial, falling=trial.slope < 0 and trial.loss <= ceiling)
        step = bracket.next_step()
    below = bracket.below
    if below.loss >= start.loss - (ceiling - start.loss):
        return None
    return (yield below.step)  # once more, as whoever evaluates keeps the last trial alone


def _grow(previous: StepTrial, last: StepTrial) -> float:
    """Step past the last trial: where the secant of the slopes vanishes, within bounds."""
    rise = last.slope - previous.slope
    root = last.step - last.slope * (last.step - previous.step) / rise if rise > 0 else math.inf
    return min(max(root, 1.5 * last.step), _MAX_GROWTH * last.step)


def _between(below: StepTrial, above: StepTrial, repeats: int) -> float:
    """Step inside a bracket: where the secant of the slopes vanishes, kept off the ends.

    Where the slope bends sharply near one end, secants come there in steps that shrink: few rows of very many columns
    are sure of their class a thousandth of a step away. So an end that stays has its slope taken for a quarter each
    time (as the Illinois method takes it for a half). ``repeats`` counts the trials that moved the lower end, or, less
    than zero, the upper one.
    """
    width = above.step - below.step
    if not math.isfinite(above.slope):
        return below.step + 0.1 * width
    low = below.slope * _STALE ** max(0, -repeats - 1)
    high = above.slope * _STALE ** max(0, repeats - 1)
    share = low / (low - high) if low < 0 else 0.0
    return below.step + min(max(share, 0.1), 0.9) * width
