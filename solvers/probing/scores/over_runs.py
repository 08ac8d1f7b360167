"""Comparisons within each of several runs (other seeds, networks, data) as one: the mean difference, by t over them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtr, stdtrit

from solvers.errors import ProblemError
from solvers.probing.scores.comparisons import Comparisons, comparisons
from solvers.scoring.comparisons import NO_VALUE, Comparison, holm
from solvers.scoring.interval_of import Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from solvers.probing.probes import Probes
    from solvers.probing.scores.comparing import Family

__all__ = ["compare_over_runs", "mean_families"]

_NAMED = ("layers", "steps", "targets", "reference")
_ALL_ALIKE = "the difference is the same in every run, so what another would change is not known"


def compare_over_runs(runs: Mapping[str, Probes], *, metric: str = "error", **how: Any) -> Comparisons:
    """Return the mean over runs of a difference, each time paired on the same rows of one run.

    The interval (95%) and p are Student's t over the runs: what another seed, network or data set would change. What
    new rows would change within one run is another number, that of ``Probes.compare``, and does not enter.

    Args:
        runs: the probes of each run, by its name.
        metric: which; docs/metrics.md has them.
        how: as ``Probes.compare`` has it, a reference named: ``layers``, ``steps``, ``targets`` or ``reference``.

    Returns:
        Families as ``Probes.compare`` gives them, each of means; ``rows`` are those of the smallest run.

    Raises:
        ProblemError: fewer than two runs, no reference that is named beforehand, two runs of one store, or one that
            lacks a comparison that another has.
    """
    if not any(how.get(name) for name in _NAMED):
        msg = (
            "a mean over runs needs a reference that is named beforehand, since the best may be another layer in each; "
            f"give {', '.join(_NAMED[:-1])} or {_NAMED[-1]}"
        )
        raise ProblemError(msg)
    _refuse_one_store(runs)
    words = {"metric": metric, **how}
    return mean_families({name: comparisons(probes, None, words) for name, probes in runs.items()})


def mean_families(runs: Mapping[str, Sequence[Family]]) -> Comparisons:
    """Return the mean of each comparison over runs, in families with Holm's p of their own; raises as above."""
    if len(runs) < 2:
        msg = f"a mean over runs needs two of them; {len(runs)} was given"
        raise ProblemError(msg)
    first, *others = runs
    found = {name: {_place(family): family for family in families} for name, families in runs.items()}
    for name, families in runs.items():
        if len(found[name]) < len(families):
            msg = f"{name} has several draws of columns (--seeds), each with comparisons of its own; fit one draw a run"
            raise ProblemError(msg)
    for name in others:
        for one, other in ((first, name), (name, first)):
            if missing := [place for place in found[one] if place not in found[other]]:
                target, step, split, _ = missing[0]
                msg = (
                    f"{other} has no comparison of target {target!r}, step {step} on {split!r}, which {one} has; a "
                    "mean needs it of every run"
                )
                raise ProblemError(msg)
    return Comparisons(_mean({name: found[name][place] for name in runs}) for place in found[first])


def _place(family: Family) -> tuple[str, int | None, str, str]:
    return family.target, family.step, family.split, family.metric


def _mean(families: Mapping[str, Family]) -> Family:
    """Return the family of the means; a comparison is known by the names of the two."""
    first = next(iter(families.values()))
    own = {
        name: {(each.name, each.reference): each.comparison for each in family.comparisons}
        for name, family in families.items()
    }
    every = dict.fromkeys(pair for pairs in own.values() for pair in pairs)
    for pair in every:
        for name, pairs in own.items():
            if pair not in pairs:
                msg = f"{name} does not compare {pair[0]!r} with {pair[1]!r}, as another run does; fit it there, too"
                raise ProblemError(msg)
    means = {pair: _over([pairs[pair] for pairs in own.values()]) for pair in every}
    adjusted = holm(np.array([mean.p for mean in means.values()]))
    by_name = {(each.name, each.reference): each for each in first.comparisons}
    rows = tuple(
        replace(by_name[pair], comparison=replace(mean, p_family=float(p)))
        for (pair, mean), p in zip(means.items(), adjusted, strict=True)
    )
    notes = tuple(dict.fromkeys(note for family in families.values() for note in family.notes))
    return replace(first, comparisons=rows, notes=notes, runs=len(families))


def _over(own: Sequence[Comparison]) -> Comparison:
    """Return the mean of one comparison over runs, with the interval and p of Student's t."""
    value, reference, differences = (
        np.array([getattr(each, name) for each in own]) for name in ("value", "reference", "difference")
    )
    runs = len(own)
    mean, error = float(differences.mean()), float(differences.std(ddof=1)) / runs**0.5
    told = replace(
        own[0],
        value=float(value.mean()),
        reference=float(reference.mean()),
        difference=mean,
        rows=min(each.rows for each in own),
        groups=None,
        why="",
    )
    if not np.isfinite(differences).all():
        return told.unjudged(NO_VALUE)
    if error <= np.finfo(float).eps * abs(mean):
        return told.unjudged(_ALL_ALIKE)
    half = float(stdtrit(runs - 1, 0.975)) * error
    p = float(2 * stdtr(runs - 1, -abs(mean) / error))
    return replace(told, interval=Interval(mean - half, mean + half, "t_runs"), p=p, p_family=p)


def _refuse_one_store(runs: Mapping[str, Probes]) -> None:
    """Refuse runs that share a store: probes on the same activations are one run."""
    seen: dict[str, str] = {}
    for name, probes in runs.items():
        for store in {probe.fingerprint for probe in probes.values() if probe.fingerprint}:
            other = seen.setdefault(store, name)
            if other != name:
                msg = f"{other} and {name} are of one store, so they are one run; give a file of each network or data"
                raise ProblemError(msg)
