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
_MAX_TRIALS = 25
_MAX_GROWTH = 8.0


@dataclass(frozen=True)
class StepTrial:
    """The objective along a direction, at one step length."""

    step: float
    loss: float
    slope: float


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
        The last trial, which is accepted; None where rounding hides every acceptable step.
    """
    below, above, previous = start, None, start
    ceiling = start.loss + rounding * (1.0 + abs(start.loss))
    step = first
    for _ in range(_MAX_TRIALS):
        trial = yield step
        if abs(trial.slope) <= -_SLOPE_RATIO * start.slope and trial.loss <= ceiling:
            return trial
        if trial.slope < 0 and trial.loss <= ceiling:
            previous, below = below, trial
        else:
            above = trial
        step = _grow(previous, below) if above is None else _between(below, above)
    return None


def _grow(previous: StepTrial, last: StepTrial) -> float:
    """Step past the last trial: where the secant of the slopes vanishes, within bounds."""
    rise = last.slope - previous.slope
    root = last.step - last.slope * (last.step - previous.step) / rise if rise > 0 else math.inf
    return min(max(root, 1.5 * last.step), _MAX_GROWTH * last.step)


def _between(below: StepTrial, above: StepTrial) -> float:
    """Step inside a bracket: where the secant of the slopes vanishes, kept off the ends."""
    width = above.step - below.step
    share = below.slope / (below.slope - above.slope) if math.isfinite(above.slope) else 0.0
    return below.step + min(max(share, 0.1), 0.9) * width
