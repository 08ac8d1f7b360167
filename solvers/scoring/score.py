"""A score: one number with its interval, as one tidy row. Tables, figures and the report read nothing else."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["COLUMNS", "Score"]


@dataclass(frozen=True)
class Score:
    """One number about one probe, with where it is from and how far it can be trusted.

    An interval is of the fitted probe on new rows of the same population, and only a split of role ``held_out`` has
    one. What refitting, another seed or another network would change is another number, never mixed with it.

    Args:
        store: fingerprint of the store, or the path that it was read from.
        layer, step, target: whose probe.
        kind: ``task``, ``path`` (another C of the path), ``majority`` (always the commonest training class), later
            ``control``, ``permuted``, ``subset``, ``input``.
        method: ``logistic``, later ``ridge``, ``mean_difference`` and others.
        part: "" for all rows; a class, ``true>predicted``, or a bin.
        C, seed, fold: of the fit; ``fold`` is None without folds.
        split: the rows' split.
        role: what these rows were for: ``fit``, ``select`` (they chose C), ``held_out``, or ``exploratory`` (looked
            at for more than the chosen probe).
        metric, unit: what the number is: ``error`` in ``share``, ``cross_entropy`` in ``nats``.
        value: the number; NaN where there is none (no rows, a class absent).
        low, high: the interval of 95%; NaN where there is none.
        interval: how they were made: ``wilson``, ``exact``, ``area`` (of roc_auc), ``bootstrap``, ``t_rows`` of rows by
            themselves; ``groups`` (bootstrap over groups), ``t_groups`` (t over the means of few groups),
            ``exact_groups``; ``t_runs`` of a mean over runs (``over_runs``), which is of further runs and not of new
            rows; "" without. docs/metrics.md says when which.
        rows, groups: how many the number is over; ``groups`` is None without groups, and of ``t_runs`` how many runs.
        status: the fit's, a word of ``solvers.Status``.
        features: how many columns the probe looks at; None where that is not told.
        fitted_on: of a probe on other rows, fingerprint of the store that it was fitted on; "" where it is ``store``.
    """

    store: str
    layer: str
    step: int
    target: str
    kind: str
    method: str
    part: str
    C: float
    seed: int
    fold: int | None
    split: str
    role: str
    metric: str
    unit: str
    value: float
    low: float
    high: float
    interval: str
    rows: int
    groups: int | None
    status: str
    features: int | None = None
    fitted_on: str = ""


COLUMNS = tuple(each.name for each in fields(Score))
"""The columns of scores, in their order; some may be appended, none is renamed."""
