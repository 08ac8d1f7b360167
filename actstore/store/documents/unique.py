"""Row ids seen so far, in 8 bytes each: proposes which new ones may be repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xxhash

if TYPE_CHECKING:
    from collections.abc import Sequence


class SeenIds:
    """A set of 64-bit hashes, in sorted runs that are merged as they grow.

    Two ids in 10⁷ share a hash with a probability of 3e-6, so a repeat is a suspicion, for the caller to confirm.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    @staticmethod
    def hashes(ids: Sequence[bytes]) -> np.ndarray:
        """(ids,) uint64."""
        return np.fromiter(map(xxhash.xxh3_64_intdigest, ids), np.uint64, len(ids))

    def suspects(self, hashes: np.ndarray) -> np.ndarray:
        """(suspects,) places in ``hashes`` of those that were added before."""
        known = np.zeros(len(hashes), bool)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            known |= run[places] == hashes
        return np.flatnonzero(known)

    def add(self, hashes: np.ndarray) -> None:
        """Remember ``hashes``."""
        run = np.sort(hashes)
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")  # merges: both are sorted
        if len(run):
            self._runs.append(run)
