"""Scores of decoders: rows measured, then means with intervals as tidy rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from solvers.decoders.intervals import Mean, mean_over_rows, mean_over_seeds
from solvers.decoders.pictures import UNITS, measured
from solvers.scoring.score import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.decoders.examples import Examples

    Answer = Callable[[Array, NDArray[np.int64]], tuple[NDArray[np.float64], NDArray[np.int64]]]

__all__ = [
    "ALL_SEEDS",
    "LESS_REFERENCE",
    "MEAN_PICTURE",
    "Judges",
    "Place",
    "measure",
    "over_seeds",
    "scores_of",
]

ALL_SEEDS = -1
"""The ``seed`` of a score that is over several."""
_BLOCK_ROWS = 256
_RIGHT_OR_WRONG = ("accuracy", "agreement", "evaluation_accuracy", "nearer_to_class_mean")


@dataclass(frozen=True)
class Judges:
    """Who judges decoded pictures; each gives (nats of the label, likeliest class) of pictures and labels.

    Args:
        classifier: the network that is explained; None where no classifier takes part.
        evaluation: its architecture, trained on reconstructions.
        means: (classes, channels, height, width) mean training pictures.
    """

    classifier: Answer | None = None
    evaluation: Answer | None = None
    means: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Place:
    """What a score is of, as far as it is the same for all scores of one decoder."""

    store: str
    layer: str
    step: int
    target: str
    kind: str
    method: str
    part: str
    C: float
    seed: int
    split: str
    status: str

    def score(self, metric: str, found: Mean) -> Score:
        """Return the score of a metric; rows are of role ``held_out``: nothing is chosen on them."""
        return Score(
            **{**self.__dict__, "fold": None, "role": "held_out", "metric": metric, "unit": UNITS[metric]},
            value=found.value,
            low=found.low,
            high=found.high,
            interval=found.interval,
            rows=found.rows,
            groups=found.groups,
        )


def measure(
    decode: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    examples: Examples,
    rows: NDArray[np.int64],
    judges: Judges,
) -> dict[str, NDArray[np.float64]]:
    """Return what is measured of each row, by metric; NaN where a row has no label.

    Args:
        decode: from numbers of rows to pictures (rows, channels, height, width).
        examples: the true pictures and labels.
        rows: which are scored.
        judges: networks, where there are any.
    """
    blocks = [
        _block(decode(part), examples, part, judges)
        for part in (rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS))
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _block(
    decoded: NDArray[np.float64], examples: Examples, rows: NDArray[np.int64], judges: Judges
) -> dict[str, NDArray[np.float64]]:
    true = examples.pictures(rows)
    labels = np.full(len(rows), -1) if examples.labels is None else examples.labels[rows]
    means = None
    if judges.means is not None:
        means = np.where((labels >= 0)[:, None, None, None], judges.means[labels], np.nan)
    found = measured(decoded, true, means)
    if judges.classifier is not None:
        nats, predicted = judges.classifier(decoded, labels)
        _, of_true = judges.classifier(true, labels)
        found |= {"cross_entropy": nats, "accuracy": _right(predicted, labels)}
        found["agreement"] = (predicted == of_true).astype(np.float64)
    if judges.evaluation is not None:
        found["evaluation_accuracy"] = _right(judges.evaluation(decoded, labels)[1], labels)
    return found


def _right(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(labels >= 0, predicted == labels, np.nan)


def scores_of(
    place: Place, rows: Mapping[str, NDArray[np.float64]], groups: NDArray[np.int64] | None
) -> tuple[Score, ...]:
    """Return the means of what was measured of rows; differences of two decoders are no shares."""
    shares = place.kind != LESS_REFERENCE
    return tuple(
        place.score(metric, mean_over_rows(values, groups, shares and metric in _RIGHT_OR_WRONG))
        for metric, values in rows.items()
    )


LESS_REFERENCE = "less_reference"
"""The kind of a score that is a decoder's less the reference's, of the same seed and rows."""


MEAN_PICTURE = "mean_picture"
"""The kind of a score of the mean training picture, given for every row."""


def over_seeds(scores: Iterable[Score]) -> list[Score]:
    """Return the mean over seeds of every score that several seeds have, with t over the seeds."""
    same: dict[tuple[str, ...], list[Score]] = {}
    for score in scores:
        same.setdefault((score.layer, score.kind, score.method, score.part, score.metric), []).append(score)
    return [_together(each) for each in same.values() if len({score.seed for score in each}) > 1]


def _together(scores: Sequence[Score]) -> Score:
    first = scores[0]
    share = first.kind != LESS_REFERENCE and UNITS[first.metric] == "share"
    found = mean_over_seeds([score.value for score in scores], first.rows, first.groups, share)
    place = Place(
        **{name: getattr(first, name) for name in Place.__dataclass_fields__ if name not in ("seed", "C")},
        seed=ALL_SEEDS,
        C=first.C if len({score.C for score in scores}) == 1 else math.nan,
    )
    return place.score(first.metric, found)
