"""Hugging Face ``datasets`` on disk: ``FOLDER[:COLUMN]``, as ``save_to_disk`` leaves it; nothing is downloaded.

As data, one column: the one that is named, else the one called ``text``, else the only one of text. Texts come as a
list, words (lists of text) as a list of lists, numbers as an array of the column's own dtype. Columns of classes
(ClassLabel) come along as targets, by the names of the classes; as labels, any column of numbers, booleans or text.
Null, ``""`` and class -1 are no label. A folder with several splits gives them all, or the one that is named
``SPLIT=FOLDER``. Columns of images are not read.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.rows.labels import is_missing
from actstore.sources.base import Batch, LabelColumn, Source
from actstore.sources.row_names import column_of, id_column, texts_of
from actstore.sources.tables import TEXT
from actstore.usercode import explain
from actstore.wording import hint, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

FORMS = "FOLDER of a saved dataset[:COLUMN]"

_SPEC = re.compile(r"(?P<folder>.+?)(?::(?P<column>[^/]+))?", re.DOTALL)
_ONE, _SEVERAL = "state.json", "dataset_dict.json"
_STRINGS = ("string", "large_string")
_NAMING = (*_STRINGS, *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


class DatasetSource:
    """The rows of one column, with the classes of the others."""

    def __init__(self, dataset: Any, column: str, spec: str, folder: Path) -> None:
        self.spec = spec
        self.file = folder
        self.columns = [*dataset.features]
        self.row_ids = _ids(dataset)
        self._dataset = dataset
        self._told: dict[str, np.ndarray] = {}
        self.rows = len(dataset)
        if not self.rows:
            msg = f"{spec} has no rows"
            raise SourceError(msg)
        self._name = column
        self._dtype = _leaf(dataset.features[column])
        own = dataset.select_columns([column])
        self._column = own if self._dtype in _STRINGS else own.with_format("numpy", dtype=_numbers(self._dtype))
        self._targets = {name: _classes(dataset, name) for name in dataset.features if _is_class(dataset, name)}
        self._targets.pop(column, None)

    def column(self, name: str) -> np.ndarray | None:
        """(rows,) a column of the dataset, masked where it says nothing; None where there is no such."""
        if name not in self.columns:
            return None
        if name not in self._told:
            values = _classes if _is_class(self._dataset, name) else _texts
            self._told[name] = values(self._dataset, name)
        return self._told[name]

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Reads rows of the column."""

        def take(places: np.ndarray) -> Batch:
            inputs = self._column[places.tolist()][self._name]
            self._check(inputs, places)
            return Batch(inputs, len(places), {name: labels[places] for name, labels in self._targets.items()})

        yield take

    def opened(self) -> AbstractContextManager[Any]:
        """A saved dataset is no array."""
        msg = f"{self.spec} is a saved dataset; expected an array"
        raise SourceError(msg)

    def _check(self, inputs: Any, places: np.ndarray) -> None:
        if self._dtype in _STRINGS:
            bad = [place for place, text in zip(places, inputs, strict=True) if not _is_text(text)]
            if bad:
                msg = f"{self.spec}, row {bad[0]}: column {self._name!r} lacks its text; the inputs are texts"
                raise SourceError(msg)
        elif not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "iufb":
            where = f"{self.spec}, rows {places[0]} to {places[-1]}"
            msg = f"{where}: column {self._name!r} has rows of several shapes, or null; expected one shape"
            raise SourceError(msg)


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The sources of a saved dataset's splits, or of the one it is."""
    found = _folder(spec)
    if found is None:
        return None
    folder, column = found
    if (folder / _ONE).is_file():
        return [(split, _source(folder, column, spec))]
    splits = _splits(folder)
    if split and split not in splits:
        form = f"{split}={folder}/{splits[0]}"
        msg = f"{spec} has no split {split!r} but {listed(splits)}; name the folder of one, {form}"
        raise SourceError(msg)
    return [(name, _source(folder / name, column, spec)) for name in ([split] if split else splits)]


