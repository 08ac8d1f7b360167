"""Which batches are whose, where several processes (ranks) dump the same data together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.errors import DumpError
from actstore.store.format import EXAMPLE, WORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.row_choice import RowChoice
    from actstore.sources import SplitData


@dataclass(frozen=True)
class Share:
    """A contiguous range of the batches that one process alone would run.

    Args:
        numbers: for each item of data, which of its batches; None for all of them.
        first_row: how many rows come before the first of these.
        rows: how many rows they have; None where only reading the data tells.
    """

    numbers: Sequence[range | None]
    first_row: int
    rows: int | None


def all_of(data: Sequence[SplitData], choice: RowChoice, row: str = EXAMPLE) -> Share:
    """Everything, for one process. ``row`` is what a row is: tokens are known once the model ran."""
    expected = [
        item.expected_rows(choice, position)
        if row == EXAMPLE
        else item.expected_words(choice)
        if row == WORD
        else None
        for position, item in enumerate(data)
    ]
    known = [rows for rows in expected if rows is not None]
    return Share([None] * len(data), 0, sum(known) if len(known) == len(data) else None)


def share_of(
    data: Sequence[SplitData], batch_rows: int, choice: RowChoice, rank: int, world_size: int
) -> Share:
    """The batches of one rank: as many as the other ranks have, give or take one.

    Raises:
        DumpError: data whose batches can not be told without reading them, or fewer batches than ranks.
    """
    sizes = []
    for position, item in enumerate(data):
        of_item = item.batch_rows(batch_rows, choice, position)
        if of_item is None:
            msg = (
                f"{item.source.spec} can not be shared among ranks: it makes its own batches, so that only reading "
                "tells which they are. Give an array, or dump it with one process"
            )
            raise DumpError(msg)
        sizes.append(of_item)
    batches = sum(map(len, sizes))
    if batches < world_size:
        msg = (
            f"{batches} batches can not be shared by {world_size} ranks; use fewer ranks, "
            "or a smaller batch size (--batch-size)"
        )
        raise DumpError(msg)
    first, stop = batches * rank // world_size, batches * (rank + 1) // world_size
    flat = [rows for of_item in sizes for rows in of_item]
    numbers: list[range | None] = []
    before = 0
    for of_item in sizes:
        low, high = (min(max(end - before, 0), len(of_item)) for end in (first, stop))
        numbers.append(range(low, high))
        before += len(of_item)
    return Share(numbers, sum(flat[:first]), sum(flat[first:stop]))
