"""`probe fit`: a certified linear probe for every layer."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import ProgressLine, overwrite_option, step_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from solvers.layers import LayerProgress
    from solvers.probe import Probes


@click.command()
@click.argument("activations", nargs=-1, required=True, metavar="STORE | [SPLIT=]FEATURES...")
@click.option(
    "--target",
    "targets",
    multiple=True,
    required=True,
    metavar="NAME | [SPLIT:]NAME=SPEC",
    help="What to predict: a target of the store, or labels of your own.",
)
@click.option(
    "--layers", "patterns", multiple=True, metavar="PATTERN", help="Which layers (default: all); repeatable."
)
@click.option(
    "--C", "c_values", metavar="C[,C...]", help="Penalty strengths as in scikit-learn: small is strong."
)
@click.option(
    "--C-grid",
    "c_grid",
    nargs=3,
    type=(float, float, int),
    metavar="LO HI N",
    default=(1e-4, 1e4, 9),
    show_default=True,
    help="N values of C from LO to HI, evenly on a log scale.",
)
@click.option(
    "--engine", default="auto", show_default=True, help="auto, cupy, numpy or sklearn; see `probe doctor`."
)
@click.option(
    "--gap",
    "gap_nats",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-5,
    show_default=True,
    metavar="NATS",
    help="How close to the optimum each probe must be proven.",
)
@click.option("--no-scale", is_flag=True, help="Do not scale the columns to unit standard deviation.")
@click.option("--full-path", is_flag=True, help="Fit every C, also those past the best validation loss.")
@click.option(
    "--random-features",
    type=click.IntRange(min=1),
    metavar="K",
    help="Fit on K columns drawn at random of every wider layer.",
)
@click.option("--require-all", is_flag=True, help="Refuse rows without a label instead of skipping them.")
@step_option
@click.option("--seed", type=int, default=0, show_default=True, metavar="N")
@click.option("-o", "--output", required=True, metavar="PROBES", help="The probe file to write.")
@overwrite_option
@click.pass_context
def fit(ctx: click.Context, output: str, overwrite: bool, **given: Any) -> None:
    """Fit a linear probe at every layer, and prove how far each is from the optimum.

    C is picked on the `val` split; without one, a tenth of `train` is set aside for it. The features may also be your
    own: .npy, .npz:KEY or .h5:/PATH, each with its --target.

    \b
    Examples:
      probe fit mnist.h5 --target digit -o probes.h5
      probe fit train=h.npz:train test=h.npz:test --target train:y=y.npz:train --target test:y=y.npz:test -o probes.h5
    """
    import solvers
    from cli.bridge import open_problem

    if Path(output).exists() and not overwrite:
        raise click.ClickException(f"{output} exists already; choose another name for -o, or say --overwrite")
    with (
        open_problem(given["activations"], given["targets"], given["patterns"], given["step"]) as problem,
        ProgressLine() as line,
    ):
        probes = solvers.fit_layers(
            problem.layers,
            problem.labels,
            splits=problem.splits,
            groups=problem.groups,
            target=problem.target,
            C=_c_values(given["c_values"], given["c_grid"]),
            scale=not given["no_scale"],
            engine=given["engine"],
            gap_nats=given["gap_nats"],
            seed=given["seed"],
            random_features=given["random_features"],
            full_path=given["full_path"],
            require_all=given["require_all"],
            progress=_reporter(line),
            step=problem.step,
            fingerprint=problem.fingerprint,
            command=shlex.join(["probe", *sys.argv[1:]]),
        )
    probes.save(output, overwrite=overwrite)
    _echo_summary(output, probes)
    ctx.exit(report_shortfalls(probes))


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


def _reporter(line: ProgressLine) -> Callable[[LayerProgress], None]:
    return lambda progress: line.show(
        f"layer {progress.done + 1} of {progress.total}: {progress.layer}", force=True
    )


def _echo_summary(output: str, probes: Probes) -> None:
    worst = max((probe.gap_nats for probe in probes.values()), default=float("nan"))
    engines = ", ".join(dict.fromkeys(probe.engine for probe in probes.values()))
    click.echo(f"{output}: {len(probes)} probes by {engines}, each within {worst:.1e} nats of its optimum")


def report_shortfalls(probes: Probes) -> int:
    """Say on stderr which layers have no certified probe; the exit code."""
    for layer, reason in probes.failures.items():
        click.echo(f"error: layer {layer!r} has no probe: {reason}", err=True)
    missed = [probe for probe in probes.values() if probe.status != "converged"]
    for probe in missed:
        click.echo(
            f"error: layer {probe.layer!r} is {probe.status}: gap {probe.gap_nats:.1e} nats; {probe.engine_reason}",
            err=True,
        )
    return 1 if missed or probes.failures else 0
