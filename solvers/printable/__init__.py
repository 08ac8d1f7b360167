"""Names as a terminal, a figure or a page may have them: what would act on it instead of being shown is written out."""

from __future__ import annotations

import html
import unicodedata

__all__ = ["html_safe", "printable"]

_JOINERS = "\u200c\u200d"
"""Invisible, and harmless: Persian words and many emoji hold them."""


def printable(text: str) -> str:
    r"""Return a text whose control characters, line ends, marks of direction and lone surrogates are written out.

    So a layer's name cannot move the cursor, colour what follows or turn its order: ESC is ``\x1b`` then.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _harmless(character) else _written_out(character) for character in text)


def html_safe(text: object) -> str:
    """Return a text as HTML shows it, in an element or an attribute: ``printable``, its marks of HTML escaped."""
    return html.escape(printable(str(text)), quote=True)


def _harmless(character: str) -> bool:
    if character in _JOINERS:
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _written_out(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
