"""`probe show`: the probes of a file as a table with intervals, of two side by side, or the mean over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.probe.afterwards.only import only_probes
from cli.probe.afterwards.runs import mean_shown
from cli.probe.afterwards.tables import pair_table, probe_tables, step_tables
from cli.probe.choice import at_end
from cli.result import Result, command

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.result import Table
    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes
    from solvers.probing.scores.asked import Asked
    from solvers.scoring.score_rows import ScoreRows


@command()
@click.argument("probes", metavar="PROBES")
@click.argument("others", nargs=-1, metavar="[PROBES...]")
@click.option("--metric", "metrics", multiple=True, metavar="M", help="A metric, such as roc_auc; repeatable.")
@click.option(
    "--positive", metavar="CLASS", help="What metrics of two classes call positive; the second by default."
)
@click.option("--negatives", metavar="SPLIT", help="The split that sets the threshold of tpr_at_fpr_0.01.")
@click.option(
    "--by",
    type=click.Choice(["step"]),
    help="A table of layers by training steps: the error, or each --metric, of the split that judges.",
)
@click.option(
    "--mean", "as_mean", is_flag=True, help="The mean over the files, each a run of its own: a seed, a network."
)
@click.option("--layers", multiple=True, metavar="PATTERN", help="Only these layers; repeatable.")
@click.option("--target", "targets", multiple=True, metavar="NAME", help="Only this target; repeatable.")
@click.option(
    "--step",
    "steps",
    multiple=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="Only this step; repeatable.",
)
@click.option("--parts", is_flag=True, help="Classes and bins as well, with --csv or --json.")
@click.option("--csv", "as_csv", is_flag=True, help="Print every score as a line of CSV.")
@click.pass_context
def show(
    ctx: click.Context,
    probes: str,
    others: tuple[str, ...],
    metrics: tuple[str, ...],
    by: str | None,
    as_csv: bool,
    as_mean: bool,
    **asked: Any,
) -> Result:
    """Print a row per layer (and target, and step): errors by split, with intervals of 95%, C, the gap, other metrics.

    An interval is of the fitted probe on new rows of the same population; splits that trained or chose have none. `*`
    stands beside a C at an end of its grid. Below, what is the same for all layers: the rows of every split, `majority`
    (the error of always answering the commonest training class), `unseen` (rows of classes that training had none of),
    and how C was chosen.

    Given two files, their probes are shown side by side; they must have been fitted on the same rows. With --mean the
    files, or tables of scores as --csv prints them, are runs: shown is the mean over them, with a 95% interval of what
    further runs would change (Student's t).

    \b
    Example:
      probe show probes.h5
      probe show probes.h5 --metric roc_auc --metric ece_15 --csv > scores.csv
      probe show steps.h5 --by step
      probe show steps.h5 --layers 'block.*.mlp' --step 500
      probe show seed-0.h5 seed-1.h5 seed-2.h5 --mean --csv > seeds.csv
    """
    import solvers
    from cli.result import wants_json
    from solvers.probing.scores.asked import Asked

    names = tuple(dict.fromkeys(name.strip() for each in metrics for name in each.split(",")))
    chosen = Asked(names or None, asked["positive"], asked["negatives"], None, asked["parts"])
    tidy = as_csv or wants_json(ctx)
    _refuse_together(others, chosen, as_csv, wants_json(ctx), as_mean)
    if by is not None and (tidy or others or as_mean):
        raise click.UsageError(
            "--by arranges the table of one file; --csv and --json have the step in every row, and several files are "
            "shown by layer"
        )
    only = [asked[name] for name in ("layers", "targets", "steps")]
    if as_mean:
        return mean_shown((probes, *others), chosen, only, as_csv, wants_json(ctx))
    first = only_probes(solvers.load(probes), probes, *only)
    if others:
        other = others[0]
        return pairs_shown(pair(first, only_probes(solvers.load(other), other, *only), (probes, other)))
    if not tidy:
        return probes_shown(first, chosen, step_tables if by == "step" else probe_tables)
    scores = first.scores(
        chosen.metrics, positive=chosen.positive, negatives=chosen.negatives, parts=chosen.parts
    )
    notes = [f"note: {note}" for note in scores.notes]
    if as_csv:
        return Result(text=list(scores.csv_lines()), messages=notes)
    return Result(as_document(first, scores), [], notes)


def _refuse_together(others: tuple[str, ...], asked: Asked, as_csv: bool, as_json: bool, as_mean: bool) -> None:
    """Refuse options that do not go together."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json are two ways to print the same scores; choose one")
    if len(others) > 1 and not as_mean:
        raise click.UsageError(
            f"{1 + len(others)} files were given; two are shown side by side, and with --mean the mean over all"
        )
    if others and not as_mean and (as_csv or asked.parts or asked.metrics or asked.positive or asked.negatives):
        raise click.UsageError(
            "two files are shown by their errors; for other metrics, intervals and p-values use `probe compare`, for "
            "the mean over runs --mean"
        )
    if asked.parts and not (as_csv or as_json):
        raise click.UsageError("--parts are too many for a table; add --csv or --json")


