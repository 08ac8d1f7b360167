"""`actstore layers`: what a model has to offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.shared import echo_json, echo_table, json_option, shape, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from actstore.sources import SplitData

_MODEL_OPTIONS = (
    click.argument("model"),
    click.option(
        "--data",
        multiple=True,
        metavar="[SPLIT=]SPEC",
        help="FILE.npy, FILE.npz:KEY, FILE.h5:/PATH, FILE.txt, FILE.csv or .jsonl[:COLUMN], FILE.conllu[.gz], "
        "FOLDER of images[:resize=N,crop=N], file.py:name or digits; repeatable.",
    ),
    click.option(
        "--arg",
        "arguments",
        multiple=True,
        metavar="KEY=VALUE",
        help="An argument of the function that makes the model; repeatable.",
    ),
    click.option("--weights", metavar="FILE[:KEY]", help="A state dict to load into the model."),
    click.option(
        "--device", metavar="D", help="Where the model runs, for example cuda:0. Default: where it is."
    ),
    click.option(
        "--autocast",
        type=click.Choice(["bf16", "fp16"]),
        help="Run a torch model under autocast to this precision.",
    ),
    click.option(
        "--trace",
        is_flag=True,
        help="Trace a torch model, so that functional calls between modules are layers.",
    ),
    click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True, metavar="N"),
)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument and options that say which model runs on what."""
    for option in reversed(_MODEL_OPTIONS):
        command = option(command)
    return command


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """``("width=64",)`` as ``{"width": "64"}``."""
    pairs = dict.fromkeys(arguments)
    for text in pairs:
        if "=" not in text:
            raise click.UsageError(f"--arg {text!r} has no '='; write --arg KEY=VALUE")
    return dict(text.split("=", 1) for text in pairs)


@click.command()
@model_options
@json_option
def layers(model: str, data: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """List the layers of MODEL; with --data, one batch is run to know their shapes.

    \b
    Example:
      actstore layers demo:digits --data digits
    """
    from actstore.models import load_model
    from actstore.sources import split_data

    made = load_model(model, parse_arguments(given["arguments"]), given["weights"])
    rows = split_data(data) if data else None
    echo_layers(made, rows, given, as_json=as_json)


def echo_layers(
    model: Any, data: Sequence[SplitData] | None, given: Mapping[str, Any], *, as_json: bool = False
) -> None:
    """Print the layers as a table, or as JSON, without what goes into them; ``given`` has the model's options."""
    from dataclasses import asdict

    from actstore.dump import describe_layers

    options = {"autocast": given["autocast"], "trace": given["trace"]}
    every = describe_layers(model, data, given["device"], **options)
    rows = [row for row in every if not row.goes_in]
    if as_json:
        echo_json([asdict(row) for row in rows])
        return
    echo_table(
        ["layer", "type", "shape of a row", "dtype", "bytes per row"],
        [[row.name, row.type, shape(row.shape), row.dtype or "?", size(row.bytes_per_row)] for row in rows],
    )
    if len(rows) < len(every):
        click.echo("NAME:in is what goes into a layer; name it, or **:in, to store it")
