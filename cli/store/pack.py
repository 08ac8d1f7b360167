"""`actstore pack`: a store as one file."""

from __future__ import annotations

import click

from cli.shared import echo_table, layers_of, overwrite_option, size, step_option


@click.command()
@click.argument("store")
@click.option("-o", "--output", required=True, metavar="FILE.h5", help="Where the file goes.")
@click.option("--dtype", metavar="T", help="Cast layers of floats to float16, bfloat16, float32 or float64.")
@step_option
@overwrite_option
def pack(store: str, output: str, dtype: str | None, step: int | None, overwrite: bool) -> None:
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
    click.echo(f"{output}: {layers_of(packed.rows, packed.layers)}, {size(packed.file_bytes)}")
    if packed.casts:
        click.echo()
        echo_table(
            ["layer", "from", "to", "largest error", "overflows", "NaN"],
            [
                [
                    name,
                    cast.before,
                    cast.after,
                    f"{cast.largest_error:.3g}",
                    f"{cast.overflows:,}",
                    f"{cast.nan:,}",
                ]
                for name, cast in packed.casts.items()
            ],
        )
