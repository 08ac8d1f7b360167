"""What a writer has once its output is claimed: the rows that wait, and what seals them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.store.writing.pending import PendingRows

if TYPE_CHECKING:
    from actstore.store.writing.background import Pipeline
    from actstore.store.writing.id_check import IdCheck
    from actstore.store.writing.sealing import RankWriter


@dataclass
class Begun:
    """A rank that is being written."""

    rank: RankWriter
    ids: IdCheck
    pipeline: Pipeline
    pending: PendingRows

    def seal(self) -> None:
        """Begin to write what is pending, if anything is."""
        if self.pending.rows:
            pending, self.pending = self.pending, PendingRows(self.rank.header.layers)
            self.pipeline.begin(pending)

    def stored_ids(self) -> set[bytes]:
        """The ids of all rows of the rank so far."""
        self.pipeline.wait()
        return {row_id for rows in self.pending.tables for row_id in rows.ids} | self.rank.ids()
