"""Labels as integer codes into a vocabulary: how splits, groups and targets are stored, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import StoreError
from actstore.store.format import NO_LABEL, encode_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CLASSES = {"b": "bools", "i": "ints", "u": "ints", "U": "text"}


def as_labels(name: str, values: np.ndarray) -> np.ma.MaskedArray:
    """Labels as a masked array of native ints, bools or text. StoreError for anything else."""
    data = np.ma.getdata(values)
    if data.dtype.kind == "T" or (
        data.dtype.kind == "O" and all(isinstance(label, str) for label in data.flat)
    ):
        data = data.astype(np.str_)
    if data.dtype.kind not in _CLASSES or data.ndim != 1:
        msg = (
            f"target {name!r} is {data.ndim}-dimensional {data.dtype}; expected one int, bool or text per row. "
            "Mask the rows without a label (numpy.ma), turn other values into classes"
        )
        raise StoreError(msg)
    if data.dtype.kind == "U":
        check_texts(data.tolist(), f"target {name!r}: label")
    return np.ma.MaskedArray(data.astype(data.dtype.newbyteorder("=")), mask=np.ma.getmaskarray(values))


def common_dtype(name: str, dtypes: Sequence[np.dtype]) -> np.dtype:
    """The dtype that holds every label of a target exactly. StoreError where there is none."""
    common = np.result_type(*dtypes) if len({_CLASSES[dtype.kind] for dtype in dtypes}) == 1 else None
    if common is None or common.kind not in _CLASSES:
        msg = (
            f"target {name!r} is {' and '.join(str(dtype) for dtype in dtypes)}; "
            "expected one kind of label throughout. Cast them alike"
        )
        raise StoreError(msg)
    return common


class CodedColumn:
    """One label or none for each of a growing number of rows; the vocabulary is in the order of first sight."""

    def __init__(self, rows_before: int = 0) -> None:
        """A column that begins with ``rows_before`` rows without a label."""
        self._codes = [np.full(rows_before, NO_LABEL, np.int32)]
        self._vocabulary: dict[object, int] = {}
        self.rows = rows_before

    def extend(self, labels: Sequence[object], missing: np.ndarray | None = None) -> None:
        """Add a label per row, none where ``missing``."""
        vocabulary = self._vocabulary
        if missing is None or not missing.any():
            codes = np.array([vocabulary.setdefault(label, len(vocabulary)) for label in labels], np.int32)
        else:
            codes = np.full(len(labels), NO_LABEL, np.int32)
            present = np.flatnonzero(~missing)
            codes[present] = [vocabulary.setdefault(labels[row], len(vocabulary)) for row in present.tolist()]
        self._codes.append(codes)
        self.rows += len(codes)

    def pad(self, rows: int) -> None:
        """Add rows without a label, up to ``rows`` in all."""
        self._codes.append(np.full(rows - self.rows, NO_LABEL, np.int32))
        self.rows = rows

    def codes(self) -> np.ndarray:
        """(rows,) int32."""
        return np.concatenate(self._codes)

    def vocabulary(self) -> list[object]:
        """The labels that the codes count into."""
        return list(self._vocabulary)


def check_texts(texts: Iterable[str], what: str) -> None:
    """StoreError unless fixed-width text can hold every one of ``texts``."""
    for text in set(texts):
        encode_text(text, what)


def encode_texts(texts: Iterable[object]) -> np.ndarray:
    """Checked texts as fixed-width UTF-8."""
    return np.array([str(text).encode("utf-8") for text in texts], np.bytes_)


def decode_texts(data: np.ndarray) -> np.ndarray:
    """Fixed-width UTF-8 as NumPy text."""
    return np.char.decode(data, "utf-8") if data.size else data.astype(np.str_)


def decode(codes: np.ndarray, vocabulary: np.ndarray) -> np.ma.MaskedArray:
    """Labels from codes, masked where there is none. ValueError where a code counts past the vocabulary."""
    if codes.size and not (codes.min() >= NO_LABEL and codes.max() < len(vocabulary)):
        msg = f"codes from {codes.min()} to {codes.max()} for {len(vocabulary)} labels"
        raise ValueError(msg)
    missing = codes == NO_LABEL
    if not len(vocabulary):
        return np.ma.MaskedArray(np.zeros(len(codes), vocabulary.dtype), mask=missing)
    return np.ma.MaskedArray(vocabulary[np.where(missing, 0, codes)], mask=missing)
