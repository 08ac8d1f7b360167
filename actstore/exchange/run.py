"""Import files into a store, a few megabytes at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from actstore.activations import RowBatch
from actstore.errors import SourceError
from actstore.exchange.specs import Spec, blocks, check_once, parse
from actstore.provenance import versions
from actstore.rows.ids import RowIds
from actstore.store.disk.output import check_room
from actstore.store.format import FILE_SUFFIX, ROW_UNITS, numpy_dtype
from actstore.store.writing.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from os import PathLike

    from actstore.exchange.base import Block
    from actstore.store.format import JSON
    from actstore.store.reading.reader import Store

BATCH_BYTES = 16 * 2**20
PIECE_BYTES = 2**20


@dataclass(frozen=True)
class ImportSettings:
    """How to import.

    Args:
        split: the split of rows whose file names none, and whose file does not say.
        layer: what the only layer is called; None for the file's or the array's own name.
        row_unit: what a row is; None for what the files say, "example" where they do not.
        overwrite: replace an existing store, once the new one is whole.
        command: the command line, for the provenance.
    """

    split: str = ""
    layer: str | None = None
    row_unit: str | None = None
    overwrite: bool = False
    command: str = ""


def import_files(
    specs: Sequence[str],
    out: str | PathLike[str],
    settings: ImportSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Store:
    """Store the activations in files that others wrote, ``[SPLIT=]FILE`` each (see ``specs.FORMS``).

    Args:
        specs: the files; rows come split after split, and within one in the order of the files.
        out: ``NAME.acts`` or ``NAME.h5``.
        settings: how.
        progress: called with the rows so far and the rows in all.

    Raises:
        ActstoreError: a file is not there, not sound or not safe to read; layers or rows do not go together; the
            store exists, or cannot be written.
    """
    settings = settings or ImportSettings()
    if not specs:
        msg = "there is no file to import; name some"
        raise SourceError(msg)
    parsed = [parse(text, settings.split) for text in specs]
    check_once(parsed)
    found = blocks(parsed, settings.layer, settings.row_unit)
    files = _Files(parsed)
    row_unit = settings.row_unit or _row_unit(found)
    read = [spec.path for spec in parsed]
    with Writer(out, row_unit=row_unit, overwrite=settings.overwrite, inputs=read) as writer:
        _check_room(out, found)
        writer.note(**{"import": files.document()}, versions=versions(), command=settings.command)
        done, total = 0, sum(block.rows for block in found)
        for batch in _batches(found):
            writer.append(batch)
            done += len(batch.ids)
            if progress is not None:
                progress(done, total)
        files.check()
        return writer.finish()


def _check_room(out: str | PathLike[str], found: Sequence[Block]) -> None:
    """StoreError where the disk has no room for the activations; for a single file, which is staged first, twice."""
    row_bytes = sum(prod(shape) * numpy_dtype(dtype).itemsize for dtype, shape in found[0].layers.values())
    path = Path(os.path.abspath(out))
    check_room(path, sum(block.rows for block in found) * row_bytes * (2 if path.suffix == FILE_SUFFIX else 1))


def _batches(found: Sequence[Block]) -> Iterator[RowBatch]:
    """All rows in order; splits and ids are made up for those that came without."""
    numbered = RowIds()
    for block in found:
        for activations, facts in block.batches(BATCH_BYTES):
            rows = len(next(iter(activations.values())).array)
            splits = [block.split] * rows if block.split or facts.splits is None else facts.splits
            defaults = numbered.of(splits)
            ids = defaults if facts.ids is None else facts.ids
            yield RowBatch(activations, ids, splits, facts.targets, facts.groups, facts.positions)


def _row_unit(found: Sequence[Block]) -> str:
    units = {block.row_unit for block in found} - {None}
    if len(units) > 1 or not units <= set(ROW_UNITS):
        msg = f"the files hold rows of {', '.join(map(repr, sorted(map(str, units))))}; say what a row is with --row"
        raise SourceError(msg)
    return next(iter(units), None) or "example"


class _Files:
    """Files that are hashed before they are read, and have to be the same ones afterwards."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        self._specs = specs
        self._stamps = {spec.path: _stamp(spec.path) for spec in specs}

    def document(self) -> list[JSON]:
        hashes = {path: _hash(path) for path in self._stamps}
        return [
            {
                "file": spec.text,
                "split": spec.split,
                "bytes": self._stamps[spec.path][0],
                "xxh3_128": hashes[spec.path],
            }
            for spec in self._specs
        ]

    def check(self) -> None:
        for path, stamp in self._stamps.items():
            if _stamp(path) != stamp:
                msg = f"{path} changed while it was imported; import it again once it is whole"
                raise SourceError(msg)


def _stamp(path: Path) -> tuple[int, int]:
    """The bytes of a file, or of all in a folder, and when the last of them was changed."""
    found = [os.stat(one) for one in _files(path)]
    return sum(one.st_size for one in found), max((one.st_mtime_ns for one in found), default=0)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.rglob("*") if one.is_file())


def _hash(path: Path) -> str:
    """The hash of a file's bytes; of a folder, that of the names and bytes of all its files, in order."""
    state = xxhash.xxh3_128()
    for one in _files(path):
        if one != path:
            state.update(f"{one.relative_to(path).as_posix()}\0{one.stat().st_size}\0".encode())
        with one.open("rb", buffering=0) as file:
            while piece := file.read(PIECE_BYTES):
                state.update(piece)
    return state.hexdigest()
