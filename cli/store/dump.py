"""`actstore dump`: run a model over data and store its activations."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cli.ranks import rank_options
from cli.result import USAGE, USAGE_CODE, Failure, Result, checked_beforehand, command
from cli.shared import (
    ProgressLine,
    duration,
    exclude_option,
    ignore_label_option,
    overwrite_option,
    shown_warnings,
    size,
)
from cli.store.dump_settings import checked_data, settings_of
from cli.store.layers import layers_result, model_options, parse_arguments
from cli.store.summary import summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from actstore.dumping.dump import Progress

row_columns_options = (
    click.option(
        "--split-by",
        metavar="COLUMN",
        help="A column of the data (.csv, .jsonl, a saved dataset, a treebank's comments), or a target, that says the "
        "split of each row.",
    ),
    click.option(
        "--group-by",
        metavar="COLUMN",
        help="Such a column, or a target, that says which rows belong together (pairs, templates, speakers).",
    ),
    ignore_label_option,
)
"""Which columns say the splits and groups of rows, and which labels are none."""

_OPTIONS = (
    click.option(
        "--target",
        "targets",
        multiple=True,
        metavar="[SPLIT:]NAME[=SPEC]",
        help="A label per row; repeatable. "
        "By name alone what the data offers: form, lemma of a treebank; token with --row token.",
    ),
    *row_columns_options,
    click.option(
        "--layers", "patterns", multiple=True, metavar="PATTERN", help="A layer's name or a glob; repeatable."
    ),
    exclude_option,
    click.option(
        "-o", "--output", metavar="STORE", help="NAME.h5 for one file, NAME.acts for a folder of shards."
    ),
    click.option(
        "--row",
        type=click.Choice(["example", "token", "word"]),
        help="What a row is. Default: what the data says; words of a treebank, else examples.",
    ),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N examples of each --data."),
    click.option(
        "--sample-rows", "sample", type=float, metavar="FRACTION", help="Keep each row with this probability."
    ),
    click.option(
        "--pool",
        multiple=True,
        metavar="[PATTERN=]HOW",
        help="mean, max, cls, first, last or none over positions or pixels (with --row word: over sub-words); "
        "repeatable, the last that fits counts.",
    ),
    click.option(
        "--axes",
        multiple=True,
        metavar="PATTERN=NAMES",
        help="What the axes of layers are, where that cannot be told: 'conv*=channel,height,width', "
        "'h.*=position,feature'; repeatable, the last that fits counts.",
    ),
    click.option(
        "--random-features",
        type=click.IntRange(min=1),
        metavar="K",
        help="Keep K features of each layer, at random.",
    ),
    click.option(
        "--random-projection",
        type=click.IntRange(min=1),
        metavar="K",
        help="Project each layer to K dimensions.",
    ),
    click.option("--dtype", metavar="T", help="Cast float layers to float16, bfloat16, float32 or float64."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N"),
    click.option(
        "--step",
        type=click.IntRange(min=0),
        metavar="N",
        help="Add training step N to NAME.acts, on the same rows.",
    ),
    rank_options(
        "Dump share R of the batches",
        "of W shares. Without them: RANK and WORLD_SIZE (torchrun sets them), else the processes of a "
        "jax.distributed that the model's file initialised, else the tasks of a Slurm step (srun).",
    ),
    click.option(
        "--selfcheck/--no-selfcheck",
        default=True,
        show_default=True,
        help="Refuse a model that is random, mixes rows or sees its padding: a few rows run twice, beside other rows "
        "and alone, before the dump, where lengths are new, and after it.",
    ),
    click.option(
        "--stop-early",
        is_flag=True,
        help="End each pass of a torch or Keras model after the deepest layer asked for. Not for models that keep "
        "something from one layer to the next (the skips of a U-net in a list).",
    ),
    click.option(
        "--keep-input",
        type=click.Choice(["text", "thumbnail"]),
        help="Store the text of each example, or a small image of it, too, so that examples can be shown later.",
    ),
    click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read, and record which."),
    click.option("--resume", is_flag=True, help="Go on where an interrupted dump of the same stopped."),
    click.option(
        "--resume-anyway",
        is_flag=True,
        help="As --resume, also where other versions of the libraries computed what is there: the store says which.",
    ),
    overwrite_option,
)


def dump_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what is stored, and where."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@command()
@model_options
@dump_options
def dump(patterns: tuple[str, ...], output: str | None, **given: Any) -> Result:
    """Run MODEL over the data and store the activations of the layers asked for.

    MODEL is file.py:name or package.module:name (a model, a function that makes one, or a function of a batch),
    FILE.onnx, FILE.keras, hf:FOLDER, hf:NAME[@REVISION] or demo:NAME. In a PATTERN, * stops at dots and ** crosses
    them; re:EXPRESSION is a regular expression; `input` is what goes into the model, NAME:in what goes into a layer of
    a torch model (`**:in` into all of them). Without --layers, the layers are listed and nothing is stored.

    \b
    Examples:
      actstore dump net.py:make --data train=mnist.npz:x_train --target train:digit=mnist.npz:y_train \\
               --data test=mnist.npz:x_test --target test:digit=mnist.npz:y_test \\
               --layers 'conv*' --layers fc1 -o mnist.h5
      actstore dump net.py:make --data images.npy --layers 'layer*' --pool mean --dtype float16 -o run.acts --resume
      actstore dump hf:all-MiniLM-L6-v2 --data train=train.conllu.gz --layers 'encoder.layer.*' -o words.acts
      torchrun --nproc-per-node 4 --no-python actstore dump net.py:make --data images.npy --layers '**' -o run.acts
    """
    from actstore.dumping.dump import dump as dump_activations
    from actstore.models import load_model

    arguments = parse_arguments(given["arguments"])
    data = checked_data(patterns, output, given)
    model = load_model(given["model"], arguments, given["weights"])
    if not patterns or output is None:
        reason = "--layers is missing: choose from the layers above, for example --layers '**' for all"
        return replace(layers_result(model, data, given), failure=Failure(USAGE, [reason], USAGE_CODE))
    with checked_beforehand():
        settings = settings_of(patterns, given)  # the model's file may have said which rank this is
    with ProgressLine() as line, shown_warnings():
        speed = Speed()
        store = dump_activations(
            model, data, output, settings, lambda progress: line.show(speed.text(progress))
        )
    with store:
        return summary(store, output, settings)


class Speed:
    """Rows and bytes a second, and the time left, from how far a dump is."""

    def __init__(self) -> None:
        self._start: tuple[float, Progress] | None = None  # the first report of rows that were computed

    def text(self, progress: Progress) -> str:
        """The line that progress shows."""
        of = f" of {progress.total_rows:,}" if progress.total_rows else ""
        text = f"{progress.rows:,}{of} rows, {size(progress.bytes)}"
        if progress.rows == progress.resumed_rows:
            return text + ": comparing the data with what is stored already"
        now_s = time.monotonic()
        self._start = self._start or (now_s, progress)
        start_s, start = self._start
        elapsed_s, rows = now_s - start_s, progress.rows - start.rows
        if elapsed_s < 1 or not rows:
            return text
        text += f", {rows / elapsed_s:,.0f} rows/s, {size((progress.bytes - start.bytes) / elapsed_s)}/s"
        if progress.total_rows:
            text += f", {duration((progress.total_rows - progress.rows) * elapsed_s / rows)} left"
        return text
