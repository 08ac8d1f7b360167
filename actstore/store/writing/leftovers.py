"""What an interrupted writer leaves: sealed rows stay, all else goes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from actstore.store.format import COMPLETE, PACKED, step_folder
from actstore.store.writing.sealing import remove_leftovers

if TYPE_CHECKING:
    from actstore.store.documents.write_place import WritePlace
    from actstore.store.writing.destination import Destination
    from actstore.store.writing.sealing import RankWriter


def what_is_left(destination: Destination, place: WritePlace, rank: RankWriter | None) -> str:
    """Tidy up after a writer that ends early; ``rank`` is None where it had not begun.

    Returns:
        a sentence that says what is left, and where.
    """
    if destination.published:
        with suppress(OSError):  # whoever writes there next does so, too
            destination.tidy_up()
        return f"{destination.final} is whole"
    if rank is None:
        destination.discard()
        return f"{destination.final} is as it was: nothing was written there"
    listed = rank.listed()
    if not listed:
        destination.discard()
        what = f" of {place}" if place.shared else ""
        return f"nothing{what} is left in {destination.final}: no shard had been sealed"
    with suppress(OSError):  # whoever resumes it does so, too
        rank.list_step()
    remove_leftovers(destination.rank_folder, {record.shard for record in listed})
    (destination.staging / PACKED).unlink(missing_ok=True)
    rows = sum(record.rows for record in listed)
    if (destination.staging / step_folder(place.number) / COMPLETE).exists():
        return f"{destination.staging} keeps all {rows:,} rows, as a whole store"
    return (
        f"{destination.staging} keeps the {rows:,} rows that were sealed, as an unfinished store; "
        "--resume continues it"
    )
