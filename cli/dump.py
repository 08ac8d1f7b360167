"""`actstore dump`: run a model over data and store its activations."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from cli.layers import echo_layers, model_options, parse_arguments
from cli.shared import ProgressLine, overwrite_option, size

if TYPE_CHECKING:
    from actstore.dump import Progress


@click.command()
@model_options
@click.option(
    "--target", "targets", multiple=True, metavar="[SPLIT:]NAME=SPEC", help="A label per row; repeatable."
)
@click.option(
    "--layers", "patterns", multiple=True, metavar="PATTERN", help="A layer's name or a glob; repeatable."
)
@click.option("-o", "--output", metavar="STORE", help="NAME.h5 for one file, NAME.acts for a folder of shards.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N rows of each --data.")
@overwrite_option
def dump(
    patterns: tuple[str, ...], output: str | None, overwrite: bool, limit: int | None, **given: Any
) -> None:
    """Run MODEL over the data and store the activations of the layers asked for.

    MODEL is file.py:name, package.module:name or demo:NAME. In a PATTERN, * stops at dots and ** crosses them;
    re:EXPRESSION is a regular expression; `input` is what goes into the model. Without --layers, the layers are
    listed and nothing is stored.

    \b
    Example:
      actstore dump net.py:make --data train=mnist.npz:x_train --target train:digit=mnist.npz:y_train \\
               --data test=mnist.npz:x_test --target test:digit=mnist.npz:y_test \\
               --layers 'conv*' --layers fc1 -o mnist.h5
    """
    from actstore.dump import DumpSettings
    from actstore.dump import dump as dump_activations
    from actstore.models import load_model
    from actstore.sources import split_data

    if not given["data"]:
        raise click.UsageError(
            "--data is missing: what is the model to run on? For example --data train=images.npy"
        )
    model = load_model(given["model"], parse_arguments(given["arguments"]), given["weights"])
    data = split_data(given["data"], given["targets"])
    if not patterns:
        echo_layers(model, data, given["device"])
        raise click.UsageError(
            "--layers is missing: choose from the layers above, for example --layers '**' for all"
        )
    if output is None:
        raise click.UsageError("-o is missing: where is the store to go? For example -o run.h5")
    settings = DumpSettings(
        layers=patterns,
        batch_size=given["batch_size"],
        limit=limit,
        device=given["device"],
        overwrite=overwrite,
        command=shlex.join(["actstore", *sys.argv[1:]]),
    )
    with ProgressLine() as line:
        store = dump_activations(model, data, output, settings, lambda progress: line.show(_describe(progress)))
    with store:
        click.echo(f"{output}: {store.rows:,} rows of {len(store.layers)} layers")
        for name, rows in store.nonfinite.items():
            if rows:
                click.echo(f"warning: layer {name!r} has NaN or infinities in {rows:,} rows", err=True)


def _describe(progress: Progress) -> str:
    of = f" of {progress.total_rows:,}" if progress.total_rows else ""
    return f"{progress.rows:,}{of} rows, {size(progress.bytes)}"
