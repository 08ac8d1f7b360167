"""`probe decode`: from the activations of a layer back to the pictures that the network was given."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.probe.decoding.decode_model import live_network
from cli.probe.decoding.decode_rows import study_of
from cli.shared import ProgressLine, Size, echo_json, echo_table, json_option, overwrite_option, step_option
from cli.shared import printable as safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from solvers.decoders.decoder import Decoders
    from solvers.decoders.plan import Job, Plan
    from solvers.decoders.settings import TrainingProgress
    from solvers.scoring.score import Score

_PARTS = ("*.decoder.h5", "*.epoch.h5", ".*.partial", "lock", "lock.held")
"""Files of the folder that keeps what is finished."""
_COLUMNS = {
    "squared_error_image": "error/image",
    "squared_error": "error/value",
    "cross_entropy": "CE",
    "accuracy": "accuracy",
    "agreement": "agreement",
    "evaluation_accuracy": "evaluation",
}


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
    json_option,
)


def decode_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what is decoded, how, and where it goes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("store", metavar="STORE")
@decode_options
@click.pass_context
def decode(ctx: click.Context, store: str, output: str, overwrite: bool, as_json: bool, **given: Any) -> None:
    """Fit decoders from layers of STORE back to its layer `input`: what a layer keeps, seen as pictures (ClaDec).

    A decoder learns from `train`, its penalty is chosen by `val`, and it is scored on `test`. The linear one is fitted
    exactly and proven; a convolutional one is trained, and goes on from its last epoch when the same command is given
    again. --alpha above 0, --reference and --evaluate need MODEL, whose weights must be those of the dump.

    \b
    Examples:
      probe decode digits.h5 --layer 'hidden*' --image-shape 8x8 -o decoders.h5
      probe decode mnist.h5 --layer fc1 --decoder conv --epochs 5 -o decoders.h5
      probe decode mnist.h5 --layer fc1 --layer pool2 --decoder conv --alpha 0,.5,.99,1 --target digit \\
               --model net.py:make --weights net.pt --reference --evaluate --seeds 3 -o cladec.h5
    """
    from solvers.decoders.decoder_file import DECODERS, save_decoders
    from solvers.decoders.study import decode_layers
    from solvers.probing.probe_file import refuse_existing

    refuse_existing(output, overwrite, (store,), DECODERS)
    plan = _plan(given)
    with ExitStack() as stack:
        opened, study = stack.enter_context(study_of(store, given, plan))
        study.provenance["command"] = shlex.join(["probe", *sys.argv[1:]])  # type: ignore[index]
        network = None
        if given["model"] is not None:
            live = stack.enter_context(live_network(opened, study, given))
            network, study = live.network, live.study
        parts = stack.enter_context(_kept(Path(f"{output}.parts")))
        line = stack.enter_context(ProgressLine())
        made = decode_layers(study, plan, network, parts, Reporter(line))
        save_decoders(made, output, overwrite)
    _echo(output, made, as_json)
    ctx.exit(_shortfalls(made))


def _plan(given: dict[str, Any]) -> Plan:
    from solvers.decoders.plan import Plan
    from solvers.decoders.settings import DecoderSettings

    conv = given["method"] == "conv"
    unused = ("penalties",) if conv else ("alphas",)
    if any(given[name] is not None for name in unused):
        wrong = "--penalty is of the linear decoder" if conv else "--alpha is of the convolutional decoder"
        raise click.UsageError(f"{wrong}; choose with --decoder")
    plan = Plan(
        given["method"],
        given["alphas"] or (0.0,),
        tuple(range(given["seed"], given["seed"] + given["seeds"])),
        given["reference"],
        given["evaluate"],
        given["penalties"],
        given["engine"],
        given["memory_bytes"],
        DecoderSettings(given["epochs"], given["batch_size"], device=given["device"]),
    )
    if plan.needs_network and (given["model"] is None or given["target"] is None):
        raise click.UsageError(
            "--alpha above 0, --reference and --evaluate need the network and what it tells: give --model and --target"
        )
    if given["model"] is not None and given["target"] is None:
        raise click.UsageError("--model judges pictures by what they show: give --target, too")
    for option in ("arguments", "weights"):
        if given[option] and given["model"] is None:
            raise click.UsageError(f"--{option.removesuffix('uments')} is of a --model, and there is none")
    return plan


@contextmanager
def _kept(folder: Path) -> Iterator[Path]:
    """A folder that keeps what is finished until all is; removed then, with nothing but what is ours in it."""
    from solvers.disk.folder_lock import FolderLock
    from solvers.errors import ProbeFileError

    if folder.is_dir():
        others = [each.name for each in folder.iterdir() if not any(each.match(name) for name in _PARTS)]
        if others:
            msg = f"{folder} holds {sorted(others)[0]!r}, which `probe decode` did not write; choose another -o"
            raise ProbeFileError(msg)
    try:
        lock = FolderLock.take(folder)
    except BlockingIOError as error:
        msg = f"{folder} is in use: {error.strerror}; wait for the other `probe decode`, or choose another -o"
        raise ProbeFileError(msg) from error
    try:
        yield folder
    except BaseException as error:
        finished = len([*folder.glob("*.h5")])
        if finished:
            error.add_note(f"what is done stays in {folder}: the same command goes on from there")
        lock.release()
        if not finished:
            folder.rmdir()
        raise
    for name in _PARTS[:2]:
        for file in folder.glob(name):
            file.unlink()
    lock.release()
    if not any(folder.iterdir()):
        folder.rmdir()


class Reporter:
    """Shows how far a study is, on one line."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line

    def __call__(self, job: Job, step: TrainingProgress | None) -> None:
        """Show a report; a job that begins is always shown."""
        text = str(job)
        if step is not None:
            text += f" · epoch {step.epoch} of {step.epochs} · {step.rows:,} of {step.of_rows:,} rows · {step.loss:.4f}"
        self._line.show(text, force=step is None)


