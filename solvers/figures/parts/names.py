"""Names in a figure: made safe, shortened at what they have in common, clipped to the room there is, thinned.

Nothing here asks a font: widths are those of the usual sans-serif fonts, on the wide side, so that what fits here fits
there.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solvers.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Labels", "clipped", "fitting", "labels_of", "safe", "thinned", "width_of", "wrapped"]

_NARROW = frozenset("ijlIftr.,:;'|!()[] -/\\`")
_WIDE = frozenset("mwMW@%…—")
_NARROW_EM, _USUAL_EM, _CAPITAL_EM, _WIDE_EM, _FULL_EM = 0.4, 0.62, 0.76, 1.0, 1.4
_SHARED = 0.8  # a beginning is left out where so many of the names have it
_BOUNDARY = re.compile(r"[./:]")


def safe(name: object) -> str:
    """Return a name on one line, its control characters written out; an empty one as two quotes."""
    return printable(str(name)) or '""'


def width_of(text: str, size: float) -> float:
    """Return about how wide a text is in a font of ``size``, in the unit of ``size``."""
    return size * sum(map(_em, text))


def _em(character: str) -> float:
    if character in _NARROW:
        return _NARROW_EM
    if character in _WIDE:
        return _WIDE_EM
    if character.isascii():
        return _CAPITAL_EM if character.isupper() else _USUAL_EM
    if unicodedata.east_asian_width(character) in "WF" or ord(character) > 0xFFFF:
        return _FULL_EM
    return 0.0 if unicodedata.combining(character) else _CAPITAL_EM


def clipped(text: str, room: float, size: float) -> str:
    """Return a text no wider than ``room``: its middle is left out where it is."""
    if width_of(text, size) <= room:
        return text
    left = right = 0
    while left + right < len(text):
        further = (left + 1, right) if left <= right else (left, right + 1)
        if width_of(_around(text, *further), size) > room:
            break
        left, right = further
    return _around(text, left, right)


def _around(text: str, left: int, right: int) -> str:
    return f"{text[:left]}…{text[len(text) - right :]}"


def fitting(text: str, room: float, size: float) -> str:
    """Return a text, or what stands before its first comma where there is no room for all of it."""
    return text if width_of(text, size) <= room else clipped(text.partition(",")[0], room, size)


def wrapped(text: str, room: float, size: float, most_lines: int) -> list[str]:
    """Return a text in at most ``most_lines`` lines no wider than ``room``, broken at spaces; the last is clipped."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width_of(longer, size) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most_lines:
        lines = [*lines[: most_lines - 1], " ".join(lines[most_lines - 1 :])]
    return [clipped(line, room, size) for line in lines]


@dataclass(frozen=True)
class Labels:
    """What names are called in a figure: all different, in the same order; ``prefix`` is what ``…`` stands for."""

    texts: tuple[str, ...]
    prefix: str

    def widest(self, size: float) -> float:
        """Return the width of the widest."""
        return max((width_of(text, size) for text in self.texts), default=0.0)


def labels_of(names: Sequence[str], room: float, size: float) -> Labels:
    """Return labels for names that are all different, each no wider than ``room``."""
    shown = [safe(name) for name in names]
    prefix = _prefix(shown)
    if prefix:
        shown = [
            f"…{text[len(prefix) :]}" if text.startswith(prefix) and text != prefix else text for text in shown
        ]
    texts = [clipped(text, room, size) for text in shown]
    counts = Counter(texts)
    for place, text in enumerate(texts):
        if counts[text] > 1:  # alike once clipped, or written out: numbered
            number = f" #{place}"
            texts[place] = clipped(shown[place], room - width_of(number, size), size) + number
    for place, text in enumerate(texts):
        if text in texts[:place]:
            texts[place] = f"#{place}"
    return Labels(tuple(texts), prefix)


def _prefix(names: Sequence[str]) -> str:
    """The longest beginning, up to a dot or a slash, that nearly all names have and that saves room."""
    counts: Counter[str] = Counter()
    for name in names:
        counts.update(
            name[: found.end()] for found in _BOUNDARY.finditer(name[:200]) if found.end() < len(name)
        )
    wanted = max(2, math.ceil(_SHARED * len(names)))
    shared = [prefix for prefix, count in counts.items() if count >= wanted and len(prefix) > 3]
    return max(shared, key=len, default="")


def thinned(count: int, room: int) -> list[int]:
    """Return which of ``count`` places are named where there is room for ``room``: evenly, the first and the last."""
    if count <= 1 or room <= 1:
        return list(range(min(count, 1)))
    every = math.ceil((count - 1) / (room - 1)) if count > room else 1
    places = list(range(0, count, every))
    if places[-1] != count - 1:
        if count - 1 - places[-1] < every:
            places.pop()
        places.append(count - 1)
    return places
