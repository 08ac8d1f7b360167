"""Which batches are whose, where several processes (ranks) dump the same data together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.errors import DumpError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.dumping.plan import LoopSettings
    from actstore.dumping.rows import RowUnit
    from actstore.rows.choice import RowChoice
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


def all_of(data: Sequence[SplitData], choice: RowChoice, unit: RowUnit) -> Share:
    """Return everything, for one process."""
    expected = [unit.expected(item, choice, position) for position, item in enumerate(data)]
    known = [rows for rows in expected if rows is not None]
    return Share([None] * len(data), 0, sum(known) if len(known) == len(data) else None)


def share_of(data: Sequence[SplitData], settings: LoopSettings, rank: int, world_size: int) -> Share:
    """The batches of one rank: as many as the other ranks have, give or take one.

    Raises:
        DumpError: rows that are parts of examples, data whose batches cannot be told without reading them, or fewer
            batches than ranks.
    """
    choice, unit = settings.choice, settings.unit
    if world_size == 1:
        return all_of(data, choice, unit)
    if not unit.whole:
        msg = (
            f"ranks cannot share a dump with a row per {unit.name}: where a rank begins is known once all before it "
            "ran. Dump it with one process (--world-size 1), or each part to a store of its own, and merge them"
        )
        raise DumpError(msg)
    sizes = []
    for position, item in enumerate(data):
        of_item = item.batch_rows(settings.batch_size, choice, position)
        if of_item is None:
            msg = (
                f"{item.source.spec} cannot be shared among ranks: it makes its own batches, so that only reading "
                "tells which they are. Give an array, or dump it with one process"
            )
            raise DumpError(msg)
        sizes.append(of_item)
    batches = sum(map(len, sizes))
    if batches < world_size:
        msg = (
            f"{batches} batch{'es' * (batches != 1)} cannot be shared by {world_size} ranks; use fewer ranks, "
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
