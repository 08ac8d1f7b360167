"""Which rows of every source are wanted: the first so many, and of these a random sample."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from actstore.errors import DumpError

_DRAWN_ROWS = 2**20


@dataclass(frozen=True)
class RowChoice:
    """Which rows of every source.

    Args:
        limit: the first so many of each source, chosen before sampling; None for all.
        sample: the probability, between 0 and 1, with which each row is kept, on its own; None for all. Where rows
            are tokens or words of examples, these all run, and each row is kept or not.
        seed: of the sample. It also depends on the place of the item in the list of data and on its split, so that
            two items do not keep the same rows; not on the size of batches.

    Raises:
        DumpError: a limit below 1, or a sample that is no fraction.
    """

    limit: int | None = None
    sample: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            msg = f"limit is {self.limit}; at least 1 was expected"
            raise DumpError(msg)
        if self.sample is not None and not 0 < self.sample < 1:
            msg = f"sample is {self.sample}; a fraction between 0 and 1 was expected (all rows: leave it out)"
            raise DumpError(msg)
        if self.seed < 0:
            msg = f"seed is {self.seed}; 0 or more was expected"
            raise DumpError(msg)

    def limited(self, rows: int) -> int:
        """How many of ``rows`` the sample is drawn from."""
        return rows if self.limit is None else min(rows, self.limit)


class KeptRows:
    """The places that a choice keeps in one source, told in their order."""

    def __init__(self, choice: RowChoice, position: int, split: str) -> None:
        self._sample = choice.sample
        digest = hashlib.blake2b(split.encode(), digest_size=16).digest()
        words = np.frombuffer(digest, "<u4").tolist()
        self._seeds = [choice.seed, position, *words]
        self._draws = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self._seeds)))
        self._next = 0

    def among(self, rows: int) -> np.ndarray:
        """(kept,) int64, ascending: the places that are kept of the next ``rows``."""
        start, self._next = self._next, self._next + rows
        if self._sample is None:
            return np.arange(start, self._next)
        return start + np.flatnonzero(self._draws.random(rows) < self._sample)

    def within(self, place: int, rows: int) -> np.ndarray:
        """(rows,) bools: which of the rows of the example at ``place`` are kept, whatever was asked for before."""
        if self._sample is None:
            return np.ones(rows, bool)
        draws = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*self._seeds, place])))
        return draws.random(rows) < self._sample

    def count(self, rows: int) -> int:
        """How many are kept of the next ``rows``."""
        return rows if self._sample is None else sum(map(len, self._in_parts(rows)))

    def all(self, rows: int) -> np.ndarray | range:
        """The places that are kept of the next ``rows``, however many these are."""
        return range(rows) if self._sample is None else np.concatenate(self._in_parts(rows))

    def _in_parts(self, rows: int) -> list[np.ndarray]:
        return [self.among(min(_DRAWN_ROWS, rows - start)) for start in range(0, rows, _DRAWN_ROWS)]
