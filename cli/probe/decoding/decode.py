"""`probe decode`: from the activations of a layer back to the pictures that the network was given."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.probe.decoding.decode_model import live_network
from cli.probe.decoding.decode_options import decode_options
from cli.probe.decoding.decode_report import decoders_result
from cli.probe.decoding.decode_rows import study_of
from cli.result import Result, command
from cli.shared import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solvers.decoders.plan import Job, Plan
    from solvers.decoders.settings import TrainingProgress

_PARTS = ("*.decoder.h5", "*.epoch.h5", ".*.partial", "lock", "lock.held")
"""Files of the folder that keeps what is finished."""


@command()
@click.argument("store", metavar="STORE")
@decode_options
def decode(store: str, output: str, overwrite: bool, **given: Any) -> Result:
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
    return decoders_result(output, made)


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
