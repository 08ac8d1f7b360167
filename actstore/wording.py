"""Words for messages: names in a list, and the nearest of them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES_SHOWN = 8


def hint(wanted: str, names: Sequence[str]) -> str:
    """For a message: the names nearest to one that is not there, or else which there are."""
    nearest = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    return f"the nearest: {listed(nearest)}" if nearest else f"there are: {listed(names)}"


def listed(names: Sequence[str]) -> str:
    """Names for a message: quoted, and cut after the first few."""
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN]) or "none"
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
