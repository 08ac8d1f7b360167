"""`probe fit`: a certified linear probe for every layer and target."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from cli.probe.choice import choice_lines
from cli.probe.doctor import engine_named
from cli.probe.row_columns import ROW_OPTIONS, split_as
from cli.shared import ProgressLine, Size, duration, overwrite_option, shown_warnings

if TYPE_CHECKING:
    from collections.abc import Callable

    from solvers.probing.fit_layers import LayerProgress
    from solvers.probing.probe import Probe, Probes

_OPTIONS = (
    click.option(
        "--target",
        "targets",
        multiple=True,
        required=True,
        metavar="NAME | [SPLIT:]NAME=SPEC",
        help="What to predict: a target of the store, or labels of your own; repeatable, all in the same passes.",
    ),
    click.option(
        "--layers",
        "patterns",
        multiple=True,
        metavar="PATTERN",
        help="Which layers (default: all); repeatable.",
    ),
    click.option(
        "--split-features",
        type=click.IntRange(min=1),
        metavar="N",
        help="Fit N slices of each layer on their own (attention heads), as layers NAME@0 to NAME@N-1.",
    ),
    click.option(
        "--C",
        "c_values",
        metavar="C[,C...]",
        help="Penalty strengths as in scikit-learn: small is strong, inf is none.",
    ),
    click.option(
        "--C-grid",
        "c_grid",
        nargs=3,
        type=(float, float, int),
        metavar="LO HI N",
        default=(1e-4, 1e4, 9),
        show_default=True,
        help="N values of C from LO to HI, evenly on a log scale.",
    ),
    click.option(
        "--class-weight",
        type=click.Choice(["none", "balanced"]),
        default="none",
        show_default=True,
        callback=lambda _context, _option, given: None if given == "none" else given,
        help="balanced: every class weighs the same, however many rows it has.",
    ),
    click.option(
        "--engine",
        default="auto",
        show_default=True,
        callback=engine_named,
        help="auto, cupy, numpy or sklearn; see `probe doctor`.",
    ),
    click.option("--device", metavar="D", help="Which device the engine uses, for example cuda:1."),
    click.option(
        "--memory",
        "memory_bytes",
        type=Size(),
        metavar="SIZE",
        help="At most this much for rows, for example 2GB or 512MiB.",
    ),
    click.option(
        "--gap",
        "gap_nats",
        type=click.FloatRange(min=0, min_open=True),
        default=1e-5,
        show_default=True,
        metavar="NATS",
        help="How close to the optimum each probe must be proven.",
    ),
    click.option(
        "--no-scale",
        "scale",
        is_flag=True,
        callback=lambda _context, _option, given: not given,
        help="Do not scale the columns to unit standard deviation.",
    ),
    click.option("--full-path", is_flag=True, help="Fit every C, also those past the best validation loss."),
    click.option(
        "--random-features",
        type=click.IntRange(min=1),
        metavar="K",
        help="Fit on K columns drawn at random of every wider layer.",
    ),
    click.option(
        "--warm-start",
        metavar="PROBES",
        help="Start from the probes of the same layers and targets, such as those of the step before.",
    ),
    *ROW_OPTIONS,
    click.option("--require-all", is_flag=True, help="Refuse rows without a label instead of skipping them."),
    click.option(
        "--step",
        "step",
        multiple=True,
        metavar="N[,N...] | all",
        help="Which training steps, where STORE has several; each fit starts from the probes of the step before.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, metavar="N"),
    click.option("-o", "--output", required=True, metavar="PROBES", help="The probe file to write."),
    overwrite_option,
)


def fit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return what is fitted, how, and where it goes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("activations", nargs=-1, required=True, metavar="STORE | [SPLIT=]FEATURES...")
@fit_options
@click.pass_context
def fit(ctx: click.Context, output: str, overwrite: bool, **given: Any) -> None:
    """Fit a linear probe at every layer, and prove how far each is from the optimum.

    C is picked on the `val` split (also called validation, valid or dev); without one, by folds of `train` or on a
    tenth of it, as is said in the end. The features may also be your own, any file of arrays (.npy, .pt, .h5:/PATH,
    ...) or table of numbers (.csv, .parquet), each with its --target. Labels of a file with a column `id` go to the
    rows of these ids.

    Finished layers are kept in PROBES.parts until all of them are: after Ctrl-C or a crash the same command goes on.

    \b
    Examples:
      probe fit mnist.h5 --target digit -o probes.h5
      probe fit words.acts --target upos --target deprel --memory 2GB -o probes.h5
      probe fit gpt.h5 --target digit --layers '*.attn' --split-features 12 -o heads.h5
      probe fit run.acts --step all --target digit -o steps.h5
      probe fit run.acts --step 200 --target digit --warm-start step100.h5 -o step200.h5
      probe fit train=h.npz:train test=h.npz:test --target train:y=y.npz:train --target test:y=y.npz:test -o probes.h5
    """
    import solvers
    from cli.probe.bridge import steps_of
    from solvers.probing.probe_file import refuse_existing

    warm_start = given.pop("warm_start")
    refuse_existing(output, overwrite, inputs=() if warm_start is None else (warm_start,))
    last = None if warm_start is None else solvers.load(warm_start)
    steps = steps_of(given["activations"], given["step"])
    fitted = []
    for step in steps:
        parts = f"{output}.parts" if len(steps) == 1 else f"{output}.step-{step}.parts"
        fitted.append(_fit_step(given, step, parts, overwrite, last))
        last = fitted[-1]
    probes = fitted[0] if len(fitted) == 1 else solvers.Probes.of_steps(fitted, steps)
    probes.save(output, overwrite=overwrite)
    _echo_summary(output, probes)
    ctx.exit(report_shortfalls(probes))


def _fit_step(
    given: dict[str, Any], step: int | None, parts: str, overwrite: bool, warm_start: Probes | None
) -> Probes:
    """The probes of one step; None is the only one, or no step at all."""
    import solvers
    from cli.probe.bridge import open_problem, with_stored
    from cli.probe.row_columns import RowOptions

    rows = RowOptions(given["split_by"], given["group_by"], given["ignore_label"], given["concat"])
    with (
        shown_warnings(),
        open_problem(given["activations"], given["targets"], given["patterns"], step, rows) as problem,
        ProgressLine() as line,
    ):
        probes = solvers.fit_layers(
            problem.layers,
            problem.labels,
            splits=problem.splits,
            groups=problem.groups,
            split_as=split_as(given["split_as"]),
            folds=given["folds"],
            holdout=given["holdout"],
            ignore_label=given["ignore_label"],
            **_settings(given),
            split_features=given["split_features"],
            require_all=given["require_all"],
            warm_start=warm_start,
            parts=parts,
            overwrite=overwrite,
            progress=Reporter(line),
            notice=_noticed_over(line),
            step=problem.step,
            fingerprint=problem.fingerprint,
            command=shlex.join(["probe", *sys.argv[1:]]),
            ids=problem.ids,
        )
        return probes.changed(lambda probe: with_stored(probe, problem.stored))


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The options that say how to fit: those that are called as a setting of a fit is, and which C."""
    from dataclasses import fields

    from solvers import FitSettings

    settings = {each.name: given[each.name] for each in fields(FitSettings)}
    return settings | {"C": _c_values(given["c_values"], given["c_grid"])}


