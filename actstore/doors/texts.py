"""Whether a list of texts names data, or is the data."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from actstore.errors import SourceError
from actstore.formats.containers.kinds import SUFFIXES
from actstore.sources import known_elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["are_specs"]

_OTHERS = (".csv", ".tsv", ".jsonl", ".txt", ".conllu", ".py")
_SPLIT = re.compile(r"^[\w-]+=")
_BLANK = re.compile(r"\s")
_FILE = re.compile(rf".+(?:{'|'.join(map(re.escape, (*SUFFIXES, *_OTHERS)))})(?:\.gz)?(?::.*)?", re.IGNORECASE)
_NAMES = ("digits",)
"""SPECs that are a name alone."""
_LONGEST = 4096
"""Characters of a path."""
_PATH = re.compile(r"[^\s]*(?:[/\\=:]|\.\w{1,12}$)[^\s]*")
"""A word that may be a path or a SPEC with a slip in it, as well as a text."""


def are_specs(texts: Sequence[str]) -> bool:
    """Whether a list names data, as ``--data`` does: each is of a form that is known, or a path that is there.

    Raises:
        SourceError: some are and some are not, or nobody can tell a name with a slip in it from a text.
    """
    told = [_is_spec(text) for text in texts]
    if all(told):
        return True
    stranger = texts[told.index(False)]
    advice = "texts to run are given as one batch, [texts]; data to read by names of files that are there"
    if any(told):
        msg = f"{texts[told.index(True)]!r} names data and {_short(stranger)} does not: {advice}"
        raise SourceError(msg)
    if all(_may_be_a_name(text) for text in texts):
        msg = f"{_short(stranger)} names no data that is there, and may be a text: {advice}"
        raise SourceError(msg)
    return False


def _is_spec(text: str) -> bool:
    """A path that is there, or, in one word (``I read notes.txt`` is a sentence), a form that is known."""
    if len(text) > _LONGEST or not text.strip():
        return False
    spec = _SPLIT.sub("", text)
    if _BLANK.search(text) is None and (
        spec.partition(":")[0] in _NAMES
        or _FILE.fullmatch(spec) is not None
        or (_may_be_a_name(text) and known_elsewhere(spec))
    ):
        return True
    return any(_exists(one) for one in {text, spec, spec.rpartition(":")[0]})


def _may_be_a_name(text: str) -> bool:
    near = difflib.get_close_matches(text.lower(), _NAMES, n=1, cutoff=0.8)
    return bool(near) or _PATH.fullmatch(text) is not None


def _exists(text: str) -> bool:
    try:
        return bool(text) and text not in (".", "..") and Path(text).exists()
    except (OSError, ValueError):  # longer than a name may be, or with a zero in it: no path
        return False


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
