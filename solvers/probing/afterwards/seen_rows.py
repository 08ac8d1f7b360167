"""Which of given rows a probe was trained on, or its C chosen by, where no ids tell: by what it says of them.

A probe file keeps, for each split, the labels in their order and the cross-entropy to all its digits. Rows with the
same labels in the same order, of which the probe says the same to ten digits, are those rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solvers.probing.scores.path import role_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from solvers.arrays import Array
    from solvers.probing.afterwards.said import Said
    from solvers.probing.probe import Probe
    from solvers.probing.row_table import RowTable

__all__ = ["HELD_OUT", "SAME_IDS", "recognised", "said_before", "tables_used"]

HELD_OUT, SAME_IDS = "held_out", "same_ids"
_SAME = 1e-9
"""Relative difference of two cross-entropies that are one, summed in another order."""


def tables_used(probe: Probe, tables: Sequence[RowTable]) -> Iterator[tuple[str, RowTable]]:
    """Yield the tables of rows that a probe was trained or its C chosen on, each with what they were for it."""
    for table in tables:
        role = role_of(probe, table.split)
        if table.target == probe.target and table.fold in (None, probe.where.fold) and role != HELD_OUT:
            yield role, table


def recognised(
    probe: Probe, tables: Sequence[RowTable], said: Said, splits: Array
) -> dict[str, NDArray[np.int64]]:
    """Return the rows, numbers within ``said``, that were trained on (``fit``) or chose C (``select``).

    Rows are found where all of a split are there in their order: at the places that they had, or as all the labelled
    rows of one of the given splits, rows that chose C among those trained on or not. A part of them is not found.

    Args:
        probe: what said it.
        tables: of its file.
        said: of the given rows that have labels.
        splits: (rows given,) their names.
    """
    used = list(tables_used(probe, tables))
    if not used or not _tells_rows_apart(said):
        return {}
    found: dict[str, list[NDArray[np.int64]]] = {}
    for role, table in used:
        for places in _candidates(table, [each for _, each in used], said, splits):
            if _same(probe, table, said, places):
                found.setdefault(role, []).append(places)
    return {role: np.unique(np.concatenate(each)) for role, each in found.items()}


def _candidates(
    table: RowTable, used: Sequence[RowTable], said: Said, splits: Array
) -> Iterator[NDArray[np.int64]]:
    """Yield places within ``said`` at which the rows of a table may lie."""
    index, given = np.asarray(table.arrays["index"]), said.predictions.index
    where = np.minimum(np.searchsorted(given, index), len(given) - 1)
    if np.array_equal(given[where], index):
        yield where
    every = np.unique(np.concatenate([each.arrays["index"] for each in used]))
    of_rows = splits[given]
    for split in dict.fromkeys(of_rows.tolist()):
        own = np.flatnonzero(of_rows == split)
        if len(own) == len(index):
            yield own
        elif len(own) == len(every):
            yield own[np.searchsorted(every, index)]


def _same(probe: Probe, table: RowTable, said: Said, places: NDArray[np.int64]) -> bool:
    """Whether the rows at these places have the labels of the table, and the probe says of them what it said."""
    outputs = said.predictions.outputs
    truth = np.minimum(np.asarray(table.arrays["truth"]), outputs)
    if not np.array_equal(truth, np.minimum(np.asarray(said.predictions.truth)[places], outputs)):
        return False
    return said_before(probe, table.split, said.only(places))


def said_before(probe: Probe, split: str, said: Said) -> bool:
    """Whether a probe says of rows what it said of those of a split in its fit: the same cross-entropy, to 9 digits."""
    before = probe.scores.cross_entropy.get(split, np.nan)
    return bool(abs(said.cross_entropy() - before) <= _SAME * abs(before))


def _tells_rows_apart(said: Said) -> bool:
    """Whether the probe says more of rows than their class: of a layer that is dead it says the same of any rows."""
    seen = said.seen
    truth, nats = np.asarray(said.predictions.truth)[seen], said.nats[seen]
    return len(np.unique(nats)) > 2 * len(np.unique(truth))
