"""Predictions as files: .csv, .npz and .parquet, written block by block, which appear only whole."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from solvers.disk.cures import to_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np

    from solvers.probing.probe import Probe
    from solvers.scoring.predictions import Predictions

KINDS = (".csv", ".npz", ".parquet")
_BLOCK_ROWS = 1 << 14


@dataclass(frozen=True)
class Part:
    """What one probe said of the rows of one split."""

    probe: Probe
    split: str
    said: Predictions


def write(parts: Sequence[Part], ids: np.ndarray | None, path: Path, overwrite: bool) -> int:
    """Write the predictions of probes of one target, and return how many rows that is.

    ``ids`` are those of all rows of the store, or None.
    """
    from solvers.disk.new_file import new_file

    kind = {".csv": _write_csv, ".npz": _write_npz, ".parquet": _write_parquet}[path.suffix]
    try:
        with (
            new_file(path, (lambda _: True) if overwrite else None) as descriptor,
            os.fdopen(os.dup(descriptor), "w+b") as file,
        ):
            kind(file, _Table(parts, ids))
    except FileExistsError as error:
        raise click.ClickException(
            f"{path} exists already; choose another name, or say `--overwrite`"
        ) from error
    except OSError as error:
        raise click.ClickException(
            f"{path} could not be written: {error.strerror or error}; {to_write(error)}"
        ) from error
    return sum(len(part.said) for part in parts)


@dataclass(frozen=True)
class _Table:
    """Predictions as columns, a block of rows at a time."""

    parts: Sequence[Part]
    ids: np.ndarray | None

    @property
    def outputs(self) -> np.ndarray:
        """The classes of the probes, in the order of their outputs; several probes of one target have the same."""
        first = self.parts[0].said
        return _as_text(first.classes[: first.outputs])

    def blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield blocks of rows: each column by its name, the probabilities (rows, outputs) as `probability`."""
        for part in self.parts:
            for start in range(0, len(part.said), _BLOCK_ROWS):
                yield self._block(part, slice(start, start + _BLOCK_ROWS))

    def _block(self, part: Part, rows: slice) -> dict[str, np.ndarray]:
        import numpy as np

        said, probe = part.said, part.probe
        classes, index = _as_text(said.classes), said.index[rows]
        columns = {
            "layer": np.full(len(index), probe.layer),
            "step": np.full(len(index), probe.step),
            "seed": np.full(len(index), probe.seed),
            "split": np.full(len(index), part.split),
            "row": index,
        }
        if self.ids is not None:
            columns["id"] = self.ids[index].astype(str)
        columns["truth"] = classes[said.truth[rows]]
        if said.logits is not None:
            logits = said.logits[rows].astype(np.float64)
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            columns["predicted"] = classes[logits.argmax(axis=1)]
            columns["probability"] = odds / odds.sum(axis=1, keepdims=True)
            return columns
        columns["predicted"] = classes[np.asarray(said.predicted)[rows]]
        for name in ("confidence", "nats", "rank"):
            columns[name] = np.asarray(getattr(said, name)[rows])
        return columns


def _as_text(classes: np.ndarray) -> np.ndarray:
    """Classes as they are, bytes as text."""
    import numpy as np

    return np.char.decode(classes, "latin-1") if classes.dtype.kind == "S" else classes


def _spread(columns: dict[str, np.ndarray], outputs: np.ndarray) -> dict[str, np.ndarray]:
    """The columns with one for the probability of each class."""
    spread = {name: array for name, array in columns.items() if name != "probability"}
    if "probability" in columns:
        spread |= {f"p({name})": columns["probability"][:, n] for n, name in enumerate(outputs.tolist())}
    return spread


def _write_csv(file: Any, table: _Table) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\n")
    begun = False
    for block in table.blocks():
        columns = _spread(block, table.outputs)
        if not begun:
            writer.writerow(columns)
            begun = True
        writer.writerows(zip(*(array.tolist() for array in columns.values()), strict=True))
    text.flush()
    text.detach()


def _write_npz(file: Any, table: _Table) -> None:
    """An array of each column, and `classes`, the outputs that the columns of `probability` are of."""
    import numpy as np

    count = sum(len(part.said) for part in table.parts)
    kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
    for block in table.blocks():
        for name, array in block.items():
            known = kinds.get(name, (array.dtype, array.shape[1:]))[0]
            kinds[name] = np.promote_types(known, array.dtype), array.shape[1:]
    with zipfile.ZipFile(file, "w") as archive:
        for name, (dtype, shape) in kinds.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
                np.lib.format.write_array_header_2_0(member, header | {"shape": (count, *shape)})
                for block in table.blocks():
                    member.write(np.ascontiguousarray(block[name], dtype).tobytes())
        with archive.open("classes.npy", "w") as member:
            np.lib.format.write_array(member, np.asarray(table.outputs), allow_pickle=False)


def _write_parquet(file: Any, table: _Table) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise click.ClickException(
            f"a .parquet file needs pyarrow ({error}); install actstore[files], or write .csv or .npz"
        ) from error
    writer = None
    try:
        for block in table.blocks():
            arrow = pa.table({name: pa.array(array) for name, array in _spread(block, table.outputs).items()})
            if writer is None:
                writer = parquet.ParquetWriter(pa.PythonFile(file, "w"), arrow.schema)
            writer.write_table(arrow)
    finally:
        if writer is not None:
            writer.close()
