"""What all scores of a probe and split have in common, and the scores of the values of C that were not chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from solvers.scoring.score import Score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from solvers.probing.probe import Probe

__all__ = ["blank_score", "path_scores", "role_of"]


def role_of(probe: Probe, split: str) -> str:
    """Return what the rows of a split were for: ``fit``, ``select``, or ``held_out``."""
    if split == "train":
        return "fit"
    return "select" if split == probe.proof.chosen.get("split") else "held_out"


def blank_score(probe: Probe, split: str) -> Score:
    """Return what all scores of a probe and split have in common."""
    return Score(
        store=probe.fingerprint,
        layer=probe.layer,
        step=probe.step,
        target=probe.target,
        kind=probe.kind,
        method=probe.where.method,
        part="",
        C=probe.C,
        seed=probe.seed,
        fold=probe.where.fold,
        split=split,
        role=role_of(probe, split),
        metric="",
        unit="",
        value=np.nan,
        low=np.nan,
        high=np.nan,
        interval="",
        rows=probe.scores.rows.get(split, 0),
        groups=None,
        status=str(probe.status),
        features=probe.width if probe.columns is None else len(probe.columns),
    )


def path_scores(probe: Probe) -> Iterator[Score]:
    """Yield the scores of the other values of C; of the chosen one where the probe itself has none, as of folds."""
    for tried in probe.path:
        for metric, unit in (("error", "share"), ("cross_entropy", "nats")):
            for split, value in tried.scores.get(metric, {}).items():
                if tried.C == probe.C and split in probe.scores.error:
                    continue
                role = role_of(probe, split)
                yield replace(
                    blank_score(probe, split),
                    kind="path",
                    C=tried.C,
                    status=tried.status,
                    role="exploratory" if role == "held_out" and split != "val" else role,
                    metric=metric,
                    unit=unit,
                    value=float(value),
                )
