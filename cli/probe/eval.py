"""`probe eval`: fitted probes on other rows, of a store or of files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

import click

from cli.probe.afterwards.eval_tables import difference_tables, score_tables
from cli.probe.afterwards.feature_rows import given_features
from cli.probe.afterwards.outputs import checked_output, write_whole
from cli.probe.afterwards.store_rows import (
    given_rows_of,
    labels_by_target,
    notes_of_store,
    refuse_another_layer,
)
from cli.result import Failure, Result, WrongUsage, command, wants_json
from cli.shared import overwrite_option, step_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from actstore.store.reading.reader import Store
    from solvers.probing.afterwards.scores import Evaluation, GivenRows
    from solvers.probing.probe import Probe, Probes
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
@click.option(
    "--beside",
    metavar="PROBES",
    help="Probes that were fitted on STORE: their scores too, and the differences on rows that are new to both.",
)
@click.option("-o", "--output", metavar="SCORES.csv|.json", help="Write the scores to this file, too.")
@overwrite_option
@step_option
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
      probe eval probes.h5 test=features.npz --target test:digit=labels.npy -o scores.csv
    """
    import solvers
    from solvers.probing.scores.asked import Asked

    read = [probes, *sources, *([given["beside"]] if given["beside"] else [])]
    output = checked_output(given["output"], KINDS, given["overwrite"], read)
    names = tuple(dict.fromkeys(name for each in given["metrics"] for name in each.split(",")))
    asked = Asked(names or None, given["positive"], given["negatives"])
    _refuse_parts_alone(names, output)
    fitted = solvers.load(probes)
    beside = solvers.load(given["beside"]) if given["beside"] else None
    with ExitStack() as stack:
        rows = _opened(sources, given, stack)
        one = rows.scored(fitted, probes, asked)
        same = {(part.probe.layer, part.probe.target) for part in one.found.parts}
        two = None if beside is None else rows.scored(beside, given["beside"], asked, same)
    result = _result(one, two, (probes, given["beside"]), asked)
    if output is not None:
        _write(output, given["overwrite"], result, one, two)
    return result


def _refuse_parts_alone(metrics: Sequence[str], output: Path | None) -> None:
    """Refuse what a table has no room for: a metric that is a number for each pair of classes."""
    from solvers.metrics import registry

    for name in metrics:
        if registry.get(name).only_parts and output is None and not wants_json(click.get_current_context()):
            raise WrongUsage(f"{name} has parts alone, too many for a table; add --json or -o SCORES.csv")


@dataclass(frozen=True)
class _Scored:
    """An evaluation, and what is to be said of it: lines to note, and what could not be scored."""

    found: Evaluation
    notes: list[str]
    missing: list[str]


@dataclass(frozen=True)
class _Source:
    """The rows to score probes on, of a store or of files, and what was asked of them."""

    sources: tuple[str, ...]
    store: Store | None
    given: Mapping[str, Any]
    stack: ExitStack

    def scored(
        self, fitted: Probes, file: str, asked: Asked, only: set[tuple[str, str]] | None = None
    ) -> _Scored:
        """Score the probes of a file; ``only`` those of these layers and targets, where it says so."""
        from solvers.errors import ProblemError
        from solvers.probing.afterwards.scores import evaluation

        chosen = chosen_probes(fitted, file, self.given["patterns"])
        chosen = [probe for probe in chosen if only is None or (probe.layer, probe.target) in only]
        if not chosen:
            raise WrongUsage(f"{file} has no probe of the same layer and target, so none to be set beside")
        if self.store is None:
            rows = given_features(self.sources, self.given["targets"], chosen, self.stack)
            there, missing = _there(chosen, rows, " ".join(self.sources))
            notes = [
                "rows of files have no ids: those that a probe was trained on are recognised, as `fit`, only where all "
                "of them are there in their order"
            ]
        else:
            rows, there, missing = self._of_store(self.store, fitted, chosen)
            for probe in there:
                refuse_another_layer(probe, self.store, file, self.sources[0])
            notes = list(notes_of_store(rows, there, fitted, self.store, (file, self.sources[0])))
        found = evaluation(there, fitted, rows, asked, keep=self.given["beside"] is not None)
        failed = [*missing, *_failed(found.failures)]
        if not found.parts:
            raise ProblemError(failed[0])
        return _Scored(found, [*notes, *found.scores.notes], failed)

    def _of_store(
        self, store: Store, fitted: Probes, chosen: Sequence[Probe]
    ) -> tuple[GivenRows, list[Probe], list[str]]:
        from cli.probe.row_columns import features_of, target_of

        labels = labels_by_target(store, chosen, self.given["targets"])
        asked = [probe for probe in chosen if not self.given["targets"] or probe.target in labels]
        lacking = {
            probe.key: [f"layer {name!r}" for name in probe.where.layers if name not in store.layers]
            + ([] if probe.target in labels else [f"target {probe.target!r}"])
            for probe in asked
        }
        there = [probe for probe in asked if not lacking[probe.key]]
        if not there:  # whoever reads them says what there is instead
            target_of(store, asked[0].target) if asked[0].target not in labels else None
            features_of(store, asked[0].where.layers)
        rows = given_rows_of(store, there, fitted, labels, self.given["group_by"])
        return rows, there, _lines(lacking.values(), self.sources[0], len(asked))


