"""Small stores with everything that a store can have, to be damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore.activations import Captured, RowBatch
from actstore.store.disk.output import WholeFile
from actstore.store.documents.folder import TARGET, read_header
from actstore.store.documents.records import FileRecord
from actstore.store.documents.row_table import RowTable, TableRows
from actstore.store.documents.shard import write_columns
from actstore.store.documents.steps import list_in_store
from actstore.store.documents.write_place import WritePlace
from actstore.store.format import TARGET_NAMES, attached_name, target_path
from actstore.store.writing.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 24
STORES = ("whole.acts", "single.h5")


def batch(first: int, rows: int, seed: int) -> RowBatch:
    """Rows from ``first`` on: several dtypes and shapes, splits, groups, labels that are numbers and text."""
    numbers = np.arange(first, first + rows)
    rng = np.random.default_rng([seed, first])
    layers = {
        "conv1": Captured(rng.normal(size=(rows, 3, 40)).astype("f4"), "float32", ("channel", "x")),
        "block/0%": Captured(rng.normal(size=(rows, 30)).astype("f2"), "float16", ("feature",)),
        "brain": Captured(rng.integers(0, 2**15, (rows, 20)).astype("u2"), "bfloat16", ("feature",)),
        "norm": Captured(rng.normal(size=rows), "float64", ()),
        "wide": Captured(rng.normal(size=(rows, 1500)).astype("f4"), "float32", ("feature",)),
        "none": Captured(np.empty((rows, 0), "i4"), "int32", ("feature",)),
    }
    return RowBatch(
        layers,
        ids=[f"row/{number}" for number in numbers],
        splits=["train" if number % 3 else "test" for number in numbers],
        targets={"digit": numbers % 10, "word/é": np.array(["ab", "c", "def"])[numbers % 3]},
        groups=[f"group {number // 4}" for number in numbers],
        positions=(numbers % 4).tolist(),
    )


def build(folder: Path) -> None:
    """Write the stores of ``STORES`` into ``folder``."""
    path = folder / STORES[0]
    for step in (0, 7):
        for rank in (0, 1):
            place = WritePlace(step, rank, 2, rank * ROWS // 2, ROWS // 2)
            with Writer(path, place=place, row_unit="token", shard_bytes=3000) as writer:
                for first in range(rank * ROWS // 2, (rank + 1) * ROWS // 2, 4):
                    writer.append(batch(first, 4, step))
    attach(path, "late", np.array([number % 5 for number in range(ROWS)]))
    with Writer(folder / STORES[1], row_unit="token", provenance={"command": "made by a test"}) as writer:
        writer.append(batch(0, ROWS, 0))


def attach(folder: Path, name: str, labels: np.ndarray) -> None:
    """Add a target in a file of its own, as the format says."""
    table = RowTable.of(TableRows([b""] * len(labels), [""] * len(labels), None, None, {name: labels}))
    wanted = (TARGET_NAMES, target_path(name) + "/")
    columns = {path: column for path, column in table.columns().items() if path.startswith(wanted)}
    path = folder / attached_name(0)
    path.parent.mkdir()
    file = FileRecord(*write_columns(WholeFile(path, replace=True), columns))
    record = {TARGET: name, "file": attached_name(0), "rows": len(labels), **file.document()}
    list_in_store(folder, read_header(folder), record)
