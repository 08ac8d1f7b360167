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
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import h5py

LEFT_UNREAD = ("sentence_to_index",)
AXES = ("feature",)


class SentenceBlock:
    """The tokens of all sentences of a file, in the order of their numbers; the layers are ``layer.0``, ``layer.1``.

    A row's group is its sentence, ``SPLIT/SENTENCE``, its position the index of the token, its id the two together.
    """

    row_unit: str | None = "token"

    def __init__(self, path: Path, split: str) -> None:
        """Look at every sentence. SourceError where the file is none of these, or sentences differ in kind."""
        self.split = split
        self._path = path
        self._prefix = f"{split}/" if split else ""
        with foreign_hdf5.open_file(path) as file:
            self._numbers = self._sentences(file)
            dtype, layers, features = self._look(file, self._numbers[0])[:3]
            self.layers: Mapping[str, tuple[str, tuple[int, ...]]] = {
                f"layer.{number}": (dtype, (features,)) for number in range(layers)
            }
            self.rows = sum(self._tokens(file, number, (dtype, layers, features)) for number in self._numbers)
            self._check_size(
                file.id.get_filesize(), self.rows * layers * features * numpy_dtype(dtype).itemsize
            )
        if not self.rows:
            msg = f"{path} has no tokens"
            raise SourceError(msg)

    def _sentences(self, file: h5py.File) -> list[int]:
        names = list(file.id)
        other = [
            name.decode("utf-8", "backslashreplace")
            for name in names
            if not re.fullmatch(rb"0|[1-9][0-9]{0,17}", name)
        ]
        other = [name for name in other if name not in LEFT_UNREAD]
        numbers = sorted(int(name) for name in names if name.isdigit())
        if other or not numbers:
            msg = (
                f"{self._path} is not HDF5 with a dataset per sentence, called 0, 1, …; it holds {listed(other)}. "
                f"For one dataset write {self._path}:/PATH"
            )
            raise SourceError(msg)
        return numbers

    def _look(self, file: h5py.File, number: int) -> tuple[str, int, int, int]:
        """Dtype, layers, features and tokens of a sentence."""
        spec = f"{self._path}:/{number}"
        found = foreign_hdf5.open_dataset(file, str(number), spec)
        if found.ndim not in (2, 3):
            msg = f"{spec} has shape {found.shape}; (layers, tokens, features) was expected"
            raise SourceError(msg)
        layers, tokens, features = (1, *found.shape)[-3:]
        if not layers:
            msg = f"{spec} has no layers"
            raise SourceError(msg)
        dtype = ArrayLayer(spec, found.dtype.newbyteorder("=").name, (1,), _nothing).dtype
        return dtype, layers, features, tokens

    def _tokens(self, file: h5py.File, number: int, expected: tuple[str, int, int]) -> int:
        dtype, layers, features, tokens = self._look(file, number)
        found = dtype, layers, features
        if found != expected:
            first = self._numbers[0]
            msg = (
                f"sentence {number} of {self._path} has {_kind(*found)}, sentence {first} has {_kind(*expected)}; "
                "the same were expected throughout"
            )
            raise SourceError(msg)
        return tokens

    def _check_size(self, file_bytes: int, declared: int) -> None:
        """One sentence after the other was found plausible; all of them together have to be, too."""
        if declared > foreign_hdf5.LARGEST_RATIO * file_bytes:
            msg = f"{self._path} declares {declared:,} bytes in a file of {file_bytes:,}; it is not read"
            raise SourceError(msg)

    def batches(self, nbytes: int) -> Iterator[tuple[Mapping[str, Captured], Facts]]:
        """All rows in order: whole sentences, about ``nbytes`` at a time; a longer sentence in parts."""
        gathered: list[tuple[int, int, np.ndarray]] = []
        size = 0
        with foreign_hdf5.open_file(self._path) as file:
            for number in self._numbers:
                for first, part in self._parts(file, number, nbytes):
                    if gathered and size + part.nbytes > nbytes:
                        yield self._batch(gathered)
                        gathered, size = [], 0
                    gathered.append((number, first, part))
                    size += part.nbytes
        if gathered:
            yield self._batch(gathered)

    def _parts(self, file: h5py.File, number: int, nbytes: int) -> Iterator[tuple[int, np.ndarray]]:
        """A sentence, (layers, tokens, features), in parts of at most about ``nbytes``, each with its first token."""
        spec = f"{self._path}:/{number}"
        data = foreign_hdf5.open_dataset(file, str(number), spec)
        shape = (1, *data.shape)[-3:]
        token_bytes = max(1, shape[0] * shape[2] * data.dtype.itemsize)
        count = max(1, nbytes // token_bytes)
        for first in range(0, shape[1], count):
            rows = slice(first, first + count)
            try:
                part = data[:, rows] if data.ndim == 3 else data[rows][None]
            except (OSError, RuntimeError) as error:
                msg = f"{spec} can not be read: {' '.join(str(error).split())}"
                raise SourceError(msg) from error
            yield first, part

    def _batch(self, gathered: list[tuple[int, int, np.ndarray]]) -> tuple[Mapping[str, Captured], Facts]:
        positions = [first + token for _, first, part in gathered for token in range(part.shape[1])]
        groups = [f"{self._prefix}{number}" for number, _, part in gathered for _ in range(part.shape[1])]
        ids = [f"{group}/{position}" for group, position in zip(groups, positions, strict=True)]
        activations = {}
        for index, (name, (dtype, _)) in enumerate(self.layers.items()):
            rows = np.concatenate([part[index] for _, _, part in gathered])
            activations[name] = Captured(rows.astype(numpy_dtype(dtype), copy=False), dtype, AXES)
        return activations, Facts(ids=ids, groups=groups, positions=positions, row_unit=self.row_unit)


def _nothing(rows: int) -> Iterator[np.ndarray]:
    return iter(())


def _kind(dtype: str, layers: int, features: int) -> str:
    return f"{layers} layers of {features} {dtype}"
