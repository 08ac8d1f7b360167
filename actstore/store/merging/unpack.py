"""Make a folder of a single file, so that steps and labels can be added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actstore.errors import StoreError
from actstore.store.format import FILE_SUFFIX, rank_folder
from actstore.store.merging.one_shard import StepRows, disk_errors_named, named, write_store
from actstore.store.merging.staging import new_folder, staged
from actstore.store.reading.reader import Store, row_table
from actstore.store.reading.reader import open as open_store
from actstore.store.reading.row_hashes import check_row_table

if TYPE_CHECKING:
    from os import PathLike


def unpack(path: str | PathLike[str], out: str | PathLike[str]) -> Store:
    """Write the store in the single file ``path`` as the folder ``out``: the same bits, rows, labels and provenance.

    Every byte that is copied is compared with the hash it was written with. The file stays as it is; the folder is
    there whole or not at all. Its fingerprint is the file's where that was packed from one rank and not cast.

    Args:
        path: ``NAME.h5``.
        out: the folder to make, ``NAME.acts``.

    Returns:
        the store, open.

    Raises:
        StoreError: ``path`` is no single file, or damaged; ``out`` exists, or the disk takes no more.
    """
    if named(path).is_dir():
        msg = f"{path} is a folder already; unpack takes a single file (NAME{FILE_SUFFIX}, of actstore pack)"
        raise StoreError(msg)
    final = new_folder(out, [path])
    with open_store(path) as store, disk_errors_named(final):
        check_row_table(store.catalog)
        contents = store.catalog.base
        rows = StepRows(
            contents.step, row_table(store), store.layers, contents.nonfinite, dict(contents.provenance)
        )
        with staged(final, rank_folder(contents.step, 0)) as staging:
            write_store(staging, final, contents.header, [rows])
    return open_store(final)
