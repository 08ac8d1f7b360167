"""What a row of a store is, and the rows of a batch where they are tokens or words of its examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.activations import RowBatch
from actstore.errors import SourceError
from actstore.store.format import EXAMPLE, WORD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.activations import Captured
    from actstore.reductions.parts_of_examples import BatchRows
    from actstore.sources import Batch, SplitData


def row_unit(asked: str | None, data: Sequence[SplitData]) -> str:
    """What a row is: what was asked for, or else what all the data would have.

    Raises:
        SourceError: data of several kinds, or whose labels are of words where a row is none.
    """
    own = {item.row_unit: item.source.spec for item in data}
    if asked is None and len(own) > 1:
        kinds = ", ".join(f"a row of {spec} is one {unit}" for unit, spec in own.items())
        msg = f"a store has one kind of row, but {kinds}; make a store of each, or say --row {WORD} for all"
        raise SourceError(msg)
    unit = asked or next(iter(own), EXAMPLE)
    if unit != WORD and WORD in own:
        msg = (
            f"the labels of {own[WORD]} are of words, and a row per {unit} has no place for them; leave --row out, "
            "or give its sentences as text"
        )
        raise SourceError(msg)
    return unit


def row_batch(
    activations: Mapping[str, Captured],
    batch: Batch,
    ids: Sequence[str],
    item: SplitData,
    rows: BatchRows | None,
) -> RowBatch:
    """What is stored of a batch.

    Args:
        activations: the layers of it.
        batch: with a label per example, or per word where it has ``words``.
        ids: (examples,).
        item: of data that they are of; its split is that of rows without one of their own.
        rows: which tokens or words are the rows, ``ID/POSITION`` in the group ``ID``; None where examples are. The
            group that an example has is then a target of theirs, by the name that it is told by.
    """
    splits = [item.split] * batch.rows if batch.splits is None else batch.splits.tolist()
    if rows is None:
        return RowBatch(
            activations, ids, splits, batch.targets, None if batch.groups is None else batch.groups.tolist()
        )
    examples, positions = rows.spots.examples, rows.spots.positions
    labels = examples
    if batch.words is not None:
        labels = (np.cumsum(batch.words) - batch.words)[examples] + positions
    coarser = {}
    if batch.groups is not None and item.columns.group_by not in batch.targets:
        coarser[str(item.columns.group_by)] = batch.groups[examples]
    groups = [ids[example] for example in examples.tolist()]
    return RowBatch(
        activations,
        [f"{group}/{position}" for group, position in zip(groups, positions.tolist(), strict=True)],
        [splits[example] for example in examples.tolist()],
        {name: values[labels] for name, values in batch.targets.items()} | coarser,
        groups,
        positions,
    )
