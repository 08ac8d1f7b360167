"""Treebanks in the CoNLL-U format (https://universaldependencies.org/format.html), held in compact arrays."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError
from actstore.formats.containers.unpacked import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TARGETS = ("upos", "xpos", "deprel", "head_distance")
"""What every word has a label of; the features of FEATS are few words' each."""
OFFERED = ("form", "lemma")
"""What a word is, which is a label where somebody asks for it by name."""

_ID, _FORM, _HEAD = 0, 1, 6
_COLUMNS = 10
_CODED = {"form": 1, "lemma": 2, "upos": 3, "xpos": 4, "feats": 5, "deprel": 7}
_WORD_ID = re.compile(r"[1-9][0-9]{0,8}")
_HEAD_ID = re.compile(r"0|[1-9][0-9]{0,8}|_")
_OTHER_ID = re.compile(r"[0-9]+[-.][0-9]+")  # 1-2, a multi-word token; 8.1, an empty node
_NOTHING = "_"
_LASTING = ("newdoc", "newpar")


class Treebank:
    """The words of a file and what is said of them.

    Args:
        path: of the file, for messages.

    ``forms`` has all words; sentence i has those from ``starts[i]`` to ``starts[i + 1]``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.forms: list[str] = []
        self.starts = np.zeros(1, np.int64)
        self._distances = np.ma.MaskedArray(np.zeros(0, np.int64))
        self._comments: list[dict[str, str]] = []
        self._codes: dict[str, np.ndarray] = {}
        self._texts: dict[str, list[str]] = {}

    @property
    def sentences(self) -> int:
        """How many there are."""
        return len(self.starts) - 1

    def target(self, name: str) -> np.ndarray:
        """(words,) one of ``TARGETS`` or ``OFFERED``, masked where the file says ``_``."""
        return self._distances if name == "head_distance" else self._labels(name, self._texts[name])

    def features(self) -> list[str]:
        """The names that occur in FEATS."""
        return sorted({name for text in self._texts["feats"] for name in _features(text)})

    def feature(self, name: str) -> np.ndarray:
        """(words,) a feature, masked where a word lacks it."""
        return self._labels("feats", [_features(text).get(name, "") for text in self._texts["feats"]])

    def comments(self) -> list[str]:
        """The names of what comments say of sentences."""
        return sorted({name for of_sentence in self._comments for name in of_sentence})

    def comment(self, name: str) -> np.ma.MaskedArray:
        """(sentences,) text: what a comment of this name says, masked where there is none."""
        texts = [of_sentence.get(name, "") for of_sentence in self._comments]
        return np.ma.MaskedArray(np.array(texts, np.str_), mask=[not text for text in texts])

    def _labels(self, column: str, texts: Sequence[str]) -> np.ma.MaskedArray:
        """(words,) text by the codes of a column; where the text is empty, there is no label."""
        values = np.array(texts, np.str_)
        codes = self._codes[column]
        return np.ma.MaskedArray(values[codes], mask=(values == "")[codes])

    def read(self, lines: Iterator[str]) -> None:
        """Take the words out of the lines of a file.

        Raises:
            SourceError: a line that is not CoNLL-U, by its number.
        """
        codes: dict[str, list[int]] = {name: [] for name in _CODED}
        known: dict[str, dict[str, int]] = {name: {"": 0} for name in _CODED}
        shared: dict[str, str] = {}  # one str for all words of a form
        heads: list[int] = []
        starts = [0]
        number = 0
        said = _Comments()
        for number, line in enumerate(lines, start=1):
            text = line.rstrip("\r\n")
            if not text or text.isspace():
                if self._end_sentence(starts, heads, number):
                    self._comments.append(said.of_sentence())
                continue
            if text[0] == "#":
                said.add(text)
                continue
            cells = self._cells(text, number)
            if cells is None:
                continue
            self._check_next(cells, len(self.forms) - starts[-1] + 1, number)
            form = cells[_FORM]
            self.forms.append(shared.setdefault(form, form))
            heads.append(-1 if cells[_HEAD] == _NOTHING else int(cells[_HEAD]))
            for name, place in _CODED.items():
                is_word = cells[place] == cells[_FORM]  # ``_`` may be the word itself, and its own lemma
                cell = "" if cells[place] == _NOTHING and not (is_word and name in OFFERED) else cells[place]
                codes[name].append(known[name].setdefault(cell, len(known[name])))
        if self._end_sentence(starts, heads, number + 1):
            self._comments.append(said.of_sentence())
        if not self.forms:
            msg = f"{self.path} has no words; expected sentences in the CoNLL-U format"
            raise SourceError(msg)
        self.starts = np.array(starts, np.int64)
        self._distances = _distances(np.array(heads, np.int64), self.starts)
        self._codes = {name: np.array(values, np.int32) for name, values in codes.items()}
        self._texts = {name: [*texts] for name, texts in known.items()}

    def _cells(self, text: str, number: int) -> list[str] | None:
        """The columns of a word; None for what is no word."""
        cells = text.split("\t")
        if len(cells) != _COLUMNS:
            raise self._wrong(number, f"{len(cells)} columns, expected {_COLUMNS}, separated by tabs")
        if _WORD_ID.fullmatch(cells[_ID]):
            return cells
        if _OTHER_ID.fullmatch(cells[_ID]):
            return None
        raise self._wrong(number, f"the ID {cells[_ID]!r}, expected 1, 1-2 or 1.1")

    def _check_next(self, cells: Sequence[str], expected: int, number: int) -> None:
        if int(cells[_ID]) != expected:
            what = f"word {cells[_ID]}, expected word {expected} of the sentence"
            raise self._wrong(number, f"{what} (a blank line ends a sentence)")
        if not cells[_FORM]:
            raise self._wrong(number, "word without a FORM")
        if not _HEAD_ID.fullmatch(cells[_HEAD]) or cells[_HEAD] == cells[_ID]:
            raise self._wrong(number, f"the HEAD {cells[_HEAD]!r}, expected 0, _ or another word's ID")

    def _end_sentence(self, starts: list[int], heads: Sequence[int], number: int) -> bool:
        """Note where the next sentence starts, if there was a word since the last; whether there was."""
        words = len(heads) - starts[-1]
        if not words:
            return False
        highest = max(heads[starts[-1] :])
        if highest > words:
            raise self._wrong(
                number - 1, f"the sentence that ends here has {words} words, but a HEAD is {highest}"
            )
        starts.append(len(heads))
        return True

    def _wrong(self, number: int, what: str) -> SourceError:
        return SourceError(f"{self.path}, line {number}: {what}; mend the file (CoNLL-U)")


class _Comments:
    """What comments say: of one sentence, or of all up to the next that begins a document or a paragraph."""

    def __init__(self) -> None:
        self._own: dict[str, str] = {}
        self._lasting: dict[str, str] = {}
        self._begun = dict.fromkeys(_LASTING, 0)

    def add(self, line: str) -> None:
        """Take note of a comment, ``# NAME = VALUE`` or ``# newdoc``; others say nothing."""
        name, is_pair, value = (part.strip() for part in line[1:].partition("="))
        word = name.partition(" ")[0]
        if word in _LASTING:
            self._begun[word] += 1
            self._lasting[word] = value or f"{word} {self._begun[word]}"
        elif is_pair and name and value:
            self._own[name] = value

    def of_sentence(self) -> dict[str, str]:
        """Return what is said of the sentence that ends here."""
        said, self._own = {**self._lasting, **self._own}, {}
        return said


def read_treebank(path: Path) -> Treebank:
    """The words of a ``.conllu`` or ``.conllu.gz`` file.

    Raises:
        SourceError: no such file, one that cannot be read, or a line that is not CoNLL-U.
    """
    treebank = Treebank(path)
    try:
        with unpacked(path).open(encoding="utf-8-sig", newline="\n") as file:
            treebank.read(iter(file))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as CoNLL-U (UTF-8): {error}"
        raise SourceError(msg) from error
    return treebank


def _distances(heads: np.ndarray, starts: np.ndarray) -> np.ma.MaskedArray:
    """(words,) int64: HEAD - ID, 0 for the root (whose HEAD is 0), masked where HEAD is ``_`` (here -1)."""
    ids = np.arange(1, len(heads) + 1) - np.repeat(starts[:-1], np.diff(starts))
    return np.ma.MaskedArray(np.where(heads > 0, heads - ids, 0), mask=heads < 0)


def _features(text: str) -> dict[str, str]:
    """``Case=Nom|Number=Sing`` by name."""
    pairs = (pair.partition("=") for pair in text.split("|"))
    return {name: value for name, _, value in pairs if value}
