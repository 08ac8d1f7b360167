"""Whether rows are new to a store; or, at a further step, the very rows that it has at the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import StoreError
from actstore.store.documents.folder import listed_steps, read_header, read_steps
from actstore.store.documents.unique import SeenIds
from actstore.store.format import COMPLETE, STORE_JSON, step_folder
from actstore.store.reading.reader import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from actstore.store.documents.row_table import TableRows
    from actstore.store.documents.write_place import WritePlace


class IdCheck:
    """Checks the rows of one rank as they come."""

    def __init__(self, folder: Path, place: WritePlace) -> None:
        """Look for the other steps of the store in ``folder``. StoreError where there are, but none is complete."""
        self._seen = SeenIds()
        self._place = place
        self._base: Store | None = None
        self.other_steps: Mapping[int, Mapping[str, Any]] = {}
        if not (folder / STORE_JSON).exists():
            return
        header = read_header(folder)
        steps = [step for step in listed_steps(folder, header) if step != place.number]
        if not steps or (folder / step_folder(place.number) / COMPLETE).exists():  # then no row is to come
            return
        catalog = read_steps(folder, header, steps)
        self.other_steps = {step: contents.provenance for step, contents in catalog.steps.items()}
        self._base = base = Store(catalog).at(catalog.base.step)
        if not base.complete:
            msg = (
                f"{folder} holds no complete step yet; finish step {base.steps[0]} first (--resume), so that the rows "
                f"of step {place.number} can be compared with its"
            )
            raise StoreError(msg)

    def check(self, rows: TableRows, first_row: int, stored: Callable[[], Collection[bytes]]) -> None:
        """StoreError unless ``rows``, from the rank's ``first_row`` on, belong there.

        ``stored`` gives all ids so far, for the rare case that two ids share a hash.
        """
        repeated = {row_id for row_id, count in Counter(rows.ids).items() if count > 1}
        if self._base is not None:
            self._compare(self._base, rows, first_row + self._place.first_row)
        else:
            suspects = {rows.ids[place] for place in self._seen.suspects(SeenIds.hashes(rows.ids))}
            repeated |= suspects.intersection(stored()) if suspects else set()
        if repeated:
            msg = (
                f"id {min(repeated).decode('utf-8')!r} appears twice, as did {len(repeated) - 1:,} others of its "
                "batch; every row of a store needs an id of its own"
            )
            raise StoreError(msg)

    def check_end(self, rows: int) -> None:
        """StoreError where the last rank ends after ``rows`` rows of its own, while the other steps have more."""
        end = self._place.first_row + rows
        if self._base is not None and self._place.rank == self._place.world_size - 1 and end != self._base.rows:
            msg = (
                f"step {self._place.number} has {end:,} rows where step {self._base.steps[0]} has {self._base.rows:,}; "
                "every step of a store has the same rows. Resume with the same data"
            )
            raise StoreError(msg)

    def add(self, rows: TableRows) -> None:
        """Remember checked rows."""
        if self._base is None:
            self._seen.add(SeenIds.hashes(rows.ids))

    def _compare(self, base: Store, rows: TableRows, start: int) -> None:
        """StoreError where rows differ from those of the other steps."""
        place = slice(start, start + len(rows.ids))
        columns = {
            "ids": ([row_id.decode("utf-8") for row_id in rows.ids], base.ids),
            "splits": (rows.splits, base.splits),
            "groups": (rows.groups, base.groups),
            "positions": (rows.positions, base.positions),
        }
        columns |= {
            f"labels {name!r}": (labels, base.targets.get(name)) for name, labels in rows.targets.items()
        }
        for what, (ours, theirs) in columns.items():
            if ours is None and theirs is None:
                continue
            known = None if theirs is None else theirs[place]
            if ours is None or known is None or not _equal(ours, known):
                msg = (
                    f"the {what} of rows {start:,} to {start + len(rows.ids) - 1:,} are not those of step "
                    f"{base.steps[0]}; every step of a store has the same rows. Dump the same data"
                    + (", and attach new labels with actstore label" if what.startswith("labels") else "")
                )
                raise StoreError(msg)


def _equal(ours: object, theirs: np.ndarray) -> bool:
    a: np.ma.MaskedArray = np.ma.asarray(ours)
    b: np.ma.MaskedArray = np.ma.asarray(theirs)
    same_mask = np.array_equal(np.ma.getmaskarray(a), np.ma.getmaskarray(b))
    return len(a) == len(b) and same_mask and np.array_equal(a.compressed(), b.compressed())
