"""Probes for every layer of a network and every target, over the same rows."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from solvers.errors import ProblemError
from solvers.fitting.result import FitInterrupted
from solvers.fitting.settings import FitKeywords, takes_settings
from solvers.given import by_position, refuse_other_rows
from solvers.printable.progress import shown
from solvers.probing.finished.parts import Parts
from solvers.probing.finished.share import Entry, share_of
from solvers.probing.layer.fit_layer import Question
from solvers.probing.layer.notices import task_notices
from solvers.probing.layer.question import question
from solvers.probing.layer.run import LayerProgress, Run
from solvers.probing.layer.slices import cut, every_draw
from solvers.probing.layer.warm_starts import find_starts
from solvers.probing.scores.of_probes import keep_scores
from solvers.probing.settings import LayerSettings, penalties
from solvers.probing.targets import row_tables
from solvers.probing.task import RowRules, make_tasks, unfound_labels
from solvers.rows import as_layers, as_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.probe import Key, Probe
    from solvers.probing.probes import Probes
    from solvers.probing.task import Task
    from solvers.rows import RowSource

__all__ = ["FitInterrupted", "LayerProgress", "fit_layers"]


@takes_settings(scale=True)
def fit_layers(
    layers: Mapping[str, RowSource | ArrayLike]
    | Mapping[int, Mapping[str, RowSource | ArrayLike]]
    | RowSource
    | ArrayLike,
    labels: ArrayLike | Mapping[str, ArrayLike],
    *,
    splits: ArrayLike | Mapping[str, ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    split_as: Mapping[str, str] | None = None,
    ignore_label: Any = (),
    folds: int | None = None,
    holdout: float | None = None,
    C: float | Sequence[float] | NDArray[np.float64] | None = None,
    protocol: str | None = None,
    select_by: str = "cross_entropy",
    one_C: bool = False,
    score_path: str | Sequence[str] = (),
    predictions: bool | str = True,
    random_projection: int | None = None,
    seeds: int = 1,
    target: str = "label",
    split_features: int | None = None,
    require_all: bool = False,
    warm_start: Mapping[Key, Probe] | None = None,
    parts: str | Path | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    overwrite: bool = False,
    progress: bool | Callable[[LayerProgress], None] | None = None,
    notice: Callable[[str], None] | None = None,
    step: int = 0,
    fingerprint: str | Mapping[int, str] = "",
    command: str = "",
    ids: ArrayLike | None = None,
    **settings: Unpack[FitKeywords],
) -> Probes:
    """Fit a probe at every layer for every target: train on ``train``, choose C on ``val``, score every split.

    ``validation``, ``valid`` and ``dev`` are ``val``. Without any, and with several C, C is chosen by rows of
    ``train``: below 5,000 labelled ones by five folds (whole groups, classes in proportion, seeded), whose mean
    decides, and the C that it chooses is fitted on all of them; above, by a tenth that is set aside and not trained on.
    ``folds`` and ``holdout`` say which. With a single C there is nothing to choose. There is no refit on train and val
    together. Other splits are read once, at the end, for the probe chosen. The targets of a layer share the passes over
    its rows. What was done is in ``probe.proof.chosen``.

    Args:
        layers: arrays or row sources (rows, *features) by name, in the order of the network; or one, which is called
            as it says itself, else ``layer``; or of several training steps such a mapping by step, all of the same
            rows, each fit then started from the step before.
        labels: (rows,) ints, strings or bools, or several such by target; masked where a row has none, which skips
            and counts it. A pandas index must be that of a layer that has one, else 0, 1, 2, ... in order.
        splits: a name per row ("" means train), or row numbers or masks by name; None trains on every row.
        groups: (rows,), rows that must stay together when rows are set aside or dealt into folds.
        split_as: which of the splits is meant by ``train``, ``val`` or ``test``: ``{"val": "development"}``.
        ignore_label: a label, or several, that mean "no label".
        folds: choose C by so many folds of the training rows.
        holdout: choose C by this part of the training rows.
        C: one penalty or several, as in scikit-learn; None tries 1e-4 to 1e4.
        protocol: "train" chooses no C and sets nothing aside: every C (None: 1, 1e3, 1e5) is fitted to the gap on all
            of ``train`` and scored on every split, ``probe.path[i].scores``; the probe is the weakest penalty's.
        select_by: what C is chosen by: cross_entropy, error, accuracy or, of two classes, roc_auc; ties go to the
            smaller C. By another than the first every C is fitted.
        one_C: take one C for all layers, steps and draws of a target: that with the best sum of what chooses.
        score_path: splits besides train and val that every C of the path is scored on; they are explored, not held out.
        predictions: keep what the probes say of each row of every split but ``train``; "all" of that, too.
        random_projection: fit on so many random directions of every wider layer, drawn from (seed, layer name); the
            probe acts on rows of the full width.
        seeds: how many draws of ``feature_subset`` or ``random_projection`` there are, with the seeds ``seed``,
            ``seed`` + 1, ...; which rows are set aside is the same for all.
        target: what the labels are called where they are one array.
        split_features: fit each of this many slices of a layer's flattened features (attention heads) on its own, as
            layers ``NAME@0``, ``NAME@1`` and so on; their probes act on rows of the whole layer.
        require_all: refuse rows without a label.
        warm_start: probes to start from, of the same layers and targets, whatever their step.
        parts: a folder in which every finished layer is kept until the probes that are returned are saved. The same
            call goes on with what is finished there.
        rank: which of ``world_size`` processes this is, from 0, that make the same call with the same ``parts``, which
            are called after where the probes are saved: "PROBES.parts". Each layer is fitted by one of them; one that
            dies leaves its layer to the others. All return the same probes, and the first that saves them writes them.
        world_size: how many processes there are; fewer may come, or more.
        overwrite: start anew where ``parts`` holds layers of another fit.
        progress: True shows a line on stderr; or a function that is called as each layer is begun, and within it.
        notice: called with a line where layers are finished already, or damaged, or start cold; None warns.
        step: the training step that the activations are of, kept with the probes, where ``layers`` do not say it.
        fingerprint: of the store, kept with the probes; by step where there are several.
        command: what was typed, kept with the probes.
        ids: (rows,) texts; their hashes are kept with the probes, by which the rows are known again in another store.
        settings: the fields of :class:`~solvers.fitting.settings.FitSettings`, where they are explained. Here ``scale``
            is True unless said otherwise, ``seed`` is also that of the rows set aside, and a ``feature_subset`` is
            drawn from (seed, layer name), of layers that are wider.

    Returns:
        The probes. A layer with NaN or infinite activations has none, and its reason is in ``failures``.

    Raises:
        ProblemError: when the layers, labels, splits and settings do not make a problem.
        ProbeFileError: when ``parts`` cannot be written, or holds layers of another fit, or ranks cannot share them.
        TypeError: a keyword that there is not; the message names the nearest.
        FitInterrupted: on Ctrl-C, with the finished probes in its ``probes``.
    """
    asked = LayerSettings(
        C=penalties(C, protocol),
        command=command,
        protocol=protocol,
        select_by=select_by,
        one_C=one_C,
        score_path=(score_path,) if isinstance(score_path, str) else tuple(score_path),
        predictions=predictions,
        random_projection=random_projection,
        seeds=seeds,
        **settings,
    )
    if protocol is not None and (folds is not None or holdout is not None):
        msg = f"the protocol {protocol!r} chooses no C and sets no rows aside; leave out folds and holdout"
        raise ProblemError(msg)
    named = labels if isinstance(labels, Mapping) else {target: labels}
    by_step = _by_step(layers, step)
    for layer in (each for of_step in by_step.values() for each in of_step.values()):
        whose = {f"the labels of target {name!r}": given for name, given in named.items()}
        refuse_other_rows(layer, whose | {"the splits": splits, "the groups": groups, "the ids": ids})
    named = {name: by_position(given) for name, given in named.items()}
    rules = RowRules(
        splits=splits if isinstance(splits, Mapping) else by_position(splits),
        groups=by_position(groups),
        split_as=split_as or {},
        ignore_label=_several(ignore_label),
        require_all=require_all,
        choose=asked.chooses,
        folds=folds,
        holdout=holdout,
        seed=asked.seed,
    )
    tasks = make_tasks(named, rules)
    _refuse_unknown(asked, tasks)
    wanted = every_draw(_cut(by_step, tasks, split_features, fingerprint), asked)
    if not wanted:
        msg = "there are no layers to fit; give at least one"
        raise ProblemError(msg)
    entry = Entry(overwrite, share_of(rank, world_size, None if parts is None else Path(parts)))
    question_asked = Question(tasks, asked, row_tables(tasks, groups, ids))
    say = _warn if notice is None else notice
    _tell([*task_notices(tasks), *unfound_labels(named, rules.ignore_label)], say)
    first = [layer for layer in wanted if layer.step == wanted[0].step]
    starts = {} if warm_start is None else find_starts(warm_start, first, tasks, say)
    kept = Parts(wanted)
    if parts is not None:
        kept = Parts.begin(Path(parts), question(wanted, tasks, asked), wanted, entry, say)
    kept.tables = question_asked.tables
    with shown(progress) as line:
        probes = Run(question_asked, starts, line.report).over(kept)
    return keep_scores(probes)


def _by_step(layers: Any, step: int) -> dict[int, Mapping[str, Any]]:
    """The layers of each step, ascending; ``step`` is theirs where they do not say it."""
    layers = as_layers(layers)
    if not layers or not all(isinstance(key, Integral) and isinstance(layers[key], Mapping) for key in layers):
        return {step: layers}
    if step:
        msg = (
            f"layers are by step, {', '.join(map(str, layers))}, and step is {step}, too; leave out one of them"
        )
        raise ProblemError(msg)
    return {int(each): layers[each] for each in sorted(layers)}


def _cut(
    by_step: Mapping[int, Mapping[str, RowSource | ArrayLike]],
    tasks: Mapping[str, Task],
    split_features: int | None,
    fingerprint: str | Mapping[int, str],
) -> dict[int, list[FitLayer]]:
    """The layers to fit, or their slices, by step."""
    found = {}
    for step, layers in by_step.items():
        mark = fingerprint if isinstance(fingerprint, str) else fingerprint.get(step, "")
        checked = {name: _checked(name, layer, tasks) for name, layer in layers.items()}
        found[step] = [replace(layer, fingerprint=mark) for layer in cut(checked, split_features)]
    return found


def _refuse_unknown(asked: LayerSettings, tasks: Mapping[str, Task]) -> None:
    """Refuse splits that no target has, and what C cannot be chosen by."""
    there = list(dict.fromkeys(split for task in tasks.values() for split in task.rows))
    for split in asked.score_path:
        if split not in there:
            near = difflib.get_close_matches(split, there, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, there))}"
            msg = f"score_path names the split {split!r}, which no row is in; {known}"
            raise ProblemError(msg)
    for target, task in tasks.items():
        if asked.select_by == "roc_auc" and len(task.classes) != 2:
            msg = (
                f"select_by is 'roc_auc', which chooses between two classes, but target {target!r} has "
                f"{len(task.classes):,}; choose by cross_entropy or error"
            )
            raise ProblemError(msg)


def _tell(lines: Sequence[str], say: Callable[[str], None]) -> None:
    for line in lines:
        say(line)


def _several(values: Any) -> tuple[Any, ...]:
    if values is None:
        return ()
    return tuple(values) if isinstance(values, list | tuple | set | frozenset | np.ndarray) else (values,)


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=5)  # said by what fit_layers called, and about what its caller gave


def _checked(name: str, layer: RowSource | ArrayLike, tasks: Mapping[str, Task]) -> RowSource:
    """A layer as a row source with a row for every label."""
    try:
        source = as_source(layer)
    except ProblemError as error:
        msg = f"layer {name!r}: {error}"
        raise ProblemError(msg) from error
    for target, task in tasks.items():
        rows, labels = source.shape[0], len(task.labels)
        if rows != labels:
            msg = (
                f"layer {name!r} has {rows:,} rows but target {target!r} has {labels:,}; a probe needs one label per "
                "row, masked where there is none"
            )
            raise ProblemError(msg)
    return source
