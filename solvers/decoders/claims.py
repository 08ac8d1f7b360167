"""What the paper's abstract claims of a decoder beside its reference: a number, its interval and a verdict each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solvers.decoders.scoring import ALL_SEEDS, LESS_REFERENCE, MEAN_PICTURE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from solvers.scoring.score import Score

__all__ = ["CLAIMS", "NOT_TRAINED", "Verdict", "untrained", "verdicts"]

CLAIMS = (
    ("the auto-encoder reconstructs better", "squared_error_image", 1),
    ("the decoder's pictures are smoother", "total_variation", -1),
    ("they have fewer fine details", "high_frequency_share", -1),
    ("they are more generic: nearer to the mean of their class", "nearer_to_class_mean", 1),
    ("the layer's codes carry more class information", "evaluation_accuracy", 1),
)
"""Each claim, the metric whose difference (decoder less reference) it is about, and the sign that it says."""


NOT_TRAINED = "not trained"


@dataclass(frozen=True)
class Verdict:
    """A claim about one decoder: the difference, its interval of 95%, over how many seeds, and what that says.

    ``verdict`` is ``holds`` or ``does not hold`` where the whole interval says so, else ``undecided``; ``not trained``
    where the decoder or its reference is ``untrained``.
    """

    claim: str
    layer: str
    part: str
    metric: str
    value: float
    low: float
    high: float
    interval: str
    verdict: str


def verdicts(scores: Iterable[Score]) -> list[Verdict]:
    """Return a verdict on every claim for every decoder with a reference: over seeds where there are several."""
    scores = list(scores)
    found: dict[tuple[str, str, str], Score] = {}
    for score in scores:
        if score.kind == LESS_REFERENCE:
            key = (score.layer, score.part, score.metric)
            if key not in found or score.seed == ALL_SEEDS:
                found[key] = score
    behind = {(layer, part) for layer, part, _ in untrained(scores)}
    return [
        _verdict(claim, sign, score, {(score.layer, score.part), (score.layer, "reference")} & behind != set())
        for claim, metric, sign in CLAIMS
        for (_, _, of), score in found.items()
        if of == metric
    ]


def untrained(scores: Iterable[Score]) -> list[tuple[str, str, int]]:
    """Return (layer, part, seed) of what is no nearer to the pictures than their mean, and so has not learned yet.

    A decoder of alpha 1 is not trained for the picture, and is never in it.
    """
    scores = [score for score in scores if score.metric == "squared_error"]
    mean = next((score.value for score in scores if score.kind == MEAN_PICTURE), None)
    return [
        (score.layer, score.part, score.seed)
        for score in scores
        if mean is not None
        and score.kind in ("decoder", "reference")
        and score.part != "alpha=1"
        and score.seed != ALL_SEEDS
        and score.value >= mean
    ]


def _verdict(claim: str, sign: int, score: Score, behind: bool) -> Verdict:
    low, high = (score.low, score.high) if sign > 0 else (-score.high, -score.low)
    said = "undecided" if math.isnan(low) or low <= 0 <= high else "holds" if low > 0 else "does not hold"
    said = NOT_TRAINED if behind else said
    return Verdict(
        claim, score.layer, score.part, score.metric, score.value, score.low, score.high, score.interval, said
    )