def _opened(sources: tuple[str, ...], given: Mapping[str, Any], stack: ExitStack) -> _Source:
    """Open the store, if it is one."""
    from cli.probe.bridge import is_store, open_store

    if len(sources) == 1 and is_store(sources[0]):
        return _Source(sources, stack.enter_context(open_store(sources[0], given["step"])), given, stack)
    stores = [source for source in sources if is_store(source)]
    if stores:
        raise WrongUsage(f"{stores[0]} is a store; give one store, or files of features of your own, not both")
    for name in ("step", "group_by"):
        if given[name] is not None:
            raise WrongUsage(
                f"--{name.replace('_', '-')} is for rows of a store; features of your own have none"
            )
    return _Source(sources, None, given, stack)


def chosen_probes(fitted: Probes, file: str, patterns: Sequence[str]) -> list[Probe]:
    """Return the probes whose layer one of the patterns picks; all without patterns.

    Raises:
        LayerError: a pattern that picks none.
        WrongUsage: the file has no probes.
    """
    from actstore.patterns import matcher, unknown

    every = list(fitted.values())
    if not every:
        raise WrongUsage(f"{file} has no probes: none of its layers could be fitted")
    picked: set[str] = set()
    names = list(dict.fromkeys(name for probe in every for name in (probe.layer, probe.stored_layer)))
    for pattern in patterns:
        matches = matcher(pattern, names)
        found = {name for name in names if matches(name)}
        if not found:
            raise unknown(pattern, names)
        picked |= found
    return [probe for probe in every if not patterns or {probe.layer, probe.stored_layer} & picked]


def _there(chosen: Sequence[Probe], rows: GivenRows, where: str) -> tuple[list[Probe], list[str]]:
    """The probes that features were given for, and a line on what is lacking for the others."""
    asked = [probe for probe in chosen if probe.target in rows.labels]
    lacking = {
        probe.key: [f"layer {name!r}" for name in probe.where.layers if name not in rows.layers]
        for probe in asked
    }
    there = [probe for probe in asked if not lacking[probe.key]]
    lines = _lines(lacking.values(), where, len(asked))
    if not there:
        raise WrongUsage("; ".join(lines))
    return there, lines


def _lines(lacking: Any, where: str, count: int) -> list[str]:
    """A line on each layer and target that is not there."""
    counts: dict[str, int] = {}
    for lack in (each for lacks in lacking for each in lacks):
        counts[lack] = counts.get(lack, 0) + 1
    return [
        f"{where} has no {lack}: {number} of {count} probes are not scored" for lack, number in counts.items()
    ]


def _failed(failures: Mapping[str, str]) -> list[str]:
    """A line on each reason why layers could not be scored."""
    by_reason: dict[str, list[str]] = {}
    for layer, reason in failures.items():
        by_reason.setdefault(reason, []).append(repr(layer))
    return [
        f"{', '.join(names[:4])}{f' and {len(names) - 4} others' if len(names) > 4 else ''} not scored: {reason}"
        for reason, names in by_reason.items()
    ]


def _result(one: _Scored, two: _Scored | None, names: tuple[str, str | None], asked: Asked) -> Result:
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
        text.append("95%: an interval of the fitted probe on new rows of the same population")
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
    from cli.probe.tables import POSITIVE_METRICS
    from solvers.probing.scores.asked import positive_name

    if not {score.metric for score in found.scores} & set(POSITIVE_METRICS):
        return []
    named = {part.probe.target: positive_name(part.probe, asked) for part in found.parts}
    return [f"positive class of {target}: {name}" for target, name in named.items() if name is not None]


def _write(path: Path, overwrite: bool, result: Result, one: _Scored, two: _Scored | None) -> None:
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
    file.write(text.encode())
