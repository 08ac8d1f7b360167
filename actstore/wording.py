"""Words for messages and pages: names in a list, the nearest of them, sizes, and names that HTML shows as they are."""

from __future__ import annotations

import difflib
import html
import unicodedata
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


def size(nbytes: float) -> str:
    """Return a number of bytes as a person reads it: ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} TB"


def html_safe(text: object) -> str:
    r"""Return a text as HTML shows it, in an element or an attribute: its marks of HTML are escaped.

    Control characters, line ends, marks of direction and lone surrogates are written out: ESC is ``\x1b`` then.
    """
    shown = "".join(character if _harmless(character) else _written_out(character) for character in str(text))
    return html.escape(shown, quote=True)


def _harmless(character: str) -> bool:
    if character in "\u200c\u200d":  # invisible joiners, which Persian words and many emoji hold
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _written_out(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
