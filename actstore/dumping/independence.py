"""Whether a row is the same whatever lies beside it: other rows, fewer rows, padding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from actstore import arrays
from actstore.adapters.moves import padding
from actstore.dumping.comparing import FLOOR
from actstore.dumping.looking import batch_lengths, filled_padding, trimmed
from actstore.dumping.subject import named, refusal
from actstore.errors import DumpError, RowError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.adapters.base import Prepared
    from actstore.dumping.comparing import Parts
    from actstore.dumping.looking import Looks
    from actstore.dumping.subject import Subject

_MIXES = (
    "its rows depend on each other: batch statistics (BatchNorm in training mode, or track_running_stats=False), "
    "or a norm, mean or softmax over the batch axis"
)
_MIXES_OR_PADS = (
    "its rows depend on each other, or on the padding that the longest text of a batch makes: run texts one at a time "
    "(--batch-size 1)"
)
_PADDED = (
    "the model sees its padding: what it gives for a text depends on how long the others of its batch are. Run texts "
    "one at a time (--batch-size 1), or a model that is told where its padding is"
)
_SIZE = "it depends on how many rows there are, or on how far they are padded"


@dataclass(frozen=True)
class Independence:
    """A check of some rows of a batch.

    Args:
        subject: what is checked.
        looks: runs a batch, and gives its layers example by example.
        head: the rows, as the model takes them.
        ids: of these rows, for messages.
        random: whether two runs of the model differ in their last bits.
    """

    subject: Subject
    looks: Looks
    head: Prepared
    ids: Sequence[str]
    random: bool = False

    def check(self, among: Mapping[str, Parts] | None = None) -> None:
        """Run the rows beside other rows, and alone; a single row has nothing beside it.

        Args:
            among: what the rows gave, where they have run already.

        Raises:
            DumpError: a layer gives a row other values; named by the first layer in call order.
        """
        rows = arrays.count_rows(self.head.inputs)
        if rows == 1:
            return
        among = self._look(np.arange(rows), self.head) if among is None else among
        for stay in (0, 1):
            places = _neighbours(rows, stay)
            beside = self._look(places, self.head.only(places))
            self._compare_beside(among, beside, range(stay, rows, 2))
        lengths = batch_lengths(self.head.inputs)
        chosen = [0, rows - 1] if lengths is None else [int(np.argmin(lengths)), int(np.argmax(lengths))]
        rows_alone = list(dict.fromkeys(chosen))
        try:
            alone = [self._look([row], trimmed(self.head.only(np.array([row])))) for row in rows_alone]
        except Exception:  # noqa: BLE001 - a model of one batch size; that of the last batch is tried elsewhere
            return
        self._compare_alone(rows_alone, among, alone)

    def _look(self, places: Sequence[int] | np.ndarray, prepared: Prepared) -> dict[str, Parts]:
        """Run the rows at these places. An error of one names that row, whatever its place among those that ran."""
        try:
            return self.looks.at(prepared)
        except RowError as error:
            msg = f"{self._row(int(places[error.row]))} {error.what}"
            raise DumpError(msg) from error

    def _compare_beside(
        self, among: Mapping[str, Parts], beside: Mapping[str, Parts], rows: Sequence[int]
    ) -> None:
        for layer in self.subject.layers:
            columns = self.subject.columns(layer, among[layer.name])
            for row in rows:
                found = columns.compare([among[layer.name][row]], [beside[layer.name][row]])
                if found is None or (self.random and found.is_rounding):
                    continue
                # What is rounding beside one huge column may be all there is of the others.
                if found.is_gross or not found.is_rounding:
                    what = f"{named(layer)} gives {self._row(row)} other values beside other rows"
                    text = arrays.is_text(self.head.inputs)
                    raise refusal(what, found, _MIXES_OR_PADS if text else _MIXES)
                self.subject.warn(
                    "beside",
                    f"{named(layer)} gives a row values beside other rows that differ by up to {found.largest:.2g}, "
                    "which is rounding (a router that gives its experts other numbers of rows, for example)",
                )

    def _compare_alone(
        self, rows: Sequence[int], among: Mapping[str, Parts], alone: Sequence[Mapping[str, Parts]]
    ) -> None:
        count = arrays.count_rows(self.head.inputs)
        for layer in self.subject.layers:
            columns = replace(self.subject.columns(layer, among[layer.name]), floor=FLOOR)
            found = columns.compare(
                [among[layer.name][row] for row in rows], [found[layer.name][0] for found in alone]
            )
            if found is None or found.is_rounding:
                continue
            row = rows[found.part]
            what = f"{named(layer)} gives {self._row(row)} other values alone than in a batch of {count}"
            if self._sees_padding(layer.name, row, among):
                raise refusal(what, found, _PADDED)
            if found.is_gross:
                raise refusal(what, found, _SIZE)
            self.subject.warn(
                "alone",
                f"{what}, by up to {found.largest:.2g}, though its neighbours change nothing: rounding that the layer "
                "magnifies. Dumps of another --batch-size will differ by as much",
            )

    def _sees_padding(self, layer: str, row: int, among: Mapping[str, Parts]) -> bool:
        """Whether a row that was padded changes with what lies under the padding, in a batch of the same shape."""
        padded = padding(self.head.inputs)
        if padded is None or not padded[row].any():
            return False
        filled = self.looks.at(filled_padding(self.head))[layer][row]
        return not self._same(among[layer][row], filled)

    def _same(self, one: np.ndarray, other: np.ndarray) -> bool:
        if not self.random:
            return one.shape == other.shape and one.tobytes() == other.tobytes()
        return one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=0, equal_nan=True)

    def _row(self, row: int) -> str:
        return f"row {self.ids[row]!r}" if row < len(self.ids) else f"row {row}"


def _neighbours(rows: int, stay: int) -> np.ndarray:
    """Places of as many rows: every second one, from ``stay`` on, is itself, and the others are copies of these."""
    places = np.arange(rows)
    moved = places % 2 != stay
    places[moved] = np.where(places[moved] > 0, places[moved] - 1, np.minimum(1, rows - 1))
    return places
