"""Which probes are compared with which: layers, steps, targets or files, with a reference that is named or found."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.errors import ProblemError
from solvers.metrics import registry
from solvers.probing.scores.asked import Asked, answers_of, judged_split, refuse_unknown, splits_of
from solvers.probing.scores.divided import divided_notes
from solvers.probing.scores.path import role_of
from solvers.probing.scores.split_names import own_splits
from solvers.scoring.best_of import against_the_best
from solvers.scoring.comparisons import Comparison, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from solvers.metrics.base import Metric
    from solvers.probing.probe import Probe
    from solvers.probing.probes import Probes
    from solvers.scoring.answers import Answers

__all__ = ["Compared", "Family", "Question", "compared"]


@dataclass(frozen=True)
class Question:
    """What is compared. Of ``layers``, ``steps`` and ``targets`` the first named is the reference of the others.

    ``split`` None is the one that probes are judged by. Without layers, steps, targets or a ``reference`` layer, every
    layer is compared with the best by ``val``, or with the best on the very rows where no ``val`` tells.
    """

    metric: str = "error"
    split: str | None = None
    positive: object = None
    reference: str | None = None
    layers: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """One comparison, by the names of the two."""

    name: str
    reference: str
    comparison: Comparison


@dataclass(frozen=True)
class Family:
    """Comparisons whose p-values are adjusted together, and where their reference is from.

    ``step`` is None where steps are compared. ``simultaneous``: the reference is the best found on the same rows.
    ``notes`` say what else a reader has to know of the rows. ``runs``: of how many runs the numbers are means; 0 where
    they are of one.
    """

    target: str
    step: int | None
    split: str
    metric: str
    higher_is_better: bool
    reference: str
    simultaneous: bool
    comparisons: tuple[Compared, ...]
    notes: tuple[str, ...] = ()
    runs: int = 0


Named = tuple[str, "Probes", "Probe"]
"""A probe with what it is called, and the probes it is among."""


def compared(
    files: Sequence[Probes], question: Question, names: Sequence[str] = ("first", "second")
) -> list[Family]:
    """Return the comparisons that are asked for, of the probes of one file or of two.

    Raises:
        ProblemError: a layer, step, target, metric or split that there is not; rows that are not the same, were trained
            on, or have no predictions.
    """
    metric = registry.get(question.metric)
    if metric.only_parts:
        msg = f"{metric.name} is no number of all rows, so it cannot be compared; choose another metric"
        raise ProblemError(msg)
    for probes in files:
        refuse_unknown(probes, Asked(positive=question.positive))
    asker = _Asker(question, metric)
    if len(files) == 2:
        return asker.two_files(files[0], files[1], names)
    (probes,) = files
    if question.steps:
        return asker.across(probes, "step", question.steps)
    if question.targets:
        return asker.across(probes, "target", question.targets)
    return asker.layers(probes)


@dataclass(frozen=True)
class _Asker:
    question: Question
    metric: Metric

    def layers(self, probes: Probes) -> list[Family]:
        """Compare layers of each target and step."""
        wanted = self.question.layers or tuple(dict.fromkeys(probe.layer for probe in probes.values()))
        reference = self.question.layers[0] if self.question.layers else self.question.reference
        for layer in (*wanted, *([] if reference is None else [reference])):
            _refuse_unknown("layer", layer, probes)
        families = []
        for own in _families(probes, ("target", "step", "seed")):
            named = [(probe.layer, probes, probe) for probe in own if probe.layer in wanted]
            if len(named) > 1:
                families.append(self._against(named, reference))
        return _some(families)

    def across(self, probes: Probes, what: str, values: Sequence[Any]) -> list[Family]:
        """Compare two steps, or two targets, layer by layer."""
        for value in values:
            _refuse_unknown(what, value, probes)
        others = tuple(name for name in ("target", "step", "seed") if name != what)
        families = []
        for own in _families(probes, others):
            of_value = [{each.layer: each for each in own if getattr(each, what) == value} for value in values]
            common = [layer for layer in of_value[0] if layer in of_value[1]]
            pairs = [
                ((f"{layer}", probes, of_value[1][layer]), (f"{layer}", probes, of_value[0][layer]))
                for layer in common
            ]
            if pairs:
                called = f"{what} {values[0]}, against which {what} {values[1]} is set"
                families.append(self._pairs(pairs, called, what != "target"))
        return _some(families)

    def two_files(self, first: Probes, second: Probes, names: Sequence[str]) -> list[Family]:
        """Compare the probes of the second file with those of the first."""
        for key in first:
            if key in second and first[key].rows_fingerprint != second[key].rows_fingerprint:
                msg = (
                    f"{names[0]} and {names[1]} were fitted on different rows or splits (layer {key[0]!r}), so they "
                    "cannot be compared; fit both on the same rows with the same --seed"
                )
                raise ProblemError(msg)
        _refuse_other_ids(first, second, names)
        families = []
        for own in _families(first, ("target", "step", "seed")):
            common = [probe for probe in own if probe.key in second]
            pairs = [
                ((probe.layer, second, second[probe.key]), (probe.layer, first, probe)) for probe in common
            ]
            if pairs:
                families.append(
                    self._pairs(pairs, f"the same layer of {names[0]}, against which {names[1]} is set", True)
                )
        if not families:
            msg = (
                f"{names[0]} and {names[1]} have no layer, target and step in common; compare files of the same"
            )
            raise ProblemError(msg)
        return families

    def _pairs(self, pairs: Sequence[tuple[Named, Named]], reference: str, same_labels: bool) -> Family:
        split = self._split([probe for pair in pairs for _, _, probe in pair])
        answers = [[self._answers(each, split) for each in side] for side in zip(*pairs, strict=True)]
        found = compare(self.metric, answers[0], answers[1], same_labels)
        names = [(one[0], two[0]) for one, two in pairs]
        rows = [Compared(one, two, each) for (one, two), each in zip(names, found, strict=True)]
        return self._family([probe for pair in pairs for _, _, probe in pair], split, reference, rows)

    def _against(self, named: Sequence[Named], reference: str | None) -> Family:
        """Compare probes with one of them: the one that is named, the best by ``val``, or the best there is."""
        split = self._split([probe for _, _, probe in named])
        answers = [self._answers(each, split) for each in named]
        names = [name for name, _, _ in named]
        said = "named beforehand"
        if reference is None:
            reference, said = self._best_by_val(named, split)
        if reference is None:
            place, found = against_the_best(self.metric, answers)
            rows = [Compared(name, names[place], each) for name, each in zip(names, found, strict=True)]
            rows = [each for number, each in enumerate(rows) if number != place]
            return self._family([probe for _, _, probe in named], split, names[place], rows, simultaneous=True)
        if reference not in names:
            target = named[0][2].target
            msg = f"target {target!r} has no probe of layer {reference!r} at step {named[0][2].step}; choose another"
            raise ProblemError(msg)
        place = names.index(reference)
        others = [number for number in range(len(names)) if number != place]
        found = compare(self.metric, [answers[number] for number in others], [answers[place]] * len(others))
        rows = [Compared(names[number], reference, each) for number, each in zip(others, found, strict=True)]
        return self._family([probe for _, _, probe in named], split, f"{reference}, {said}", rows)

    def _family(
        self,
        probes: Sequence[Probe],
        split: str,
        reference: str,
        rows: Sequence[Compared],
        simultaneous: bool = False,
    ) -> Family:
        metric, probe = self.metric, probes[0]
        step = None if self.question.steps else probe.step
        named = (probe.target, step, split, metric.name, metric.higher_is_better)
        return Family(*named, reference, simultaneous, tuple(rows), tuple(divided_notes(probes, [split])))

    def _best_by_val(self, named: Sequence[Named], split: str) -> tuple[str | None, str]:
        """Return the best layer by the rows that chose C, or by ``val``; None where no rows but those judged tell."""
        values = [self._on_val(each, split) for each in named]
        if any(value is None or np.isnan(value[1]) for value in values):
            return None, ""
        numbers = np.array([value[1] for value in values if value is not None])
        place = int(np.argmax(numbers if self.metric.higher_is_better else -numbers))
        where = next(value[0] for value in values if value is not None)
        return named[place][0], f"the best by {self.metric.name} on {where} ({numbers[place]:.4f})"

    def _on_val(self, named: Named, split: str) -> tuple[str, float] | None:
        _, probes, probe = named
        val = str(probe.proof.chosen.get("split") or "val")
        if val == split:
            return None
        recorded = getattr(probe.scores, self.metric.name, None) if self.metric.name in _RECORDED else None
        if recorded is not None and val in recorded:
            return f"`{val}`", float(recorded[val])
        if val in probe.scores.error:
            answers = answers_of(probes, probe, val, Asked(positive=self.question.positive))
            if answers is not None and not self.metric.refusal(answers):
                return f"`{val}`", self.metric.value(answers) if answers.finite else np.nan
        for tried in probe.path:
            if tried.C == probe.C and "val" in tried.scores.get(self.metric.name, {}):
                return "the rows that chose C", float(tried.scores[self.metric.name]["val"])
        return None

    def _split(self, probes: Sequence[Probe]) -> str:
        """Return the split that is compared on, of rows that no probe has seen."""
        there = splits_of(probes)
        asked = self.question.split
        split = judged_split(probes) if asked is None else own_splits(probes, [asked])[0]
        if split is None or any(split not in probe.scores.error for probe in probes):
            msg = f"there is no split {split!r} of all these probes; they were scored on {', '.join(there) or 'none'}"
            raise ProblemError(msg)
        roles = {role_of(probe, split) for probe in probes}
        if roles != {"held_out"}:
            done = "trained the probes" if "fit" in roles else "chose C"
            msg = f"the rows of {split!r} {done}, so they cannot judge them; compare on a held-out split with --split"
            raise ProblemError(msg)
        return split

    def _answers(self, named: Named, split: str) -> Answers:
        _, probes, probe = named
        asked = Asked(positive=self.question.positive)
        answers = None if probe.classes is None else answers_of(probes, probe, split, asked)
        if answers is None:
            msg = (
                f"layer {probe.layer!r}, target {probe.target!r}: the file has no predictions of split {split!r}, "
                "and a comparison is of them; fit without --no-predictions"
            )
            raise ProblemError(msg)
        if refusal := self.metric.refusal(answers):
            raise ProblemError(refusal)
        return answers


_RECORDED = ("error", "cross_entropy")


def _families(probes: Probes, names: Sequence[str]) -> list[list[Probe]]:
    """Return the probes that have these attributes in common, of whole fits alone."""
    found: dict[Any, list[Probe]] = {}
    for probe in probes.values():
        if probe.where.fold is None:
            found.setdefault(tuple(getattr(probe, name) for name in names), []).append(probe)
    return list(found.values())


def _some(families: list[Family]) -> list[Family]:
    if not families:
        msg = "there are no two probes to compare; give a file of several layers, or two files"
        raise ProblemError(msg)
    return families


def _refuse_unknown(what: str, value: object, probes: Probes) -> None:
    known: list[Any] = list(dict.fromkeys(getattr(probe, what) for probe in probes.values()))
    if value not in known:
        shown: Callable[[Any], str] = str
        near = [] if what == "step" else difflib.get_close_matches(str(value), map(shown, known), 1)
        hint = (
            f"did you mean {near[0]!r}?"
            if near
            else f"there are {', '.join(map(shown, known[:12]))}" + ", ..." * (len(known) > 12)
        )
        msg = f"there is no {what} {value!r} among the probes; {hint}"
        raise ProblemError(msg)


def _refuse_other_ids(first: Probes, second: Probes, names: Sequence[str]) -> None:
    """Refuse files whose rows have other ids: the same places in two stores may be other examples."""
    there = {table.key: table.arrays.get("id") for table in second.beside.tables}
    for table in first.beside.tables:
        one, two = table.arrays.get("id"), there.get(table.key)
        if one is not None and two is not None and not np.array_equal(one, two):
            msg = (
                f"{names[0]} and {names[1]} were scored on rows of other ids (target {table.target!r}, split "
                f"{table.split!r}), so they cannot be paired; fit both on the same rows"
            )
            raise ProblemError(msg)
