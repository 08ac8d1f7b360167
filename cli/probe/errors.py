"""`probe errors`: the rows that a probe gets most wrong."""

from __future__ import annotations

import csv
import io
from typing import IO, TYPE_CHECKING, Any

import click

from cli.probe.afterwards.one_probe import one_probe, probe_options, store_of
from cli.probe.afterwards.outputs import checked_output, write_whole
from cli.probe.afterwards.store_rows import (
    given_rows_of,
    labels_by_target,
    notes_of_store,
    refuse_another_layer,
)
from cli.probe.afterwards.tables import WIDTH, Column, table_of
from cli.result import Result, WrongUsage, command
from cli.shared import ignore_label_option, overwrite_option, printable, shown_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.probing.afterwards.scores import Part
    from solvers.probing.probe import Probe
    from solvers.scoring.answers import Answers

_LEAST_TEXT = 20
"""Characters of a kept text that are printed at least, however wide the other columns are."""
_WORDS = ("form", "token")
"""Targets that say what a row is, where rows are words or tokens."""


@command()
@click.argument("probes", metavar="PROBES")
@click.argument("store", metavar="STORE")
@probe_options
@click.option("--split", metavar="SPLIT", help="Of these rows; test where there is one.")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many rows at most.")
@click.option("-o", "--output", metavar="FILE.csv", help="Write these rows to this file, too.")
@overwrite_option
@ignore_label_option
def errors(probes: str, store: str, split: str | None, top: int, **given: Any) -> Result:
    """Show the rows of STORE that a probe gets most wrong: those it misclassifies, the highest nats of the truth first.

    `p` is the probability of the class that it says, `p truth` that of the true one, `nats` its negative logarithm:
    infinite where training had none of that class. `role` says which rows the probe was trained on (`fit`) or its C was
    chosen by (`select`). The text of a row is shown where STORE keeps it (`actstore dump --keep-input text`). Labels
    other than those of STORE: --target NAME=SPEC.

    \b
    Example:
      probe errors probes.h5 digits.h5 --layer hidden1 --top 10
    """
    import solvers
    from solvers.probing.afterwards.scores import evaluation
    from solvers.probing.scores.asked import Asked

    output = checked_output(given["output"], (".csv",), given["overwrite"], [probes, store])
    fitted = solvers.load(probes)
    asked = {name: given[name] for name in ("layer", "step", "seed")}
    probe = one_probe(fitted, probes, target=(given["target"] or "").partition("=")[0] or None, **asked)
    targets = [given["target"] or probe.target]
    with shown_warnings(), store_of(store, probe) as opened:
        refuse_another_layer(probe, opened, probes, store)
        rows = given_rows_of(
            opened, [probe], fitted, labels_by_target(opened, [probe], targets, given["ignore_label"])
        )
        found = evaluation([probe], fitted, rows, Asked(("error",)), keep=True)
        for reason in found.failures.values():
            raise click.ClickException(f"layer {probe.layer!r}: {reason}")
        split = _split(_own(probe, split), list(dict.fromkeys(part.split for part in found.parts)), store)
        parts = [part for part in found.parts if part.split == split]
        records = _records(parts, opened, top)
        notes = [*notes_of_store(rows, [probe], fitted, opened, (probes, store)), *_of_pictures(opened)]
    counts = {
        "rows": sum(part.rows for part in parts),
        "wrong": sum(int((~answers.right).sum()) for answers in _answers(parts)),
    }
    if output is not None:
        write_whole(output, given["overwrite"], lambda file: _write(file, records))
    place = {"layer": probe.layer, "target": probe.target, "step": probe.step, "split": split}
    return Result(
        {**place, **counts, "errors": records},
        [_heading(probe, split, counts, len(records)), *([_table(records)] if records else [])],
        [f"note: {note}" for note in dict.fromkeys([*notes, *_seen(records)])],
    )


def _own(probe: Probe, split: str | None) -> str | None:
    """What the probe calls a split that the store may have another word for."""
    from solvers.probing.scores.split_names import own_splits

    return None if split is None else own_splits([probe], [split])[0]


def _split(asked: str | None, there: Sequence[str], where: str) -> str:
    """The split that is looked at: the one asked for, `test`, or the only one."""
    names = ", ".join(f"`{name}`" if name else "(none)" for name in there)
    if asked is not None:
        if asked not in there:
            raise WrongUsage(f"{where} has no labelled rows of a split {asked!r}; it has {names}")
        return asked
    if "test" in there:
        return "test"
    if len(there) > 1:
        raise WrongUsage(f"{where} has no split `test`; say which with --split: {names}")
    return there[0]


