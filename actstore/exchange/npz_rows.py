"""The layers of FILE.npz, and what it says of their rows."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from actstore.errors import SourceError
from actstore.exchange.base import Facts
from actstore.exchange.export import MISSING, ONE_LAYER, ROW_NAMES, TARGET
from actstore.formats.containers.base import FileArray
from actstore.formats.numpy_files import open_npz
from actstore.rows.labels import check_size, plain_labels
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read_npz(path: Path, key: str | None, shown: str) -> tuple[dict[str, FileArray], Facts]:
    """The layers of an .npz file, or the one called ``key``, and what arrays of an export's names say of their rows."""
    members = {name: FileArray.of(one, f"{shown}:{name}") for name, one in open_npz(path, key).items()}
    names = [*members]
    if key is not None:
        return {key: members[key]}, Facts()
    about_rows = {name: one for name, one in members.items() if name in ROW_NAMES or name.startswith(TARGET)}
    layers = {name: one for name, one in members.items() if name not in about_rows}
    if not layers:
        msg = f"{path} holds no layer; it holds {listed(names)}"
        raise SourceError(msg)
    rows = next(iter(layers.values())).shape[:1]
    for one in about_rows.values():
        check_size(prod(one.shape), one.values.dtype, one.spec)
    known = {name: one.whole() for name, one in about_rows.items()}
    for name, values in known.items():
        if values.shape != (() if name in ("layer", "row_unit") else rows):
            msg = f"{path}:{name} has shape {values.shape} where the layers have {rows[0]:,} rows; {_ADVICE}"
            raise SourceError(msg)
    if "layer" in known and ONE_LAYER in layers:
        layers = {str(known["layer"]) if name == ONE_LAYER else name: one for name, one in layers.items()}
    return layers, _facts(path, known)


_ADVICE = (
    f"names that an export gives ({', '.join(ROW_NAMES)}, {TARGET}NAME) stand for what is known of the rows. "
    "Name the arrays to import one by one (FILE.npz:KEY)"
)


def _facts(path: Path, known: Mapping[str, np.ndarray]) -> Facts:
    """Return what an export says of its rows."""
    for name in ("ids", "splits", "groups", "layer", "row_unit"):
        if name in known and known[name].dtype.kind != "U":
            msg = f"{path}:{name} is of dtype {known[name].dtype} where text is needed; {_ADVICE}"
            raise SourceError(msg)
    texts = {name: known[name].tolist() if name in known else None for name in ("ids", "splits", "groups")}
    positions = known["positions"].tolist() if "positions" in known else None
    row_unit = str(known["row_unit"]) if "row_unit" in known else None
    targets = {name: plain_labels(labels, f"{path}:{TARGET}{name}") for name, labels in _targets(known).items()}
    return Facts(**texts, positions=positions, targets=targets, row_unit=row_unit)


def _targets(known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [name for name in known if name.startswith(TARGET)]
    masks = {name for name in names if name.endswith(MISSING) and name.removesuffix(MISSING) in names}
    targets = {}
    for name in names:
        if name not in masks:
            mask = known[name + MISSING] if name + MISSING in masks else None
            labels = known[name]
            targets[name.removeprefix(TARGET)] = (
                labels if mask is None else np.ma.MaskedArray(labels, mask.astype(bool))
            )
    return targets