def labels(spec: str) -> LabelColumn | None:
    """The column of a saved dataset's SPEC."""
    found = _folder(spec)
    if found is None:
        return None
    folder, column = found
    if not (folder / _ONE).is_file():
        splits = _splits(folder)
        msg = f"{spec} has the splits {listed(splits)}; name the folder of one, {folder}/{splits[0]}:COLUMN"
        raise SourceError(msg)
    dataset = _loaded(folder)
    if column is None:
        msg = f"{spec} does not say which column has the labels: {folder}:COLUMN; there are: {_names(dataset)}"
        raise SourceError(msg)
    _check_column(dataset, column, spec)
    ids = None if column == id_column([*dataset.features]) else _ids(dataset)
    if _is_class(dataset, column):
        return LabelColumn(_classes(dataset, column), ids, file=folder)
    values = _values(dataset, column)
    said = [value for value in values if not is_missing(value)]
    if said and not isinstance(said[0], (bool, int, float, str)):
        several = "; labels of words come with words as rows: FILE.conllu" if isinstance(said[0], list) else ""
        msg = (
            f"column {column!r} of {folder} has {type(said[0]).__name__} in its rows; expected a label{several}"
        )
        raise SourceError(msg)
    return LabelColumn(values, ids, file=folder)


def _values(dataset: Any, name: str) -> list[Any]:
    """(rows,) a column as Python's own values."""
    return list(dataset.select_columns([name])[:][name])


def _texts(dataset: Any, name: str) -> np.ma.MaskedArray:
    return column_of(_values(dataset, name))


def _ids(dataset: Any) -> list[str] | None:
    """(rows,) the column that names the rows; None where there is none of text or whole numbers."""
    name = id_column([*dataset.features])
    known = name is not None and str(getattr(dataset.features[name], "dtype", "")) in _NAMING
    return texts_of(_values(dataset, name)) if name is not None and known else None


def _folder(spec: str) -> tuple[Path, str | None] | None:
    """The folder of a saved dataset, and the column; None where the SPEC is none."""
    found = _SPEC.fullmatch(spec)
    for folder, column in [(spec, None), *([(found["folder"], found["column"])] if found else [])]:
        if any((Path(folder) / name).is_file() for name in (_ONE, _SEVERAL)):
            return Path(folder), column
    return None


def _splits(folder: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads((folder / _SEVERAL).read_text(encoding="utf-8"))["splits"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = (
            f"{folder / _SEVERAL} does not say the splits of a saved dataset ({error}); save the dataset again"
        )
        raise SourceError(msg) from error


def _loaded(folder: Path) -> Any:
    if find_spec("datasets") is None:
        msg = f"{folder} is a dataset of Hugging Face datasets, which is not installed; pip install 'actstore[hf]'"
        raise SourceError(msg)
    from datasets import load_from_disk

    try:
        return load_from_disk(str(folder)).with_format(None)
    except Exception as error:
        msg = f"{folder} cannot be read as a saved dataset: {explain(error)}"
        raise SourceError(msg) from error


def _source(folder: Path, column: str | None, spec: str) -> DatasetSource:
    dataset = _loaded(folder)
    if column is None:
        of_text = [name for name, feature in dataset.features.items() if _leaf(feature) in _STRINGS]
        column = TEXT if TEXT in dataset.features else of_text[0] if len(of_text) == 1 else None
    if column is None:
        msg = f"{spec} does not say which column is the input: {folder}:COLUMN; there are: {_names(dataset)}"
        raise SourceError(msg)
    _check_column(dataset, column, spec)
    if _leaf(dataset.features[column]) not in _STRINGS and _numbers(_leaf(dataset.features[column])) is None:
        msg = f"column {column!r} of {folder} holds {dataset.features[column]}; expected text, words or numbers"
        raise SourceError(msg)
    return DatasetSource(dataset, column, spec, folder)


def _check_column(dataset: Any, column: str, spec: str) -> None:
    if column not in dataset.features:
        msg = f"{spec} has no column {column!r}; {hint(column, [*dataset.features])}"
        raise SourceError(msg)


def _names(dataset: Any) -> str:
    return listed([*dataset.features])


def _is_class(dataset: Any, name: str) -> bool:
    return type(dataset.features[name]).__name__ == "ClassLabel"


def _classes(dataset: Any, name: str) -> np.ndarray:
    """(rows,) the names of the classes; masked where there is none."""
    codes = np.array([-1 if code is None else code for code in dataset.select_columns([name])[:][name]])
    names = np.array([*dataset.features[name].names, ""])  # the last for -1, which is masked
    return np.ma.MaskedArray(names[codes], mask=codes < 0)


def _leaf(feature: Any) -> str:
    """The dtype that a column's rows are made of; "" where they are no lists or arrays of one."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    return str(getattr(feature, "dtype", "")) if type(feature).__name__ != "Image" else ""


def _numbers(dtype: str) -> np.dtype | None:
    try:
        found = np.dtype(dtype)
    except TypeError:
        return None
    return found if found.kind in "iufb" else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(word, str) for word in value))