def _records(parts: Sequence[Part], store: Store, top: int) -> list[dict[str, Any]]:
    """The rows that are wrong, the highest nats first, in order where they are the same."""
    import numpy as np

    answers = _answers(parts)
    index = np.concatenate([each.predictions.index for each in answers])
    nats = np.concatenate([part.nats for part in parts if part.nats is not None])
    right = np.concatenate([each.right for each in answers])
    sure = np.concatenate([each.confidence for each in answers])
    roles = np.repeat([part.role for part in parts], [part.rows for part in parts])
    truth = np.concatenate([_labels(each, each.truth) for each in answers])
    said = np.concatenate([_labels(each, each.predicted) for each in answers])
    order = np.lexsort((index, -nats))
    texts, ids = kept_texts(store), store.ids
    records = []
    for at in order[~right[order]][:top].tolist():
        row = int(index[at])
        record = {"row": row, "id": str(ids[row]), "role": str(roles[at])}
        if store.groups is not None:
            record["group"] = str(store.groups[row])
        record |= {"truth": truth[at], "predicted": said[at], "probability": float(sure[at])}
        record |= {"truth_probability": float(np.exp(-nats[at])), "nats": float(nats[at])}
        record |= {name: str(store.targets[name][row]) for name in _words(store)}
        if texts is not None:
            record["text"] = str(texts[row])
        records.append(record)
    return records


def _answers(parts: Sequence[Part]) -> list[Answers]:
    return [part.answers for part in parts if part.answers is not None]


def _labels(answers: Answers, codes: np.ndarray) -> np.ndarray:
    """(rows,) classes as plain Python values."""
    import numpy as np

    classes = answers.predictions.classes.tolist()
    plain = [each.decode("latin-1") if isinstance(each, bytes) else each for each in classes]
    values = np.empty(len(codes), object)
    values[:] = [plain[code] for code in codes.tolist()]
    return values


def _words(store: Store) -> list[str]:
    return [name for name in _WORDS if name in store.targets and store.row_unit != "example"][:1]


def kept_texts(store: Store) -> np.ndarray | None:
    """Return the text of every row (rows,), where the dump kept it; None where it did not."""
    import numpy as np

    kept = getattr(store, "inputs_kept", None)
    return kept if isinstance(kept, np.ndarray) else None


def _of_pictures(store: Store) -> list[str]:
    """A line on inputs that were kept and cannot be printed."""
    kept = getattr(store, "inputs_kept", None)
    if kept is None or kept_texts(store) is not None:
        return []
    return ["what was kept of the inputs are pictures, which are not printed: rows are shown by their ids"]


def _seen(records: Sequence[dict[str, Any]]) -> list[str]:
    """A line on rows that say little of how the probe does on others."""
    count = sum(record["role"] in ("fit", "select") for record in records)
    if not count:
        return []
    return [
        f"{count:,} of these rows trained the probe or chose its C: such rows are not what it does on new ones"
    ]


def _heading(probe: Probe, split: str, counts: dict[str, int], shown: int) -> str:
    rows, wrong = counts["rows"], counts["wrong"]
    step = f", step {probe.step}" if probe.step else ""
    more = f"; the {shown:,} with the highest nats" if shown < wrong else ""
    return (
        f"{probe.layer} for {probe.target}{step}, split {split or '(none)'}: {wrong:,} of {rows:,} wrong{more}"
    )


def _table(records: Sequence[dict[str, Any]]) -> Any:
    """The records as a table of 80 columns, the text cut to what room is left."""
    left = {"id", "role", "group", "truth", "predicted", *_WORDS}
    names = [name for name in records[0] if name not in ("row", "text")]
    if all(record["role"] == "held_out" for record in records):
        names.remove("role")
    columns = [
        Column(_HEADERS.get(name, name), [_cell(record[name]) for record in records], left=name in left)
        for name in names
    ]
    if "text" in records[0]:
        room = max(_LEAST_TEXT, WIDTH - sum(column.width for column in columns))
        columns.append(Column("text", [_cut(record["text"], room) for record in records], left=True))
    return table_of(columns)


_HEADERS = {"probability": "p", "truth_probability": "p truth"}


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _cut(text: str, room: int) -> str:
    shown = printable(text)
    return shown if len(shown) <= room else shown[: room - 1] + "…"


def _write(file: IO[bytes], records: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    names = list(records[0]) if records else ["row", "id", "role", "truth", "predicted", "probability"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    file.write(text.getvalue().encode("utf-8", "surrogateescape"))
