"""Treebanks: ``FILE.conllu`` or ``FILE.conllu.gz``, sentences whose words are the rows.

Words are the lines with a whole number as ID; multi-word tokens (``1-2``) and empty nodes (``8.1``) are none. The
inputs of a batch are its sentences, each a list of its words (the column FORM). The targets ``upos``, ``xpos``,
``deprel`` (with its subtype) and ``head_distance`` (HEAD - ID: how far to the right the head is; 0 for the root) come
along, ``form`` and ``lemma`` where they are asked for by name alone (``--target form``); as labels,
``FILE.conllu:NAME`` is one of these, or the feature NAME of FEATS. ``_`` is no label, and a feature that a word lacks
is none.

Splits and groups may be named by what comments say of whole sentences (``# speaker = A``); ``newdoc`` and ``newpar``
hold for all sentences up to the next, and are numbered where they have no id.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.formats.treebank import OFFERED, TARGETS, Treebank, read_treebank
from actstore.sources.base import Batch, Source
from actstore.wording import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

FORMS = "FILE.conllu[.gz]"

_SPEC = re.compile(r"(?P<file>.*\.conllu(?:\.gz)?)(?::(?P<name>.*))?", re.DOTALL)


class ConlluSource:
    """The sentences of a treebank; ``rows`` counts sentences, of which each gives as many rows as it has words."""

    row_unit = "word"
    numeric = ("head_distance",)
    """Targets whose numbers are counts: a -1 among them is no mark."""
    brought = TARGETS
    """Targets that come along anyway; to ask for them changes nothing."""
    offered = OFFERED
    """Targets that come along where they are asked for by name alone (``--target form``)."""

    def __init__(self, treebank: Treebank, spec: str) -> None:
        self.spec = spec
        self.rows = treebank.sentences
        self._treebank = treebank
        self._targets = {name: treebank.target(name) for name in TARGETS}
        self.columns = treebank.comments()

    def offer(self, name: str) -> np.ndarray:
        """(words,) a target that is asked for by name alone."""
        return self._treebank.target(name)

    def column(self, name: str) -> np.ma.MaskedArray | None:
        """(rows,) text: what comments say of each sentence, masked where nothing; None where they never say it."""
        return self._treebank.comment(name) if name in self.columns else None

    @property
    def word_counts(self) -> np.ndarray:
        """(rows,) int64: how many words each sentence has."""
        return np.diff(self._treebank.starts)

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Takes sentences: a list of lists of words, with a label per word."""
        starts, forms = self._treebank.starts, self._treebank.forms

        def take(places: np.ndarray) -> Batch:
            spans = [range(starts[place], starts[place + 1]) for place in places]
            words = np.concatenate([np.arange(span.start, span.stop) for span in spans])
            targets = {name: labels[words] for name, labels in self._targets.items()}
            sentences = [forms[span.start : span.stop] for span in spans]
            return Batch(sentences, len(places), targets, words=np.array([*map(len, spans)], np.int64))

        yield take

    def opened(self) -> AbstractContextManager[Any]:
        """Sentences are no array."""
        msg = f"{self.spec} holds sentences; expected an array"
        raise SourceError(msg)


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of a treebank's SPEC."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    if found["name"] is not None:
        msg = f"{spec} names labels; data is the words of {found['file']}, labels go to --target NAME={spec}"
        raise SourceError(msg)
    return [(split, ConlluSource(read_treebank(Path(spec)), spec))]


def labels(spec: str) -> np.ndarray | None:
    """(words,) one target or feature of every word of a treebank's SPEC."""
    found = _SPEC.fullmatch(spec)
    if found is None:
        return None
    name = found["name"]
    treebank = read_treebank(Path(found["file"]))
    if name in (*TARGETS, *OFFERED):
        return treebank.target(name)
    features = treebank.features()
    if name not in features:
        known = [*TARGETS, *OFFERED, *features]
        what = f"has no {name!r}" if name else "does not say which labels: FILE.conllu:NAME"
        msg = f"{found['file']} {what}; {hint(name or '', known)}"
        raise SourceError(msg)
    return treebank.feature(name)
