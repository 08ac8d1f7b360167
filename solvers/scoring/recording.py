"""Predictions of the rows of one table, written down block by block as they are scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.scoring.predictions import MOST_LOGITS
from solvers.scoring.row_outputs import fit_temperature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from solvers.arrays import Array, Backend
    from solvers.scoring.row_outputs import RowOutputs

__all__ = ["Calibration", "PredictionRecorder"]

_MOST_CALIBRATED = 1 << 22
"""So many logits decide the temperature at most: 16 MB. One number needs no more rows than that."""


class PredictionRecorder:
    """The predictions of some rows: logits of up to 32 outputs, four numbers a row beyond (``Predictions``).

    Args:
        rows: how many there will be.
        outputs: of the probe.
    """

    def __init__(self, rows: int, outputs: int) -> None:
        self._filled = 0
        if outputs <= MOST_LOGITS:
            self.arrays: dict[str, Array] = {"logits": np.empty((rows, outputs), np.float32)}
            return
        code = np.uint16 if outputs < 1 << 16 else np.uint32  # a rank may be `outputs`
        self.arrays = {name: np.empty(rows, code) for name in ("predicted", "rank")}
        self.arrays |= {name: np.empty(rows, np.float32) for name in ("nats", "confidence")}

    def add(self, found: RowOutputs, counted: NDArray[np.int64], backend: Backend) -> None:
        """Write down the next rows: those numbered ``counted`` of a block."""
        here = slice(self._filled, self._filled + len(counted))
        self._filled = here.stop
        for name, array in self.arrays.items():
            told: Any = found.kept_logits() if name == "logits" else getattr(found, name)
            array[here] = backend.to_host(told)[counted]


class Calibration:
    """The logits of the rows that a temperature is fitted on: all, or every so many, evenly spaced.

    Args:
        rows: how many will be added.
        outputs: of the probe.
    """

    def __init__(self, rows: int, outputs: int) -> None:
        self._every = max(1, -(-rows * outputs // _MOST_CALIBRATED))
        self._seen = 0
        self._logits: list[Array] = []
        self._truth: list[Array] = []

    def add(
        self, found: RowOutputs, truth: NDArray[np.int64], counted: NDArray[np.int64], backend: Backend
    ) -> None:
        """Keep the logits of some of the rows numbered ``counted`` of a block."""
        picked = counted[-self._seen % self._every :: self._every]
        self._seen += len(counted)
        self._logits.append(backend.to_host(found.kept_logits())[picked])
        self._truth.append(truth[picked])

    def temperature(self) -> float | None:
        """Return what logits are divided by to be calibrated; None without a row whose class is known."""
        if not self._logits:
            return None
        return fit_temperature(np.concatenate(self._logits), np.concatenate(self._truth))
