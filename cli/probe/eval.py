"""`probe eval`: fitted probes on other rows, of a store or of files."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

import click

from cli.probe.afterwards.eval_rows import opened_rows
from cli.probe.afterwards.eval_tables import difference_tables, score_tables
from cli.probe.afterwards.outputs import checked_output, write_whole
from cli.result import Failure, Result, WrongUsage, command, wants_json
from cli.shared import ignore_label_option, overwrite_option, shown_warnings, step_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cli.probe.afterwards.eval_rows import Scored
    from solvers.probing.afterwards.scores import Evaluation
    from solvers.probing.scores.asked import Asked
    from solvers.scoring.score import Score

KINDS = (".csv", ".json")
VERSION = 2
"""Of the document: since 2 `scores` are tidy rows, as of `probe show`."""


@command("eval")
@click.argument("probes", metavar="PROBES")
@click.argument("sources", metavar="STORE|[SPLIT=]FILE...", nargs=-1, required=True)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="[SPLIT:]NAME=SPEC",
    help="Labels for target NAME of PROBES: a file, or another target of STORE; NAME alone chooses it. Repeatable.",
)
@click.option(
    "--layers",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only probes of these layers; repeatable. What one array of your own is, where PROBES has several.",
)
@click.option("--metric", "metrics", multiple=True, metavar="M", help="A metric, such as roc_auc; repeatable.")
@click.option(
    "--positive", metavar="CLASS", help="What metrics of two classes call positive; the second by default."
)
@click.option(
    "--negatives", metavar="SPLIT", help="The split of these rows that sets the threshold of tpr_at_fpr_0.01."
)
@click.option(
    "--group-by",
    metavar="TARGET|SPEC",
    help="A target, or a column FILE.csv:COLUMN, that says which rows of STORE belong together, for the intervals.",
)
@ignore_label_option
@click.option(
    "--beside",
    metavar="PROBES",
    help="Probes that were fitted on STORE: their scores too, and the differences on rows that are new to both.",
)
@click.option("-o", "--output", metavar="SCORES.csv|.json", help="Write the scores to this file, too.")
@overwrite_option
@step_option
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="OLD=NEW",
    help="A layer that PROBES calls OLD is NEW here: names, globs ('layers.*=model.layers.*') or "
    "'re:EXPRESSION=NEW' with groups as \\1; repeatable, the last that fits counts.",
)
def evaluate(probes: str, sources: tuple[str, ...], **given: Any) -> Result:
    """Score the probes of PROBES on other rows, split by split, with intervals of 95%. Nothing is fitted.

    Rows are those of STORE, or of arrays in files: the arrays of FILE.npz are layers by their names, one array (.npy,
    FILE.npz:KEY) is the one layer that is asked for. Labels are the target of that name in STORE, or --target.

    Rows that a probe was trained on (role `fit`) or its C chosen by (`select`) are told from those that it has not seen
    (`held_out`), which alone have intervals. `same_ids` are rows of other inputs that have the ids of such rows. A
    layer that was reduced in another way than the one that the probe was fitted on is refused. Probes whose layer or
    target STORE lacks are named, the others scored, and the exit code is 1.

    \b
    Examples:
      probe eval probes.h5 shifted.h5 --beside shifted-probes.h5
      probe eval probes.h5 captured.acts --rename 'layers.*=model.layers.*'
      probe eval probes.h5 test=features.npz --target test:digit=labels.npy -o scores.csv
    """
    import solvers
    from solvers.probing.scores.asked import Asked

    read = [probes, *sources, *([given["beside"]] if given["beside"] else [])]
    output = checked_output(given["output"], KINDS, given["overwrite"], read)
    names = tuple(dict.fromkeys(name for each in given["metrics"] for name in each.split(",")))
    asked = Asked(names or None, given["positive"], given["negatives"])
    _refuse_parts_alone(names, output)
    fitted = solvers.load(probes).renamed(_pairs(given["renames"]))
    beside = solvers.load(given["beside"]) if given["beside"] else None
    with shown_warnings(), _told_of_rename(), ExitStack() as stack:
        rows = opened_rows(sources, given, stack)
        one = rows.scored(fitted, probes, asked)
        two = None if beside is None else rows.scored(beside, given["beside"], asked, one)
    result = _result(one, two, (probes, given["beside"]), asked)
    if output is not None:
        _write(output, given["overwrite"], result, one, two)
    return result


@contextmanager
def _told_of_rename() -> Iterator[None]:
    """Add to the error of a layer that is not there that it may be called otherwise."""
    from actstore.errors import LayerError

    try:
        yield
    except LayerError as error:
        error.add_note("where STORE calls the layers otherwise, say --rename OLD=NEW")
        raise


def _pairs(renames: Sequence[str]) -> dict[str, str]:
    """New names by old ones, of `--rename OLD=NEW`."""
    pairs: dict[str, str] = {}
    for text in renames:
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise WrongUsage(f"--rename {text!r} is not OLD=NEW; write for example 'layers.*=model.layers.*'")
        if old in pairs:
            raise WrongUsage(f"--rename {old!r} was given twice; give each name one new name")
        pairs[old] = new
    return pairs


def _refuse_parts_alone(metrics: Sequence[str], output: Path | None) -> None:
    """Refuse what a table has no room for: a metric that is a number for each pair of classes."""
    from solvers.metrics import registry

    for name in metrics:
        if registry.get(name).only_parts and output is None and not wants_json(click.get_current_context()):
            raise WrongUsage(f"{name} has parts alone, too many for a table; add --json or -o SCORES.csv")


def _result(one: Scored, two: Scored | None, names: tuple[str, str | None], asked: Asked) -> Result:
    """Return what is printed."""
    from solvers.probing.afterwards.differences import differences

    text: list[Any] = score_tables(one.found)
    data: dict[str, Any] = {"scores": one.found.scores.to_dicts()}
    notes, missing = list(one.notes), list(one.missing)
    if two is not None:
        found, lines = differences(one.found, two.found, asked.metrics)
        beside = str(names[1])
        text += [f"{beside}, on the same rows:", *score_tables(two.found)]
        text += difference_tables(found, (names[0], beside))
        data |= {"beside": two.found.scores.to_dicts(), "differences": [asdict(each) for each in found]}
        notes, missing = [*notes, *two.notes, *lines], [*missing, *two.missing]
    if any(score.interval for score in one.found.scores):
        sure = "95%: an interval of the fitted probe on new rows of the same population"
        unsure = "95%: an interval on new rows of the same population, if these rows are new"
        text.append(sure if one.new_is_known else unsure)
    text += _positive_lines(one.found, asked)
    return Result(
        data,
        text[:-1] if text and text[-1] == "" else text,
        [f"note: {note}" for note in dict.fromkeys(notes)],
        Failure("not-scored", list(dict.fromkeys(missing))) if missing else None,
        VERSION,
    )


def _positive_lines(found: Evaluation, asked: Asked) -> list[str]:
    """A line on which class metrics of one class against the rest call positive, where there are any."""
    from cli.probe.afterwards.tables import POSITIVE_METRICS
    from solvers.probing.scores.asked import positive_name

    if not {score.metric for score in found.scores} & set(POSITIVE_METRICS):
        return []
    named = {part.probe.target: positive_name(part.probe, asked) for part in found.parts}
    return [f"positive class of {target}: {name}" for target, name in named.items() if name is not None]


def _write(path: Path, overwrite: bool, result: Result, one: Scored, two: Scored | None) -> None:
    """Write the scores as CSV, or as the document of ``--json``."""
    from cli.shared import as_json_text
    from solvers.scoring.score_rows import ScoreRows

    scores: list[Score] = [*one.found.scores, *(two.found.scores if two is not None else [])]
    if path.suffix == ".csv":
        text = ScoreRows(scores).to_csv()
    else:
        text = as_json_text({"format": "probe eval", "version": VERSION, **result.data}) + "\n"
    write_whole(path, overwrite, lambda file: _put(file, text))


def _put(file: IO[bytes], text: str) -> None:
    file.write(text.encode("utf-8", "surrogateescape"))
