"""Which files in a store's folder are a store's: what is not, is somebody's own, and is never removed."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from actstore.store.disk import durable
from actstore.store.disk.held_file import HELD_SUFFIX
from actstore.store.format import COMPLETE, JOURNAL, LOCK, PACKED, STEP_JSON, STEPS, STORE_JSON, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STEP = rf"{STEPS}/[0-9]+"
_RANK = rf"{_STEP}/rank-[0-9]{{4,9}}"
_WRITTEN = "|".join(
    (
        rf"(?:{re.escape(STORE_JSON)}|{JOURNAL}|{re.escape(PACKED)})",
        rf"{_STEP}/(?:{re.escape(STEP_JSON)}|{COMPLETE})",
        rf"{_RANK}/(?:{JOURNAL}|shard-[0-9]{{6,12}}\.h5)",
        rf"{TARGETS}/[0-9]{{6}}\.h5",
    )
)
_LOCKS = rf"(?:{JOURNAL}\.lock|{_RANK}/{LOCK})(?:{re.escape(HELD_SUFFIX)}(?:\.[0-9a-z]+(?:\.stale)?\.tmp)?)?"
_FILE = re.compile(rf"(?:{_WRITTEN})(?:(?:\.[0-9a-f]{{16}})?\.tmp)?|{_LOCKS}")
_PASSING = re.compile(r"\.(?:nfs|fuse_hidden)[0-9a-f]+")  # what file systems keep while a removed file is open
_FOLDER = re.compile(rf"{STEPS}|{_STEP}|{_RANK}|{TARGETS}")


def foreign(folder: Path) -> Path | None:
    """Something in a folder, at whatever depth, that is no part of a store; None where all of it is."""
    return next((path for path, ours in _walk(folder, folder) if not ours), None)


def remove_own(folder: Path, store: Path | None = None) -> None:
    """Remove the folder of a store, or one within the folder ``store``, with all that is a store's in it.

    What is not, stays where it is; so does whatever cannot be removed (on some file systems, a file that is open).
    """
    with suppress(OSError):
        for path, ours in list(_walk(folder, store or folder)):
            with suppress(OSError):
                if ours and not path.is_symlink() and path.is_dir():
                    path.rmdir()
                elif ours:
                    path.unlink()
        folder.rmdir()


def _walk(folder: Path, store: Path) -> Iterator[tuple[Path, bool]]:
    """Everything below a folder, its contents before a folder itself, each with whether it is ours; links as such."""
    for place, folders, files in os.walk(folder, topdown=False):
        for names, known in ((files, _FILE), (folders, _FOLDER)):
            for name in sorted(name for name in names if not _PASSING.fullmatch(name)):
                path = folder.joinpath(place, name)
                ours = known if not path.is_symlink() else _FILE
                yield path, ours.fullmatch(path.relative_to(store).as_posix()) is not None


def marked(path: Path, suffix: str) -> list[Path]:
    """The folders named as ``path``, with a mark that only a writer gives, and ``suffix``; the latest comes last."""
    pattern = re.compile(rf"{re.escape(path.name)}\.{durable.MARK}{re.escape(suffix)}")
    named: list[Path] = []
    with suppress(PermissionError):  # a folder that may be written to but not listed
        named = [entry for entry in path.parent.iterdir() if pattern.fullmatch(entry.name)]
    changed: dict[Path, int] = {}
    for entry in named:
        with suppress(FileNotFoundError):  # another process sweeps, too
            if entry.is_dir() and not entry.is_symlink():
                changed[entry] = entry.lstat().st_ctime_ns
    return sorted(changed, key=changed.__getitem__)


def with_mark(path: Path, suffix: str) -> Path:
    """A name beside ``path`` that nobody else has, which ``marked`` finds."""
    return path.with_name(f"{path.name}.{durable.new_mark()}{suffix}")
