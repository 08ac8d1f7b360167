"""How well a probe does on rows: its error rate and cross-entropy, read in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from solvers.arrays import NUMPY
from solvers.labels import UNSEEN
from solvers.linear_map import output_blocks
from solvers.rows import blocks
from solvers.scoring.row_outputs import RowOutputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array, Backend
    from solvers.linear_map import LinearMap
    from solvers.rows import RowSource
    from solvers.scoring.recording import Calibration, PredictionRecorder

__all__ = [
    "LEFT_OUT",
    "Scored",
    "SplitScore",
    "nonfinite_rows",
    "row_nats",
    "score",
    "score_each",
]

LEFT_OUT = -2
"""The code of a row that is not scored."""

_MOST_WEIGHTS = 1 << 23  # of the maps that are multiplied in one reading: 64 MB in float64
_BLOCK_ELEMENTS = 1 << 22  # entries of a block of rows: 32 MB in float64


@dataclass(frozen=True)
class SplitScore:
    """What a probe reaches on labelled rows.

    ``error`` counts every row; a row of an unseen class is an error. ``cross_entropy`` (nats per row) leaves
    the ``unseen`` rows out, over which it is infinite; NaN where no row is left. Both are NaN where some rows
    are ``nonfinite``: their activations are NaN or infinite.
    """

    error: float
    cross_entropy: float
    rows: int
    unseen: int
    nonfinite: int


@dataclass(frozen=True)
class Scored:
    """A probe to score, with the truth it is compared with.

    ``codes`` (rows,): which output of ``map`` is right for each row, ``UNSEEN`` where none is, or ``LEFT_OUT`` where
    the row does not count. ``predictions`` and ``calibration`` take down what it says of the rows that count.
    """

    codes: NDArray[np.int64]
    map: LinearMap
    predictions: PredictionRecorder | None = None
    calibration: Calibration | None = None


class _Tally:
    """The sums behind a ``SplitScore``, block by block."""

    def __init__(self, scored: Scored) -> None:
        self.scored, self.codes = scored, scored.codes
        self.errors, self.nats, self.nonfinite = 0, 0.0, 0

    def add(self, rows: slice, bad: NDArray[np.bool_], logits: Array, backend: Backend) -> None:
        """Count a block: which of its rows are not finite, and their logits (rows, classes), on the device."""
        truth = self.codes[rows]
        counted = truth != LEFT_OUT
        found = RowOutputs.of(logits, backend.xp.asarray(truth), backend.xp)
        seen = np.flatnonzero(counted & (truth >= 0) & ~bad)
        self.nonfinite += int(np.sum(bad & counted))
        self.errors += int(np.sum((backend.to_host(found.predicted) != truth) & counted))
        self.nats += float(np.sum(backend.to_host(found.nats)[seen]))
        if self.scored.predictions is not None:
            self.scored.predictions.add(found, np.flatnonzero(counted), backend)
        if self.scored.calibration is not None:
            self.scored.calibration.add(found, truth, seen, backend)

    def score(self) -> SplitScore:
        """Return what the rows counted come to."""
        total, unseen = int(np.sum(self.codes != LEFT_OUT)), int(np.sum(self.codes == UNSEEN))
        error = self.errors / total if total and not self.nonfinite else np.nan
        cross_entropy = self.nats / (total - unseen) if total > unseen and not self.nonfinite else np.nan
        return SplitScore(error, cross_entropy, total, unseen, self.nonfinite)


def score(source: RowSource, codes: NDArray[np.int64], probe: LinearMap) -> SplitScore:
    """Score one probe, the softmax of a map's outputs; ``codes`` as in ``Scored``, ``source`` as in ``score_each``."""
    (only,) = score_each(source, [Scored(codes, probe)])
    return only


def score_each(source: RowSource, probes: Sequence[Scored], backend: Backend = NUMPY) -> list[SplitScore]:
    """Score several probes on rows whose classes are known, reading each row once while their maps fit 64 MB.

    Besides what is taken down, memory is that of a block: rows x features, or rows x all outputs, in 16 MB of float64
    and a few copies.

    Args:
        source: (rows, *features), raw activations.
        probes: what to score; all of one width.
        backend: where it is computed.
    """
    tallies = [_Tally(probe) for probe in probes]
    for group in _within(tallies):
        with backend.here():
            for rows, block, logits in output_blocks(
                source, [each.scored.map for each in group], xp=backend.xp
            ):
                bad = np.logical_not(np.isfinite(block).all(axis=1))
                for tally, own in zip(group, logits, strict=True):
                    tally.add(rows, bad, own, backend)
    return [tally.score() for tally in tallies]


def _within(tallies: Sequence[_Tally]) -> list[list[_Tally]]:
    """Return what is scored together: as many maps side by side as take 64 MB, one at least."""
    groups: list[list[_Tally]] = []
    entries = _MOST_WEIGHTS
    for tally in tallies:
        own = tally.scored.map.weights.size
        if entries + own > _MOST_WEIGHTS:
            groups.append([])
            entries = 0
        groups[-1].append(tally)
        entries += own
    return groups


def nonfinite_rows(source: RowSource) -> int:
    """The number of rows that hold NaN or infinite values."""
    return sum(int(np.sum(~np.isfinite(block).all(axis=1))) for _, block in blocks(source, _block_rows(source)))


def row_nats(logits: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The cross-entropy of each row (rows,), in nats, for logits (rows, classes) and the codes of the right classes."""
    return logsumexp(logits, axis=1) - logits[np.arange(len(logits)), codes]


def _block_rows(source: RowSource) -> int:
    return max(1, _BLOCK_ELEMENTS // max(1, int(np.prod(source.shape[1:]))))
