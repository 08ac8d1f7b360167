"""Which part of a store is written: a training step, and one rank's share of its rows."""

from __future__ import annotations

from dataclasses import dataclass

from actstore.errors import StoreError
from actstore.store.format import MOST_RANKS


@dataclass(frozen=True)
class WritePlace:
    """One rank's rows of one step.

    Args:
        step: the training step; None where none was named, which is step 0 of a store of its own.
        rank: which share of the rows, from 0.
        world_size: how many shares there are.
        first_row: the store's row that the first row of this share is.
        rows: how many rows the share has; None where only reading the data tells.
    """

    step: int | None = None
    rank: int = 0
    world_size: int = 1
    first_row: int = 0
    rows: int | None = None

    def __post_init__(self) -> None:
        if self.step is not None and not 0 <= self.step < 10**12:
            msg = f"step is {self.step}; expected 0 or more"
            raise StoreError(msg)
        if not 0 <= self.rank < self.world_size <= MOST_RANKS:
            msg = (
                f"rank {self.rank} of a world size of {self.world_size}; "
                f"expected a rank from 0 to the world size less one, and at most {MOST_RANKS:,} ranks"
            )
            raise StoreError(msg)

    @property
    def number(self) -> int:
        """The step as it is stored."""
        return self.step or 0

    @property
    def shared(self) -> bool:
        """Whether this is one part of a store among others, which others may write meanwhile."""
        return self.step is not None or self.world_size > 1

    def __str__(self) -> str:
        rank = f", rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        return f"step {self.number}{rank}"
