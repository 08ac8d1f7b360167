"""The options of `probe decode`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.shared import Size, overwrite_option, step_option

if TYPE_CHECKING:
    from collections.abc import Callable


def _numbers(kind: type, what: str) -> Callable[[Any, Any, str | None], tuple[Any, ...] | None]:
    """Read ``0,.5,1``."""

    def read(_context: Any, _option: Any, text: str | None) -> tuple[Any, ...] | None:
        if text is None:
            return None
        try:
            return tuple(kind(word) for word in text.replace("x", ",").split(","))
        except ValueError:
            raise click.UsageError(f"{text!r} is no {what}") from None

    return read


_OPTIONS = (
    click.option(
        "--layer", "patterns", multiple=True, required=True, metavar="PATTERN", help="Which layers; repeatable."
    ),
    click.option(
        "--decoder",
        "method",
        type=click.Choice(["linear", "conv"]),
        default="linear",
        show_default=True,
        help="linear: ridge regression, exact and without torch. conv: a convolutional network, trained with torch.",
    ),
    click.option(
        "--penalty",
        "penalties",
        metavar="P[,P...]",
        callback=_numbers(float, "list of penalties; write for example --penalty 1,100"),
        help="Of the linear decoder, as Ridge's alpha; several are chosen from. Default: nine, by the Gram's size.",
    ),
    click.option(
        "--alpha",
        "alphas",
        metavar="A[,A...]",
        callback=_numbers(float, "list of numbers from 0 to 1; write for example --alpha 0,.5,.99,1"),
        help="(1 - A) x squared error, summed over the image, + A x the classifier's cross-entropy (nats). Default: 0.",
    ),
    click.option(
        "--model", metavar="MODEL", help="The network that was dumped, as for `actstore dump`; torch."
    ),
    click.option("--arg", "arguments", multiple=True, metavar="KEY=VALUE", help="An argument of its factory."),
    click.option("--weights", metavar="FILE[:KEY]", help="Its weights."),
    click.option("--target", metavar="NAME", help="What MODEL was trained to tell: a target of STORE."),
    click.option(
        "--reference", is_flag=True, help="Also train MODEL's layers anew with a decoder, as an auto-encoder."
    ),
    click.option(
        "--evaluate", is_flag=True, help="Also train MODEL anew on the decoded pictures, and score that."
    ),
    click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="N"),
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="The first."
    ),
    click.option("--epochs", type=click.IntRange(min=1), default=5, show_default=True, metavar="N"),
    click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True, metavar="N"),
    click.option("--device", default="cpu", show_default=True, metavar="D", help="Where torch trains."),
    click.option("--image-axes", metavar="AXES", help="HW, HWC or CHW, where it cannot be told."),
    click.option(
        "--image-shape",
        metavar="HxW|CxHxW",
        callback=_numbers(int, "shape; write for example --image-shape 28x28"),
        help="Of pictures that are stored flat.",
    ),
    click.option(
        "--engine",
        default="auto",
        show_default=True,
        help="Of the linear decoder: numpy, cupy, or auto: cupy where a GPU works.",
    ),
    click.option(
        "--memory",
        "memory_bytes",
        type=Size(),
        metavar="SIZE",
        help="At most this much for the linear decoder.",
    ),
    step_option,
    click.option("-o", "--output", required=True, metavar="DECODER", help="The decoder file to write."),
    overwrite_option,
)


def decode_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what is decoded, how, and where it goes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
