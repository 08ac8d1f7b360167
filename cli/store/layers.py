"""`actstore layers`: what a model has to offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.result import Result, Table, checked_beforehand, command
from cli.shared import exclude_option, layer_count, shape, shown_warnings, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from actstore.adapters import ModelLayer
    from actstore.sources import SplitData

_MODEL_OPTIONS = (
    click.argument("model"),
    click.option(
        "--data",
        multiple=True,
        metavar="[SPLIT=]SPEC",
        help="FILE.npy, FILE.npz:KEY, FILE.h5:/PATH, FILE.txt, FILE.csv or .jsonl[:COLUMN], FILE.conllu[.gz], "
        "FOLDER of images[:resize=N,crop=N], FOLDER of a saved dataset[:COLUMN], file.py:name or digits; repeatable.",
    ),
    click.option(
        "--arg",
        "arguments",
        multiple=True,
        metavar="KEY=VALUE",
        help="An argument of the function that makes the model; repeatable.",
    ),
    click.option("--weights", metavar="FILE[:KEY]", help="Weights to load into the model."),
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
    click.option(
        "--batch-axis",
        multiple=True,
        metavar="PATTERN=N",
        help="Which axis of layers is the rows of the batch, counted from 0, where it is not the first: "
        "'encoder.*=1'; repeatable, the last that fits counts.",
    ),
    click.option(
        "--truncate",
        is_flag=True,
        help="Cut texts that are longer than the model takes; they are refused otherwise.",
    ),
    click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True, metavar="N"),
)


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The argument and options that say which model runs on what."""
    for option in reversed(_MODEL_OPTIONS):
        function = option(function)
    return function


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """``("width=64",)`` as ``{"width": "64"}``."""
    pairs = dict.fromkeys(arguments)
    for text in pairs:
        if "=" not in text:
            raise click.UsageError(f"--arg {text!r} has no '='; write --arg KEY=VALUE")
    return dict(text.split("=", 1) for text in pairs)


@command()
@model_options
@click.option(
    "--layers",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="List these alone, and what a dump of them takes; as of `actstore dump`. Repeatable.",
)
@exclude_option
def layers(model: str, data: tuple[str, ...], **given: Any) -> Result:
    """List the layers of MODEL in call order; with --data, two rows are run to know shapes, axes and sizes.

    A layer that gives nothing to store says why.

    \b
    Examples:
      actstore layers demo:digits --data digits
      actstore layers demo:digits --data digits --layers '*' --exclude-layers logits
    """
    from actstore.models import load_model
    from actstore.patterns import check_batch_axes, check_patterns
    from actstore.sources import split_data

    arguments = parse_arguments(given["arguments"])
    with shown_warnings(), checked_beforehand():
        check_patterns([*given["patterns"], *given["exclude_layers"]])
        check_batch_axes(given["batch_axis"])
        check_weights(given["weights"])
        rows = split_data(data) if data else None
    return layers_result(load_model(model, arguments, given["weights"]), rows, given)


def check_weights(weights: str | None) -> None:
    """Refuse a file of weights that is not there, before the model is built."""
    from actstore.models import weights_file

    if weights is not None:
        weights_file(weights)


