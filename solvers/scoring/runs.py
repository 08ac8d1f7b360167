"""Scores of several runs (other seeds, networks, data) as one: their mean, with what another run would change."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from solvers.scoring.score import Score

__all__ = ["over_runs"]

_PLACE = (
    "layer",
    "step",
    "target",
    "kind",
    "method",
    "part",
    "seed",
    "fold",
    "split",
    "role",
    "metric",
    "unit",
)
_CERTIFIED = ("converged", "unpenalised")
_AT_LEAST_0 = ("share", "nats", "bits")


def over_runs(runs: Mapping[str, Sequence[Score]]) -> list[Score]:
    """Return the mean of each score over runs, with the 95% interval of Student's t over them.

    The interval is of the mean over further runs, networks that another seed would give. It says nothing of what new
    rows would change within one, and takes the place of the intervals that say that.

    Args:
        runs: the scores of each run, by its name. Of values of C that were only tried (``path``) those count that
            every run has.

    Returns:
        A score for each, in the order of the first run: ``value`` the mean, ``interval`` ``t_runs``, ``groups`` how
        many runs, ``rows`` of the smallest run, ``C`` NaN where the runs chose different ones, ``status`` the first
        that is not proven to be optimal.

    Raises:
        ProblemError: there are fewer than two runs, two are of one store, or one lacks a score that another has.
    """
    if len(runs) < 2:
        msg = f"a mean over runs needs two of them; {len(runs)} was given"
        raise ProblemError(msg)
    _refuse_one_store(runs)
    found: dict[tuple[Any, ...], dict[str, Score]] = {}
    for name, scores in runs.items():
        for score in scores:
            own = found.setdefault(_place(score), {})
            if name in own:
                msg = f"{name} has two scores of {_words(score)}; leave one out"
                raise ProblemError(msg)
            own[name] = score
    kept = {place: own for place, own in found.items() if len(own) == len(runs)}
    for place, own in found.items():
        lacking = [name for name in runs if name not in own]
        score = next(iter(own.values()))
        if place not in kept and score.kind != "path":
            msg = f"{lacking[0]} has no {_words(score)}, which {next(iter(own))} has; a mean needs it of every run"
            raise ProblemError(msg)
    return [_mean(list(own.values())) for own in kept.values()]


def _place(score: Score) -> tuple[Any, ...]:
    """Return what the scores of two runs must share to be about the same."""
    return (*(getattr(score, name) for name in _PLACE), score.C if score.kind == "path" else None)


def _words(score: Score) -> str:
    return f"{score.metric} on {score.split!r} of layer {score.layer!r}, target {score.target!r}, step {score.step}"


def _refuse_one_store(runs: Mapping[str, Sequence[Score]]) -> None:
    """Refuse runs that share a store at a step: probes on the same activations are one run."""
    seen: dict[tuple[str, int], str] = {}
    numbers: dict[tuple[str, ...], str] = {}
    for name, scores in runs.items():
        # without a store, as of arrays: two runs do not share every cross-entropy to the last digit
        nats = tuple(sorted(f"{_place(score)} {score.value!r}" for score in scores if score.unit == "nats"))
        other = numbers.setdefault(nats, name) if nats else name
        if other != name:
            msg = f"{other} and {name} have the same numbers to the last digit, so they are one run; leave one out"
            raise ProblemError(msg)
        for place in {(score.store, score.step) for score in scores if score.store}:
            other = seen.setdefault(place, name)
            if other != name:
                msg = (
                    f"{other} and {name} are of one store (step {place[1]}), so they are one run; give a file of each "
                    "network or data set"
                )
                raise ProblemError(msg)


def _mean(own: Sequence[Score]) -> Score:
    values = np.array([score.value for score in own])
    mean, half = float(values.mean()), math.nan
    if (
        np.isfinite(values).all() and np.ptp(values) > 0
    ):  # where all agree, a point would say that it is known exactly
        half = float(stdtrit(len(values) - 1, 0.975)) * float(values.std(ddof=1)) / len(values) ** 0.5
    low, high = mean - half, mean + half
    if own[0].unit in _AT_LEAST_0:  # what lies outside of the range cannot be the mean of other runs
        low = max(low, 0.0) if math.isfinite(low) else low
    if own[0].unit == "share":
        high = min(high, 1.0) if math.isfinite(high) else high
    unproven = [score.status for score in own if str(score.status) not in _CERTIFIED]
    penalties = {score.C for score in own}
    return replace(
        own[0],
        store="",
        C=own[0].C if len(penalties) == 1 else math.nan,
        value=mean,
        low=low,
        high=high,
        interval="t_runs" if math.isfinite(half) else "",
        rows=min(score.rows for score in own),
        groups=len(own),
        status=unproven[0] if unproven else own[0].status,
        features=own[0].features if len({score.features for score in own}) == 1 else None,
        fitted_on="",
    )
