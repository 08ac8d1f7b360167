"""The names of docs/format.md: files, HDF5 paths and dtypes are spelled here alone, JSON keys in ``documents``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TypeAlias

import numpy as np

from actstore.errors import StoreError

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None

FORMAT = "actstore"
VERSION = 1
ROW_UNITS = EXAMPLE, TOKEN, WORD = ("example", "token", "word")

BFLOAT16 = "bfloat16"
FLOATS = ("float16", "float32", "float64", BFLOAT16)
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = (*FLOATS, *INTEGERS, "bool")

FOLDER_SUFFIX = ".acts"
FILE_SUFFIX = ".h5"
PARTIAL_SUFFIX = ".partial"

STORE_JSON = "store.json"
JOURNAL = "journal"
STEPS = "steps"
STEP_JSON = "step.json"
COMPLETE = "COMPLETE"
LOCK = "lock"
TARGETS = "targets"
PACKED = "packed.h5"

LAYER_NAMES = "layer_names"
TARGET_NAMES = "target_names"
ROW_ID = "rows/id"
ROW_SPLIT = "rows/split"
ROW_GROUP = "rows/group"
ROW_POSITION = "rows/position"
MANIFEST = "manifest"

NO_LABEL = -1
HASH_BLOCK_BYTES = 4 * 2**20
MOST_AXES = 32  # of a dataset in HDF5 (H5S_MAX_RANK)
MOST_RANKS = 1_000_000
"""A document that says more is damaged, and is not counted through."""


@dataclass(frozen=True)
class StoredLayer:
    """What every row of a layer is.

    Args:
        name: as the model calls it; any text.
        dtype: one of ``DTYPES``.
        shape: the features of one row; () for a scalar.
        axes: the name of each feature axis.
        order: place in the order of calls, from 0.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    order: int

    @property
    def row_bytes(self) -> int:
        """Bytes that one row takes in a shard."""
        return prod(self.shape) * numpy_dtype(self.dtype).itemsize


def step_folder(step: int) -> str:
    """Where a step lies in a store's folder."""
    return f"{STEPS}/{step}"


def is_step(value: object) -> bool:
    """Whether ``value`` is the number of a training step, which has a folder."""
    return type(value) is int and 0 <= value < 10**12


def rank_folder(step: int, rank: int) -> str:
    """Where the shards of one rank lie in a store's folder."""
    return f"{step_folder(step)}/rank-{rank:04d}"


def is_rank_folder(name: str) -> bool:
    """Whether ``name`` is one that ``rank_folder`` gives to a rank."""
    return re.fullmatch(r"rank-([0-9]{4}|[1-9][0-9]{4,8})", name) is not None


def shard_name(number: int) -> str:
    """The file of the shard with this number, counted from 0."""
    return f"shard-{number:06d}{FILE_SUFFIX}"


def is_shard_name(name: str) -> bool:
    """Whether ``name`` is a shard's file name, and so stays inside its folder."""
    return re.fullmatch(r"shard-([0-9]{6}|[1-9][0-9]{6,11})\.h5", name) is not None


def attached_name(number: int) -> str:
    """The file of an attached target, counted from 0."""
    return f"{TARGETS}/{number:06d}{FILE_SUFFIX}"


def is_attached_name(name: str) -> bool:
    """Whether ``name`` is a file that ``attached_name`` gives, and so stays inside its folder."""
    return re.fullmatch(r"targets/[0-9]{6}\.h5", name) is not None


@lru_cache(maxsize=256)
def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype whose bytes a dataset of dtype ``name`` holds; bfloat16 as its bits, in uint16.

    Raises ValueError for a name that is neither in ``DTYPES`` nor "S" and a width in bytes.
    """
    if re.fullmatch(r"S[1-9][0-9]{0,9}", name):
        return np.dtype(name)
    if name not in DTYPES:
        msg = f"dtype {name!r} is none of {', '.join(DTYPES)}"
        raise ValueError(msg)
    return np.dtype("uint16" if name == BFLOAT16 else name).newbyteorder("<")


def text_dtype(array: np.ndarray) -> str:
    """The name of a fixed-width text dtype, from a NumPy array of bytes."""
    return f"S{max(1, array.dtype.itemsize)}"


def link_name(name: str) -> str:
    """``name`` as one component of an HDF5 path: ``%`` and ``/`` as %25 and %2F, and the names HDF5 lacks."""
    special = {"": "%", ".": "%2E", "..": "%2E%2E"}
    return special.get(name) or name.replace("%", "%25").replace("/", "%2F")


def layer_path(name: str) -> str:
    """Where a layer's activations lie in a shard."""
    return f"layers/{link_name(name)}"


def target_path(name: str) -> str:
    """The group that holds a target's codes and values."""
    return f"targets/{link_name(name)}"


def codes_path(column: str) -> str:
    """Where the codes of a coded column lie, -1 for a row without a label."""
    return f"{column}/codes"


def values_path(column: str) -> str:
    """Where the vocabulary lies that the codes count into."""
    return f"{column}/values"


def is_row_column(path: str) -> bool:
    """Whether the dataset at ``path`` has an entry for each row, beside the activations."""
    coded = path.startswith(("rows/", "targets/")) and path.endswith(codes_path(""))
    return coded or path in (ROW_ID, ROW_POSITION)


def encode_text(text: object, what: str) -> bytes:
    """UTF-8 of a name, an id or a label. StoreError where a fixed-width text could not give it back."""
    if not isinstance(text, str):
        msg = f"{what} {text!r} is of type {type(text).__name__}; expected text. Turn it into one with str()"
        raise StoreError(msg)
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        msg = f"{what} {text!r} is not valid Unicode text; rename it before it is stored"
        raise StoreError(msg) from None
    if b"\0" in data:
        msg = f"{what} {text!r} contains a NUL character, which fixed-width text cannot hold; rename it"
        raise StoreError(msg)
    return data