def probes_shown(
    probes: Probes,
    asked: Asked,
    tables: Callable[[Probes, ScoreRows, Asked], list[str | Table]] = probe_tables,
) -> Result:
    """Return the tables of the probes of one file."""
    from solvers.metrics import registry

    for name in asked.metrics or ():
        if registry.get(name).only_parts:
            raise click.UsageError(f"{name} has parts alone, too many for a table; add --csv or --json")
    scores = probes.scores(asked.metrics, positive=asked.positive, negatives=asked.negatives)
    return Result(text=tables(probes, scores, asked), messages=[f"note: {note}" for note in scores.notes])


def pairs_shown(pairs: list[tuple[Probe, Probe]]) -> Result:
    """Return the table of the probes of two files."""
    from solvers.probing.scores.divided import divided_notes

    notes = divided_notes([probe for two in pairs for probe in two])
    return Result(
        {"pairs": [[as_record(left), as_record(right)] for left, right in pairs]},
        [pair_table(pairs)],
        [f"note: {note}" for note in notes],
    )


def as_record(probe: Probe) -> dict[str, Any]:
    """A probe as an entry of `probes` of the JSON document."""
    from solvers.probing.scores.kept import KEY

    classes = None if probe.classes is None else probe.classes.tolist()
    scores = ("error", "cross_entropy", "majority", "rows", "unlabelled", "unseen")
    return {
        "layer": probe.layer,
        "target": probe.target,
        "step": probe.step,
        "kind": probe.kind,
        "width": probe.width,
        "classes": classes
        and [each.decode("latin-1") if isinstance(each, bytes) else each for each in classes],
        "C": probe.C,
        "chosen": dict(probe.proof.chosen) | {"at_end": at_end(probe)},
        "gap_nats": probe.gap_nats if probe.penalised else None,
        "status": str(probe.status),
        "engine": probe.engine,
        "engine_reason": probe.engine_reason,
        **{name: dict(getattr(probe.scores, name)) for name in scores},
        "metrics": {name: value for name, value in probe.metrics.items() if name != KEY},
        "seconds": probe.seconds,
    }


def pair(first: Probes, second: Probes, paths: tuple[str, str]) -> list[tuple[Probe, Probe]]:
    """The probes that both files have, side by side; refused where they are not about the same rows."""
    from solvers.errors import ProbeFileError

    common = [key for key in first if key in second]
    if not common:
        raise ProbeFileError(
            f"{paths[0]} and {paths[1]} have no layer and target in common: "
            f"the first has {_keys(first)}, the second {_keys(second)}"
        )
    for key in common:
        if first[key].rows_fingerprint != second[key].rows_fingerprint:
            raise ProbeFileError(
                f"{paths[0]} and {paths[1]} were fitted on different rows or splits (layer {key[0]!r}), so their "
                "errors cannot be set side by side; fit both on the same rows with the same --seed"
            )
    return [(first[key], second[key]) for key in common]


def _keys(probes: Probes) -> str:
    names = [f"{layer}/{target}" for layer, target, *_ in probes]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def as_document(probes: Probes, scores: ScoreRows) -> dict[str, Any]:
    """Return the fields of what `probe show --json` prints."""
    return {"probes": [as_record(each) for each in probes.values()], "scores": scores.to_dicts()}
