"""HDF5 with a dataset per sentence, as the structural-probe tools and NeuroX write it: a row per token.

Datasets are called "0", "1", … and are (layers, tokens, features); or (tokens, features) where one layer was written.
``sentence_to_index``, a JSON text of variable length that NeuroX and AllenNLP add, is left unread: HDF5 text of
variable length is where most crashes on damaged files are, and nothing in it is needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from actstore.activations import Captured
from actstore.errors import SourceError
from actstore.exchange.base import ArrayLayer, Facts
from actstore.formats import foreign_hdf5
from actstore.store.format import numpy_dtype
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from actstore.formats.foreign_array import ForeignArray

MARK = "sentence_to_index"
"""Left unread; it tells that the datasets are sentences."""
AXES = ("feature",)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def are_sentences(names: Sequence[str]) -> bool:
    """Whether the names in the root of a file may be those of sentences: any is a number."""
    return any(_NUMBER.fullmatch(name) for name in names)


class SentenceBlock:
    """The tokens of all sentences of a file, in the order of their numbers; the layers are ``layer.0``, ``layer.1``.

    A row's group is its sentence, ``SPLIT/SENTENCE``, its position the index of the token, its id the two together.
    """

    row_unit: str | None = "token"

    def __init__(self, path: Path, split: str, *, known: bool = False) -> None:
        """Look at every sentence. SourceError where the file is none of these, or sentences differ in kind."""
        self.split = split
        self._path = path
        self._prefix = f"{split}/" if split else ""
        found = foreign_hdf5.open_numbered(path)
        self._sentences = self._numbered(found)
        dtype, layers, features, _ = self._look(*next(iter(self._sentences.items())))
        self.layers: Mapping[str, tuple[str, tuple[int, ...]]] = {
            f"layer.{number}": (dtype, (features,)) for number in range(layers)
        }
        tokens = [
            self._tokens(number, data, (dtype, layers, features)) for number, data in self._sentences.items()
        ]
        self.rows = sum(tokens)
        if not self.rows:
            msg = f"{path} has no tokens"
            raise SourceError(msg)
        if not known and MARK not in found.names:
            self._check_not_layers()

    def _numbered(self, found: foreign_hdf5.Answer) -> dict[int, ForeignArray]:
        numbers = [name for name in found.names if _NUMBER.fullmatch(name)]
        other = [name for name in found.names if name not in numbers and name != MARK]
        if other or not numbers:
            msg = (
                f"{self._path} is not HDF5 with a dataset per sentence, called 0, 1, …; it holds {listed(other)}. "
                f"For one dataset write {self._path}:/PATH"
            )
            raise SourceError(msg)
        sentences = {int(one.spec.rpartition("/")[2]): one for one in found.arrays}
        return {number: sentences[number] for number in sorted(sentences)}

    def _check_not_layers(self) -> None:
        """A file with a dataset per *layer*, called by its number, looks the same, but that all have one shape."""
        shapes = {data.shape for data in self._sentences.values()}
        if len(self._sentences) > 1 and len(shapes) == 1:
            msg = (
                f"{self._path} holds {len(self._sentences)} datasets called by numbers, all of shape {shapes.pop()}: "
                "a sentence each, or a layer each? Of sentences say --row token, of layers --row example; one of them "
                f"alone is {self._path}:/{next(iter(self._sentences))}"
            )
            raise SourceError(msg)

    def _look(self, number: int, data: ForeignArray) -> tuple[str, int, int, int]:
        """Dtype, layers, features and tokens of a sentence."""
        if data.ndim not in (2, 3):
            msg = f"{data.spec} has shape {data.shape}; expected (layers, tokens, features)"
            raise SourceError(msg)
        layers, tokens, features = (1, *data.shape)[-3:]
        if not layers:
            msg = f"{data.spec} has no layers"
            raise SourceError(msg)
        dtype = ArrayLayer(data.spec, data.dtype.newbyteorder("=").name, (1,), _nothing).dtype
        return dtype, layers, features, tokens

    def _tokens(self, number: int, data: ForeignArray, expected: tuple[str, int, int]) -> int:
        dtype, layers, features, tokens = self._look(number, data)
        found = dtype, layers, features
        if found != expected:
            first = next(iter(self._sentences))
            msg = (
                f"sentence {number} of {self._path} has {_kind(*found)}, sentence {first} has {_kind(*expected)}; "
                "expected the same throughout"
            )
            raise SourceError(msg)
        return tokens

    def batches(self, nbytes: int) -> Iterator[tuple[Mapping[str, Captured], Facts]]:
        """All rows in order: whole sentences, about ``nbytes`` at a time; a longer sentence in parts."""
        gathered: list[tuple[int, int, np.ndarray]] = []
        size = 0
        for number, data in self._sentences.items():
            for first, part in _parts(data, nbytes):
                if gathered and size + part.nbytes > nbytes:
                    yield self._batch(gathered)
                    gathered, size = [], 0
                gathered.append((number, first, part))
                size += part.nbytes
            data.forget()  # there may be tens of thousands of them
        if gathered:
            yield self._batch(gathered)

    def _batch(self, gathered: list[tuple[int, int, np.ndarray]]) -> tuple[Mapping[str, Captured], Facts]:
        positions = [first + token for _, first, part in gathered for token in range(part.shape[1])]
        groups = [f"{self._prefix}{number}" for number, _, part in gathered for _ in range(part.shape[1])]
        ids = [f"{group}/{position}" for group, position in zip(groups, positions, strict=True)]
        activations = {}
        for index, (name, (dtype, _)) in enumerate(self.layers.items()):
            rows = np.concatenate([part[index] for _, _, part in gathered])
            activations[name] = Captured(rows.astype(numpy_dtype(dtype), copy=False), dtype, AXES)
        return activations, Facts(ids=ids, groups=groups, positions=positions, row_unit=self.row_unit)


def _parts(data: ForeignArray, nbytes: int) -> Iterator[tuple[int, np.ndarray]]:
    """A sentence, (layers, tokens, features), in parts of at most about ``nbytes``, each with its first token."""
    layers, tokens, features = (1, *data.shape)[-3:]
    count = max(1, nbytes // max(1, layers * features * data.dtype.itemsize))
    for first in range(0, tokens, count):
        rows = slice(first, first + count)
        yield first, data[:, rows] if data.ndim == 3 else data[rows][None]


def _nothing(rows: int) -> Iterator[np.ndarray]:
    return iter(())


def _kind(dtype: str, layers: int, features: int) -> str:
    return f"{layers} layers of {features} {dtype}"
