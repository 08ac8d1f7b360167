"""Which classes are set against the rest, and which rows of them are fewest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.scoring.answers import Answers

__all__ = ["against_the_rest", "smallest_class", "smallest_side"]


def against_the_rest(answers: Answers) -> list[int]:
    """Return the positive class, or every class the probe knows where none is named, if it and the rest have rows."""
    asked = range(answers.outputs) if answers.positive is None else [answers.positive]
    counts = {code: int(np.sum(answers.truth == code)) for code in asked}
    return [code for code, rows in counts.items() if 0 < rows < len(answers)]


def smallest_side(answers: Answers) -> NDArray[np.bool_]:
    """Return the rows (rows,) of the smallest of all sides that are set against each other: they limit a bound."""
    sides = [
        side for code in against_the_rest(answers) for side in (answers.truth == code, answers.truth != code)
    ]
    return min(sides, key=np.count_nonzero, default=np.zeros(len(answers), dtype=bool))


def smallest_class(answers: Answers) -> NDArray[np.bool_]:
    """Return the rows (rows,) of the class that has the fewest, if any."""
    counts = np.bincount(answers.truth)
    if not len(counts):
        return np.zeros(len(answers), dtype=bool)
    return answers.truth == np.flatnonzero(counts)[counts[counts > 0].argmin()]
