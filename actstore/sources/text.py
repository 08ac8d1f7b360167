r"""Text: ``FILE.txt``, a row per line of UTF-8.

Lines end with ``\n`` or ``\r\n``, which are no part of them; other separators stay in the text. An empty line is a row
like any other (so labels by position stay in step), and a line break at the end of the file begins no further row.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.formats.containers.unpacked import unpacked
from actstore.sources.base import Batch, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

FORMS = "FILE.txt[.gz]"

_BOM = b"\xef\xbb\xbf"
_NEWLINE = ord("\n")


class LinesSource:
    """The lines of a text, which is held as the bytes of its file."""

    def __init__(self, content: bytes, spec: str) -> None:
        self.spec = spec
        self._content = content
        ends = np.flatnonzero(np.frombuffer(content, np.uint8) == _NEWLINE)
        if content and not content.endswith(b"\n"):
            ends = np.append(ends, len(content))
        self._ends = ends
        self.rows = len(ends)
        if not self.rows:
            msg = f"{spec} has no lines; expected a text per line"
            raise SourceError(msg)

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Takes lines: a list of texts."""

        def line(place: int) -> str:
            start = int(self._ends[place - 1]) + 1 if place else 0
            return self._content[start : int(self._ends[place])].decode().removesuffix("\r")

        yield lambda places: Batch([line(int(place)) for place in places], len(places))

    def opened(self) -> AbstractContextManager[Any]:
        """Texts are no array."""
        msg = f"{self.spec} holds text; expected an array of numbers"
        raise SourceError(msg)


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of a text file."""
    if not spec.endswith((".txt", ".txt.gz")):
        return None
    return [(split, LinesSource(_read(Path(spec)), spec))]


def _read(path: Path) -> bytes:
    try:
        content = unpacked(path).read_bytes().removeprefix(_BOM)
        content.decode()  # here, and not at some line in the middle of a dump
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise SourceError(msg) from error
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        msg = f"{path}, line {number}: no UTF-8 ({error.reason}); save the text as UTF-8"
        raise SourceError(msg) from error
    return content
