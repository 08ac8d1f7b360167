"""What the data has given so far, so that an interrupted dump is resumed with the same or not at all."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from actstore.errors import DumpError
from actstore.provenance import InputHash, LabelHash, hash_text
from actstore.store.documents.records import Seen

if TYPE_CHECKING:
    from actstore.sources import Batch


class RepeatedInputsWarning(UserWarning):
    """The data gave the same inputs more than once."""


class Replay:
    """What the data has given so far, in hashes: compared with what an interrupted dump had seen."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._inputs, self._labels = InputHash(), LabelHash()
        self._batches = 0
        self._marks: set[str] = set()
        self._repeats: list[int] = []
        self._watches = False
        self.item_rows = 0

    def next_item(self, watches: bool = False) -> None:
        """Begin another item of data; ``watches`` where inputs that come again are to be told."""
        if self._batches:
            self._done.append(self._inputs.hexdigest())
        self._inputs = InputHash()
        self.item_rows = 0
        self._watches, self._marks, self._repeats = watches, set(), []

    def item_hash(self) -> str:
        """The hash of the inputs of this item."""
        return self._inputs.hexdigest()

    def update(self, batch: Batch) -> Seen:
        """Add a batch. Returns how far the dump is with it."""
        self._inputs.update(batch.inputs)
        self._labels.update(batch.targets)
        told = {"--split-by": batch.splits, "--group-by": batch.groups}
        self._labels.update({name: values for name, values in told.items() if values is not None})
        if self._watches:
            self._note_repeat(batch)
        self._batches += 1
        self.item_rows = int(batch.places[-1]) + 1
        inputs = hash_text(" ".join([*self._done, self._inputs.hexdigest()]))
        return Seen(self._batches, inputs, self._labels.hexdigest())

    def _note_repeat(self, batch: Batch) -> None:
        """Count the rows of a batch whose inputs are, all of them, those of one before."""
        own = InputHash()
        own.update(batch.inputs)
        mark = own.hexdigest()
        if mark in self._marks:
            self._repeats.append(batch.rows)
        self._marks.add(mark)

    def warn_of_repeats(self, spec: str) -> None:
        """Warn of batches of an item that came twice: a row that is alone in its batch may well be like another."""
        repeated = sum(self._repeats)
        if "not seen" not in self._marks and (
            any(rows > 1 for rows in self._repeats) or 2 * repeated >= self.item_rows > 1
        ):
            msg = (
                f"{repeated:,} of {self.item_rows:,} rows of {spec} came in batches whose inputs came before, so rows "
                "are stored more than once: does every worker of an IterableDataset read all of it? Divide it among "
                "them (torch.utils.data.get_worker_info), or use one worker"
            )
            warnings.warn(msg, RepeatedInputsWarning, stacklevel=4)

    def compare(self, stored: Seen, seen: Seen) -> None:
        """DumpError where the last batch that was stored ends other inputs or labels than then."""
        if seen.batches == stored.batches and seen != stored:
            what = "inputs" if seen.inputs != stored.inputs else "labels (--target)"
            msg = (
                f"the {what} are not those of the interrupted dump: among its first {stored.batches:,} batches "
                "something changed, or is in another order. Resume with the same data, or dump to another name"
            )
            raise DumpError(msg)

    def check_all_came(self, stored: Seen) -> None:
        """DumpError where the data ended before what was stored of it."""
        if self._batches < stored.batches:
            msg = (
                f"the data ended after {self._batches:,} batches, where the interrupted dump had {stored.batches:,}; "
                "resume with the same data, or dump to another name"
            )
            raise DumpError(msg)
