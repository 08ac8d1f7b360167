"""One file given twice as data: in one split its rows would come twice, in two splits the one would test the other."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from actstore.errors import SourceError
from actstore.formats.containers.kinds import located
from actstore.formats.opening import stamp_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from actstore.sources.base import Source


class SameRowsWarning(UserWarning):
    """Two splits have the rows of one file."""


def check_same_files(sources: Sequence[tuple[str, Source]]) -> None:
    """Refuse what is twice in one split, by whatever name or link; warn of what is in two.

    Raises:
        SourceError: with both SPECs.
    """
    seen: dict[Hashable, list[tuple[str, str]]] = {}
    for split, source in sources:
        others = seen.setdefault(_identity(source), [])
        for other, spec in others:
            if other == split:
                of = f"split {split!r}" if split else "the data"
                known = f"is in {of} already{_as(spec, source.spec)}"
                msg = f"{source.spec} {known}, so its rows would come twice; name it once"
                raise SourceError(msg)
            msg = (
                f"{source.spec} is both in split {other!r} and in split {split!r}{_as(spec, source.spec)}: what is "
                f"learned on the one is seen again in the other"
            )
            warnings.warn(msg, SameRowsWarning, stacklevel=4)
        others.append((split, source.spec))


def _as(before: str, now: str) -> str:
    return "" if before == now else f" (as {before})"


def _identity(source: Source) -> Hashable:
    """What tells the rows of a source from others: its file and what is named in it, else the source itself."""
    place = located(source.spec)
    if place is None:
        return id(source)
    stamp = stamp_of(getattr(source, "file", None) or place.path)
    key = tuple(part for part in (place.key or "").split("/") if part)
    return stamp.device, stamp.inode, key
