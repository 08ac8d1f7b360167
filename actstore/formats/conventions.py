"""What files of others say of their numbers, by attributes: applied or refused, never ignored."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

MEANINGS = {
    "scale_factor": "its numbers are to be scaled",
    "add_offset": "its numbers are to be shifted",
    "valid_range": "some of its numbers stand for nothing",
    "valid_min": "some of its numbers stand for nothing",
    "valid_max": "some of its numbers stand for nothing",
    "_Unsigned": "its numbers are of another sign",
}
"""Attributes of netCDF, by which numbers mean others; not applied."""

FILLS = ("_FillValue", "missing_value")
NETCDF_FILLS = {
    "f4": 9.969209968386869e36,
    "f8": 9.969209968386869e36,
    "i2": -32767,
    "i4": -2147483647,
    "i8": -9223372036854775806,
    "u2": 65535,
    "u4": 4294967295,
    "u8": 18446744073709551614,
}
"""What netCDF itself writes where nobody wrote a value, by the type; a byte has no such number."""

_SPARSE = "is a sparse matrix, whose parts are no rows; write it dense ({shown}.toarray())"
_ENCODINGS = {
    "csr_matrix": _SPARSE,
    "csc_matrix": _SPARSE,
    "coo_matrix": _SPARSE,
    "categorical": "is a column of categories, whose codes are no labels by themselves; write the column as .csv",
    "dataframe": "is a table of AnnData; write the column as .csv (adata.obs.to_csv), with the ids beside it",
    "nullable-integer": "is a column with gaps, whose values lie apart from its mask; write the column as .csv",
    "nullable-boolean": "is a column with gaps, whose values lie apart from its mask; write the column as .csv",
    "awkward-array": "is a ragged array, whose parts are no rows",
}


def refused_group(attributes: Mapping[str, object], name: str) -> str:
    """Return why nothing below a group is read by itself; "" where nothing is known against it.

    Args:
        attributes: of the group, texts and numbers as they are.
        name: of the group, for the message.
    """
    encoding = attributes.get("encoding-type") or ("csr_matrix" if "h5sparse_format" in attributes else "")
    if encoding in _ENCODINGS:
        return f"{name} {_ENCODINGS[str(encoding)].format(shown=name.rpartition('/')[2])}"
    if "MATLAB_sparse" in attributes:
        return f"{name} is a sparse matrix of MATLAB's, whose parts are no rows; save full({name.rpartition('/')[2]})"
    if "pandas_type" in attributes:
        return (
            f"{name} was written by pandas (HDFStore), which lays columns out in blocks; write .parquet or .npy"
        )
    return ""


def refused_array(attributes: Mapping[str, object], spec: str) -> str:
    """Return why the numbers of an array cannot be taken as they are; "" where nothing is known against it."""
    for name, meaning in MEANINGS.items():
        if name in attributes:
            return (
                f"{spec} has the attribute {name}, by which {meaning} (netCDF); it is not applied. "
                "Write the numbers that are meant, without it"
            )
    return ""


def is_of_rows(name: str, root: Mapping[str, object]) -> bool:
    """Whether an array has a row for each row of the file, as far as its name tells: an AnnData has others, too."""
    if root.get("encoding-type") != "anndata":
        return True
    return name in ("X", "raw/X") or name.startswith(("layers/", "obsm/"))


def number_of(value: object) -> float | int | None:
    """Return a fill value as a number; also as xarray writes it into zarr, in base64. None where it is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in ("NaN", "Infinity", "-Infinity"):
            return float(value)
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return None
        return float(np.frombuffer(data, "<f8")[0]) if len(data) == 8 else None
    return None
