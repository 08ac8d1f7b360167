"""Rows that can not be read, found and left out before a dump begins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from actstore.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actstore.row_choice import RowChoice
    from actstore.sources import SplitData


@runtime_checkable
class CheckedSource(Protocol):
    """A source of files, some of which may be bad."""

    def bad_rows(self, places: Iterable[int]) -> Mapping[int, str]:
        """Those of these places that can not be read, each with its file."""
        ...


def without_bad(data: Sequence[SplitData], choice: RowChoice) -> list[SplitData]:
    """The data, the rows that are wanted of it read once, and those that can not be read left out.

    The other rows keep their places, and with them their labels and ids.

    Raises:
        SourceError: no source that can tell, or one of which no row can be read.
    """
    if not any(isinstance(item.source, CheckedSource) for item in data):
        specs = ", ".join(item.source.spec for item in data)
        msg = f"--skip-bad is for folders of images, but the data is {specs}; leave it out"
        raise SourceError(msg)
    return [_without_bad(item, choice, position) for position, item in enumerate(data)]


def _without_bad(item: SplitData, choice: RowChoice, position: int) -> SplitData:
    if not isinstance(item.source, CheckedSource):
        return item
    places = item.places(choice, position)
    bad = item.source.bad_rows(places)
    if bad and len(bad) == len(places):
        msg = f"none of the {len(bad):,} rows of {item.source.spec} can be read; without --skip-bad the reason is told"
        raise SourceError(msg)
    return replace(item, left_out=bad)
