"""`actstore export`: layers of a store as arrays that other programs read."""

from __future__ import annotations

import click

from cli.result import Result, command
from cli.shared import layers_of, overwrite_option, size, step_option


@command()
@click.argument("store")
@click.option(
    "--layer", "layers", multiple=True, required=True, metavar="L", help="A layer's name; repeatable."
)
@click.option("-o", "--output", required=True, metavar="FILE", help="NAME.npy, NAME.npz or NAME.safetensors.")
@step_option
@overwrite_option
def export(store: str, layers: tuple[str, ...], output: str, step: int | None, overwrite: bool) -> Result:
    """Write layers of STORE as NumPy or safetensors files.

    .npy takes one layer. .npz has it as `activations` (several by their names), with ids, splits, groups and
    positions where there are any, and target:NAME for each target (target:NAME:missing marks rows without a label).
    .safetensors has the layers by their names. NumPy has no bfloat16: it is written as the same values in float32;
    .safetensors keeps it.

    \b
    Example:
      actstore export mnist.h5 --layer fc1 -o fc1.npy
      actstore export mnist.h5 --layer conv1 --layer fc1 -o layers.safetensors
    """
    import actstore
    from actstore.exchange.export import export as export_layers

    with actstore.open(store) as opened:
        done = export_layers(opened.one(step), layers, output, overwrite=overwrite)
    names = list(dict.fromkeys(layers))
    return Result(
        {
            "output": output,
            "rows": done.rows,
            "layers": names,
            "bytes": done.file_bytes,
            "widened": list(done.widened),
        },
        [f"{output}: {layers_of(done.rows, len(names))}, {size(done.file_bytes)}"],
        [
            f"layer {name!r} is bfloat16, which NumPy lacks: written as the same values in float32"
            for name in done.widened
        ],
    )
