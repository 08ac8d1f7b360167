"""`actstore pack`: a store as one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.result import Result, Table, command
from cli.shared import layers_of, overwrite_option, size, step_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actstore.store.documents.cast import Cast


@command()
@click.argument("store")
@click.option("-o", "--output", required=True, metavar="FILE.h5", help="Where the file goes.")
@click.option("--dtype", metavar="T", help="Cast layers of floats to float16, bfloat16, float32 or float64.")
@step_option
@overwrite_option
def pack(store: str, output: str, dtype: str | None, step: int | None, overwrite: bool) -> Result:
    """Write all of STORE, which has to be complete, as one ordinary HDF5 file.

    With --dtype, layers of floats are cast (integers are kept), and what that lost is printed and stored: the largest
    error, values too large for T that became infinite, and NaN.

    \b
    Example:
      actstore pack run.acts -o run.h5
      actstore pack run.acts -o run-half.h5 --dtype float16
    """
    from actstore.store.writing.pack import pack_store

    packed = pack_store(store, output, step=step, dtype=dtype, overwrite=overwrite)
    data = {
        "output": output,
        "rows": packed.rows,
        "layers": packed.layers,
        "bytes": packed.file_bytes,
        "casts": {name: {**cast.document(), "to": cast.after} for name, cast in packed.casts.items()},
    }
    line = f"{output}: {layers_of(packed.rows, packed.layers)}, {size(packed.file_bytes)}"
    return Result(data, [line, "", _lost(packed.casts)] if packed.casts else [line])


def _lost(casts: Mapping[str, Cast]) -> Table:
    """Return what casts have lost, a row per layer."""
    return Table(
        ["layer", "from", "to", "largest error", "overflows", "NaN"],
        [
            [name, cast.before, cast.after, f"{cast.largest_error:.3g}", f"{cast.overflows:,}", f"{cast.nan:,}"]
            for name, cast in casts.items()
        ],
    )
