"""What `probe fit` may be told: its options, and what they mean to `solvers.fit_layers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.probe.doctor import engine_named
from cli.probe.row_columns import ROW_OPTIONS, split_as
from cli.ranks import rank_options
from cli.shared import Size, overwrite_option

if TYPE_CHECKING:
    from collections.abc import Callable

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
        help="Without --C: N values of C from LO to HI, evenly on a log scale. [default: 1e-4 1e4 9]",
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
        help="At most this much for rows and work on them, for example 2GB or 512MiB.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="How many threads share the rows. [default: the cores that this process may use]",
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
        "--protocol",
        type=click.Choice(["train"]),
        help="train: train errors at stated weak penalties (--C; 1, 1e3, 1e5), nothing set aside, nothing chosen.",
    ),
    click.option(
        "--one-C",
        "one_C",
        is_flag=True,
        help="One C for all layers and steps of a target, by the sum over them.",
    ),
    click.option(
        "--select-by",
        type=click.Choice(["cross_entropy", "error", "accuracy", "roc_auc"]),
        default="cross_entropy",
        show_default=True,
        help="What C is chosen by; ties go to the smaller C.",
    ),
    click.option(
        "--score-path",
        multiple=True,
        metavar="SPLIT",
        help="Score every C on this split, too, for exploring (`train` and `val` always are); repeatable.",
    ),
    click.option(
        "--no-predictions",
        is_flag=True,
        help="Do not keep what the probes say of each row (kept of every split but `train`).",
    ),
    click.option("--train-predictions", is_flag=True, help="Keep that of `train`, too."),
    click.option(
        "--feature-subset",
        "--random-features",
        "feature_subset",
        type=click.IntRange(min=1),
        metavar="K",
        help="Fit on K columns drawn at random of every wider layer (formerly --random-features).",
    ),
    click.option(
        "--random-projection",
        type=click.IntRange(min=1),
        metavar="K",
        help="Fit on K random directions of every wider layer.",
    ),
    click.option(
        "--seeds",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Draw the columns or directions N times, by the seeds --seed, --seed + 1, ...: a probe for each.",
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
    rank_options(
        "Fit with others, which are given the same command: rank R",
        "of W, each layer once. Without them: RANK and WORLD_SIZE (torchrun sets them), else the tasks of a Slurm step "
        "(srun); in a job array from 0 give $SLURM_ARRAY_TASK_ID and $SLURM_ARRAY_TASK_COUNT.",
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


def fit_settings(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that say how to fit and which rows are for what, as keywords of `solvers.fit_layers`."""
    from dataclasses import fields

    from solvers import FitSettings

    if given["no_predictions"] and given["train_predictions"]:
        raise click.UsageError("--no-predictions and --train-predictions exclude each other; give one")
    same = ["protocol", "one_C", "select_by", "score_path", "random_projection", "seeds", "split_features"]
    same += ["folds", "holdout", "ignore_label", "require_all"]
    settings = {name: given[name] for name in [*(each.name for each in fields(FitSettings)), *same]}
    predictions = "all" if given["train_predictions"] else not given["no_predictions"]
    chosen = {"C": _c_values(given["c_values"], given["c_grid"]), "split_as": split_as(given["split_as"])}
    return settings | chosen | {"predictions": predictions}


def _c_values(listed: str | None, grid: tuple[float, float, int] | None) -> list[float] | None:
    """The values of C that were given; None where none were."""
    import numpy as np

    if listed is not None:
        try:
            return [float(text) for text in listed.split(",")]
        except ValueError:
            raise click.UsageError(
                f"--C {listed!r} is not a list of numbers; write for example --C 0.1,1,10"
            ) from None
    if grid is None:
        return None
    low, high, count = grid
    if not (0 < low <= high and count >= 1):
        raise click.UsageError(
            f"--C-grid {low:g} {high:g} {count} needs 0 < LO <= HI and N >= 1, for example 1e-4 1e4 9"
        )
    return np.geomspace(low, high, count).tolist()
