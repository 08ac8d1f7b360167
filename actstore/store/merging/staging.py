"""The folder that a merge makes: built beside its final name, which it takes once it is whole."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.disk import durable
from actstore.store.disk.locks import Lock
from actstore.store.format import FOLDER_SUFFIX, LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

MERGING_SUFFIX = ".merging"  # what has it was left by a merge, never by a dump, and can be removed


def new_folder(out: str | PathLike[str], sources: Sequence[str | PathLike[str]]) -> Path:
    """The folder to make. StoreError where that can not be, or a source is there twice."""
    final = Path(os.path.abspath(out))
    real = [os.path.realpath(source) for source in sources]
    twice = [source for source, place in zip(sources, real, strict=True) if real.count(place) > 1]
    msg = ""
    if final.suffix != FOLDER_SUFFIX:
        msg = f"{out} is not the name of a folder of a store; NAME{FOLDER_SUFFIX} was expected"
    elif not final.parent.is_dir():
        msg = f"{out} can not be written: there is no folder {final.parent}. Make it first"
    elif os.path.lexists(final):
        msg = f"{out} already exists; remove it, or choose another name"
    elif twice:
        msg = f"{twice[0]} came twice; name each store once"
    if msg:
        raise StoreError(msg)
    return final


@contextmanager
def staged(final: Path, first_rank: str) -> Iterator[Path]:
    """A folder that takes the name ``final`` after the block, and is removed where that raises.

    It is locked as a dump locks it. What an interrupted merge left there is removed.
    """
    staging = final.with_name(final.name + MERGING_SUFFIX)
    lock_path = staging / first_rank / LOCK
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.callback(Lock(lock_path).release)
        except BlockingIOError:
            msg = f"{final} is being made by another merge; wait for it, or choose another name"
            raise StoreError(msg) from None
        try:
            _clear(staging, lock_path)
            yield staging
            if os.path.lexists(final):
                msg = f"{final} has appeared meanwhile; choose another name"
                raise StoreError(msg)
            durable.sync_folder(staging)
            durable.rename(staging, final)
        except BaseException:
            durable.remove_folder(staging)
            raise


def _clear(staging: Path, lock_path: Path) -> None:
    """Remove what is there, but for the lock."""
    for path in sorted(staging.rglob("*"), reverse=True):  # what is in a folder comes before the folder
        if path.is_dir() and not path.is_symlink():
            if path not in lock_path.parents:
                path.rmdir()
        elif path != lock_path:
            path.unlink()