def _c_values(listed: str | None, grid: tuple[float, float, int]) -> list[float]:
    import numpy as np

    if listed is not None:
        try:
            return [float(text) for text in listed.split(",")]
        except ValueError:
            raise click.UsageError(
                f"--C {listed!r} is not a list of numbers; write for example --C 0.1,1,10"
            ) from None
    low, high, count = grid
    if not (0 < low <= high and count >= 1):
        raise click.UsageError(
            f"--C-grid {low:g} {high:g} {count} needs 0 < LO <= HI and N >= 1, for example 1e-4 1e4 9"
        )
    return np.geomspace(low, high, count).tolist()


class Reporter:
    """Shows how far a fit is, on one line."""

    def __init__(self, line: ProgressLine) -> None:
        self.line = line
        self.began_s = time.monotonic()  # of the layer

    def __call__(self, progress: LayerProgress) -> None:
        """Show a report; a layer that is begun is always shown."""
        text = f"layer {progress.done + 1} of {progress.total}: {progress.layer}"
        if progress.fit is None:
            self.began_s = time.monotonic()
        else:
            fit = progress.fit
            text += f" · {fit.done} of {fit.total} columns"
            text += f" · worst gap {fit.worst_gap_nats:.0e}" if 0 <= fit.worst_gap_nats < float("inf") else ""
            text += f" · {duration(time.monotonic() - self.began_s)}"
        self.line.show(text, force=progress.fit is None)


def _noticed_over(line: ProgressLine) -> Callable[[str], None]:
    def notice(text: str) -> None:
        line.clear()
        click.echo(text, err=True)

    return notice


def _echo_summary(output: str, probes: Probes) -> None:
    engines = ", ".join(dict.fromkeys(probe.engine for probe in probes.values()))
    gaps = [probe.gap_nats for probe in probes.values() if probe.penalised]
    unpenalised = len(probes) - len(gaps)
    proven = [f"each within {max(gaps):.1e} nats of its optimum"] if gaps else []
    if unpenalised:
        proven.append("unpenalised" if not gaps else f"but {unpenalised} unpenalised")
    by = f" by {', '.join([engines, *proven])}" if probes else ""
    click.echo(f"{output}: {len(probes)} probes{by}")
    for text in choice_lines(list(probes.values())) if probes else ():
        click.echo(text)


def report_shortfalls(probes: Probes) -> int:
    """Say on stderr which layers have no certified probe; the exit code. Without a penalty there is none to have."""
    for layer, reason in probes.failures.items():
        click.echo(f"error: layer {layer!r} has no probe: {reason}", err=True)
    missed = [probe for probe in probes.values() if probe.status not in {"converged", "unpenalised"}]
    several = len({probe.target for probe in probes.values()}) > 1
    for probe in missed:
        click.echo(
            f"error: layer {probe.layer!r}{_for(probe) if several else ''} is {probe.status}: "
            f"gap {probe.gap_nats:.1e} nats; {probe.engine_reason}",
            err=True,
        )
    return 1 if missed or probes.failures else 0


def _for(probe: Probe) -> str:
    return f", target {probe.target!r},"
