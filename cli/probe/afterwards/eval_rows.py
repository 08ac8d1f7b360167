"""The rows that `probe eval` scores probes on, of a store or of files, and the scores of the probes of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.probe.afterwards.feature_rows import given_features
from cli.probe.afterwards.store_rows import (
    called_by,
    given_rows_of,
    labels_by_target,
    new_is_known,
    notes_of_store,
    refuse_another_layer,
)
from cli.result import WrongUsage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    from actstore.store.reading.reader import Store
    from solvers.probing.afterwards.scores import Evaluation, GivenRows
    from solvers.probing.probe import Key, Probe
    from solvers.probing.probes import Probes
    from solvers.probing.scores.asked import Asked

__all__ = ["EvalRows", "Scored", "opened_rows"]


@dataclass(frozen=True)
class Scored:
    """An evaluation, what is to be said of it (lines to note, what could not be scored), and what splits are called.

    ``new_is_known`` says whether rows that are held out are certainly new to the probes.
    """

    found: Evaluation
    notes: list[str]
    missing: list[str]
    called: Mapping[str, str]
    new_is_known: bool = True


@dataclass(frozen=True)
class EvalRows:
    """The rows to score probes on, of a store or of files, and what was asked of them."""

    sources: tuple[str, ...]
    store: Store | None
    given: Mapping[str, Any]
    stack: ExitStack

    def scored(self, fitted: Probes, file: str, asked: Asked, beside: Scored | None = None) -> Scored:
        """Score the probes of a file; of those to be set beside others, the ones of the same layers and targets."""
        from solvers.errors import ProblemError
        from solvers.probing.afterwards.scores import evaluation

        chosen = chosen_probes(fitted, file, self.given["patterns"])
        called = called_by(chosen) if beside is None else beside.called
        if beside is not None:
            same = {(part.probe.layer, part.probe.target) for part in beside.found.parts}
            chosen = [probe for probe in chosen if (probe.layer, probe.target) in same]
        if not chosen:
            raise WrongUsage(f"{file} has no probe of the same layer and target, so none to be set beside")
        if self.store is None:
            rows = given_features(
                self.sources, self.given["targets"], chosen, self.stack, self.given["ignore_label"]
            )
            there, missing = _there(chosen, rows, " ".join(self.sources))
            notes = [
                "rows of files have no ids: those that a probe was trained on are recognised, as `fit`, only where all "
                "of them are there in their order; whether the others are new to it is not known"
            ]
        else:
            rows, there, missing = self._of_store(self.store, fitted, chosen, called)
            for probe in there:
                refuse_another_layer(probe, self.store, file, self.sources[0])
            notes = list(notes_of_store(rows, there, fitted, self.store, (file, self.sources[0])))
        found = evaluation(there, fitted, rows, asked, keep=self.given["beside"] is not None)
        failed = [*missing, *_failed(found.failures)]
        if not found.parts:
            raise ProblemError(failed[0])
        known = self.store is not None and all(new_is_known(probe, fitted, self.store, rows) for probe in there)
        return Scored(found, [*notes, *found.scores.notes], failed, called, known)

    def _of_store(
        self, store: Store, fitted: Probes, chosen: Sequence[Probe], called: Mapping[str, str]
    ) -> tuple[GivenRows, list[Probe], list[str]]:
        from cli.probe.row_columns import features_of, target_of

        labels = labels_by_target(store, chosen, self.given["targets"], self.given["ignore_label"])
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
        rows = given_rows_of(store, there, fitted, labels, self.given["group_by"], called)
        return rows, there, _lines(lacking.values(), self.sources[0], len(asked))


def opened_rows(sources: tuple[str, ...], given: Mapping[str, Any], stack: ExitStack) -> EvalRows:
    """Open the store, if it is one."""
    from cli.probe.bridge import is_store, open_store

    if len(sources) == 1 and is_store(sources[0]):
        return EvalRows(sources, stack.enter_context(open_store(sources[0], given["step"])), given, stack)
    stores = [source for source in sources if is_store(source)]
    if stores:
        raise WrongUsage(f"{stores[0]} is a store; give one store, or files of features of your own, not both")
    for name in ("step", "group_by"):
        if given[name] is not None:
            raise WrongUsage(
                f"--{name.replace('_', '-')} is for rows of a store; features of your own have none"
            )
    return EvalRows(sources, None, given, stack)


def chosen_probes(fitted: Probes, file: str, patterns: Sequence[str]) -> list[Probe]:
    """Return the probes whose layer one of the patterns picks; all without patterns.

    Raises:
        LayerError: a pattern that picks none.
        WrongUsage: the file has no probes.
    """
    from actstore.patterns import pick_names

    every = list(fitted.values())
    if not every:
        raise WrongUsage(f"{file} has no probes: none of its layers could be fitted")
    names = list(dict.fromkeys(name for probe in every for name in (probe.layer, probe.stored_layer)))
    picked = set(pick_names(patterns, names))
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


def _failed(failures: Mapping[Key, str]) -> list[str]:
    """A line on each reason why layers could not be scored."""
    targets = {target for _, target, *_ in failures}
    by_reason: dict[str, list[str]] = {}
    for (layer, target, *_), reason in failures.items():
        name = repr(layer) if len(targets) == 1 else f"{layer!r} for {target!r}"
        by_reason.setdefault(reason, []).append(name)
    return [
        f"{', '.join(names[:4])}{f' and {len(names) - 4} others' if len(names) > 4 else ''} not scored: {reason}"
        for reason, names in by_reason.items()
    ]