def layers_result(model: Any, data: Sequence[SplitData] | None, given: Mapping[str, Any]) -> Result:
    """Return the layers in call order, with what a dump of the data would take.

    ``given`` has the options of the command. What goes into layers is left out, unless a pattern asks for it.
    """
    from actstore.activations import INPUT
    from actstore.dumping.dump import describe_layers
    from actstore.patterns import goes_in

    options = {name: given[name] for name in ("autocast", "trace", "batch_axis", "truncate")}
    every = describe_layers(model, data, given["device"], **options)
    usual = [layer for layer in every if not goes_in(layer)]
    # With data and without, chosen or not, a layer has the same number.
    orders = {
        layer.name: order
        for order, layer in enumerate(usual, start=0 if usual and usual[0].type == INPUT else 1)
    }
    chosen = _chosen(every, given, ran=bool(data))
    rows = _row_count(data, given)
    found = [_described(orders.get(layer.name), layer, rows) for layer in (usual if chosen is None else chosen)]
    sizes = [layer for layer in found if chosen is not None or not layer["explicit"]]
    total = None if rows is None else sum(layer["dump_bytes"] or 0 for layer in sizes)
    hidden = chosen is None and len(usual) < len(every)
    counted = "all layers that '**' picks" if chosen is None else f"the {layer_count(len(chosen))} listed"
    return Result(
        {"rows": rows, "layers": found, "dump_bytes": total},
        list(
            _text(found, "" if total is None else f"{rows:,} rows: {size(total)} for {counted}", hidden=hidden)
        ),
    )


def _chosen(every: Sequence[ModelLayer], given: Mapping[str, Any], *, ran: bool) -> list[ModelLayer] | None:
    """The layers that `--layers` and `--exclude-layers` choose, as a dump would; None where neither was given.

    Where nothing ``ran``, nobody knows which layers can be stored, and none is refused.
    """
    from actstore.patterns import named_by, none_left, select

    patterns, exclude = given.get("patterns", ()), given.get("exclude_layers", ())
    if not patterns and not exclude:
        return None
    patterns = patterns or ("**",)
    if ran:
        return select(patterns, every, exclude)
    picked = named_by(patterns, every)
    left_out = named_by(exclude, every)
    if picked <= left_out:
        raise none_left(exclude, len(picked))
    return [layer for layer in every if layer.name in picked - left_out]


def _text(found: Sequence[dict[str, Any]], total: str, *, hidden: bool) -> Iterator[str | Table]:
    """Yield a row per layer, and what a dump would take; ``hidden`` layers are told how to name."""
    yield Table(
        ["layer", "order", "type", "shape of a row", "axes", "dtype", "bytes per row", "note"],
        [_cells(layer) for layer in found],
        left=(0, 2, 4, 7),
    )
    if total:
        yield total
    if hidden:
        yield "NAME:in is what goes into a layer; name it, or **:in, to store it"


def _row_count(data: Sequence[SplitData] | None, given: Mapping[str, Any]) -> int | None:
    """How many rows a dump of the data would have; None where only reading tells, or where they are no examples."""
    from actstore.dumping.ranks import all_of
    from actstore.dumping.rows import RowUnit
    from actstore.rows.choice import RowChoice

    unit = RowUnit.of(given.get("row"), data or ())
    if not data or not unit.whole:
        return None
    return all_of(data, RowChoice(given.get("limit"), given.get("sample"), given.get("seed", 0)), unit).rows


def _described(order: int | None, layer: ModelLayer, rows: int | None) -> dict[str, Any]:
    from dataclasses import asdict

    known = layer.bytes_per_row is not None and rows is not None
    fields = asdict(layer)
    del fields["rows"]
    return {
        "order": None if layer.shape is None else order,
        **fields,
        "dump_bytes": (layer.bytes_per_row or 0) * (rows or 0) if known else None,
    }


def _cells(layer: dict[str, Any]) -> list[str]:
    nothing = layer["shape"] is None
    unknown = nothing and layer["note"]
    return [
        layer["name"],
        "" if nothing or layer["order"] is None else str(layer["order"]),
        layer["type"],
        "-" if unknown else shape(layer["shape"]),
        ", ".join(layer["axes"]),
        layer["dtype"] or ("-" if layer["note"] else "?"),
        "-" if unknown else size(layer["bytes_per_row"]),
        _note(layer),
    ]


def _note(layer: dict[str, Any]) -> str:
    by_name = layer["explicit"] and layer["shape"] is not None
    notes = [layer["note"], "by its exact name only" if by_name else ""]
    return "; ".join(note for note in notes if note)
