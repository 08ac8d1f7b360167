"""How far: a line search on cached logits, in which a trial step costs no pass over the rows.

Along a direction the objective is a convex function φ(t) of one variable, whose logits are Z + tΔ. A step is taken
where the slope has fallen to half, |φ'(t)| ≤ σ |φ'(0)|, and φ has not risen: the strong Wolfe conditions with the
sufficient decrease read off the slopes (Hager and Zhang 2005), which float32 can still resolve near the optimum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Trial", "step_length"]

_SLOPE_RATIO = 0.5
_MAX_TRIALS = 25
_MAX_GROWTH = 8.0


@dataclass(frozen=True)
class Trial:
    """The objective along a direction, at one step length."""

    step: float
    loss: float
    slope: float


def step_length(evaluate: Callable[[float], Trial], start: Trial, rounding: float) -> Trial | None:
    """Find an acceptable step of a convex function by safeguarded secants on its slope.

    Args:
        evaluate: the objective at a step length.
        start: the objective at step 0, with a negative slope.
        rounding: relative error of a loss, which a rise must exceed to count.

    Returns:
        The last trial, which is accepted; None where rounding hides every acceptable step.
    """
    below, above, previous = start, None, start
    ceiling = start.loss + rounding * (1.0 + abs(start.loss))
    step = 1.0
    for _ in range(_MAX_TRIALS):
        trial = evaluate(step)
        if abs(trial.slope) <= -_SLOPE_RATIO * start.slope and trial.loss <= ceiling:
            return trial
        if trial.slope < 0 and math.isfinite(trial.loss):
            previous, below = below, trial
        else:
            above = trial
        step = _grow(previous, below) if above is None else _between(below, above)
    return None


def _grow(previous: Trial, last: Trial) -> float:
    """Step past the last trial: where the secant of the slopes vanishes, within bounds."""
    rise = last.slope - previous.slope
    root = last.step - last.slope * (last.step - previous.step) / rise if rise > 0 else math.inf
    return min(max(root, 1.5 * last.step), _MAX_GROWTH * last.step)


def _between(below: Trial, above: Trial) -> float:
    """Step inside a bracket: where the secant of the slopes vanishes, kept off the ends."""
    width = above.step - below.step
    share = below.slope / (below.slope - above.slope) if math.isfinite(above.slope) else 0.0
    return below.step + min(max(share, 0.1), 0.9) * width
