"""The folder that a merge makes: built beside its final name, which it takes once it is whole."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.disk.locks import Lock, is_locked
from actstore.store.disk.output import check_not_input
from actstore.store.documents.own_files import marked, remove_own, with_mark
from actstore.store.documents.rank import locks_of
from actstore.store.format import FOLDER_SUFFIX, LOCK
from actstore.store.writing.destination import MERGING_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike


def new_folder(out: str | PathLike[str], sources: Sequence[str | PathLike[str]]) -> Path:
    """The folder to make. StoreError where that cannot be, or a source is there twice."""
    final = Path(os.path.abspath(out))
    real = [os.path.realpath(source) for source in sources]
    twice = [source for source, place in zip(sources, real, strict=True) if real.count(place) > 1]
    msg = ""
    if final.suffix != FOLDER_SUFFIX:
        msg = f"{out} is not the name of a folder of a store; expected NAME{FOLDER_SUFFIX}"
    elif not final.parent.is_dir():
        msg = f"{out} cannot be written: there is no folder {final.parent}. Make it first"
    elif os.path.lexists(final):
        msg = f"{out} already exists; remove it, or choose another name"
    elif twice:
        msg = f"{twice[0]} appears twice; name each store once"
    if msg:
        raise StoreError(msg)
    check_not_input(final, sources)
    return final


@contextmanager
def staged(final: Path, first_rank: str) -> Iterator[Path]:
    """A folder that takes the name ``final`` after the block, and is removed where that raises.

    It is locked as a dump locks it. What an interrupted merge to the same name left is removed: its name has a mark
    that only a merge gives, nothing but a store's files is in it, and no process holds a lock there.
    """
    for left in marked(final, MERGING_SUFFIX):
        if any(map(is_locked, locks_of(left))):
            msg = f"{final} is being made by another merge; wait for it, or choose another name"
            raise StoreError(msg)
        remove_own(left)
    staging = with_mark(final, MERGING_SUFFIX)
    lock_path = staging / first_rank / LOCK
    lock_path.parent.mkdir(parents=True)
    with ExitStack() as held:
        lock = Lock(lock_path)
        held.callback(lock.release)
        try:
            yield staging
            lock.check()
            if os.path.lexists(final):
                msg = f"{final} has appeared meanwhile; choose another name"
                raise StoreError(msg)
            durable.sync_folder(staging)
            durable.rename(staging, final)
        except BaseException:
            with suppress(OSError):
                if lock.is_ours():
                    remove_own(staging)
            raise