def _shortfalls(made: Decoders) -> int:
    """Say which linear decoders are not proven; the exit code."""
    missed = [each for each in made if each.training.get("status") == "residual_missed"]
    for each in missed:
        residual = each.training["residual"]
        text = f"error: the decoder of {each.layer!r} has a residual of {residual:.1e}; expected 1e-10 or less"
        click.echo(safe(f"{text}: take a stronger --penalty"), err=True)
    return 1 if missed else 0


def _echo(output: str, made: Decoders, as_json: bool) -> None:
    from solvers.decoders.claims import untrained, verdicts

    found = verdicts(made.all_scores())
    for layer, part, seed in untrained(made.all_scores()):
        click.echo(
            safe(
                f"note: {layer}, {part}, seed {seed} is no nearer to the pictures than their mean: it has not learned "
                "them, and comparing with it says nothing; try more --epochs"
            ),
            err=True,
        )
    if as_json:
        echo_json(
            {
                "format": "probe decode",
                "version": 1,
                "decoders": [_entry(each) for each in made],
                "scores": [asdict(score) for score in made.all_scores()],
                "claims": [asdict(each) for each in found],
            }
        )
        return
    count = f"{len(made)} decoder{'s' * (len(made) != 1)}"
    click.echo(f"{output}: {count}, scored on {len(made.rows):,} rows of {safe(made.split)}")
    if made.provenance.get("roles"):
        click.echo(made.provenance["roles"])
    _echo_scores(made)
    _echo_proof(made)
    if found:
        least = min(each.alpha for each in made)
        found = [each for each in found if each.part == f"alpha={least:g}"]
        click.echo(f"what the paper claims, decoder of alpha {least:g} less reference (the others: --json):")
        echo_table(
            ["claim", "layer", "difference", "95% interval", "verdict"],
            [[each.claim, each.layer, f"{each.value:.4g}", _interval(each), each.verdict] for each in found],
            left=(0, 1, 4),
        )


def _entry(decoder: Any) -> dict[str, Any]:
    plain = {name: getattr(decoder, name) for name in ("layer", "step", "method", "role", "alpha", "seed")}
    return plain | {"architecture": dict(decoder.architecture), "training": dict(decoder.training)}


def _echo_scores(made: Decoders) -> None:
    """A row for each decoder, over seeds where there are several: means, with intervals of 95%."""
    from solvers.decoders.scoring import ALL_SEEDS

    scores = [score for score in made.all_scores() if score.kind in ("decoder", "reference")]
    several = any(score.seed == ALL_SEEDS for score in scores)
    shown = [score for score in scores if not several or score.seed == ALL_SEEDS]
    metrics = [name for name in _COLUMNS if any(score.metric == name for score in shown)]
    rows: dict[tuple[str, str], dict[str, Score]] = {}
    for score in shown:
        rows.setdefault((score.layer, score.part), {})[score.metric] = score
    echo_table(
        ["layer", "decoder", *(_COLUMNS[name] for name in metrics)],
        [
            [
                layer,
                part if made.decoders[0].method == "conv" else "linear",
                *(_cell(found.get(name)) for name in metrics),
            ]
            for (layer, part), found in rows.items()
        ],
        left=(0, 1),
    )
    seeds = len({each.seed for each in made})
    over = f"t over {seeds} seeds of the training" if several else "of one fit, on new rows like these"
    click.echo(f"intervals of 95%: {over}; error/image is the squared error summed over the values of an image")
    of_input = next((s for s in made.scores if s.kind == "input" and s.metric == "accuracy"), None)
    if of_input is not None:
        click.echo(f"the classifier's accuracy on the true pictures: {_cell(of_input)}")


def _echo_proof(made: Decoders) -> None:
    for each in made:
        if each.method == "linear":
            training = each.training
            tried = [penalty for penalty, _ in training["path"]]
            ends = len(tried) > 1 and training["penalty"] in (min(tried), max(tried))
            grid = f", chosen of {len(tried)}" if len(tried) > 1 else ""
            end = "; at the end of the grid, so try further" if ends else ""
            click.echo(
                safe(
                    f"{each.layer}: penalty {training['penalty']:.3g}{grid}{end}; the normal equations' relative "
                    f"residual is {training['residual']:.1e}"
                )
            )


def _cell(score: Score | None) -> str:
    return "-" if score is None else f"{score.value:.4g} {_interval(score)}".strip()


def _interval(score: Any) -> str:
    return f"[{score.low:.4g}, {score.high:.4g}]" if score.low <= score.high else ""
