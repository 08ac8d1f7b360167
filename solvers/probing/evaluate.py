"""A fitted probe, or the probes of many layers, on other rows of the same layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from solvers.errors import ProblemError
from solvers.given import refuse_other_rows
from solvers.labels import place_labels, plain_labels
from solvers.printable.named import ByKey, unknown
from solvers.probing.probes import Probes
from solvers.rows import ConcatFeatures, Rows, as_source
from solvers.scoring.split_score import SplitScore, score

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from solvers.probing.probe import Key, Probe
    from solvers.rows import RowSource

__all__ = ["evaluate"]


@overload
def evaluate(probe: Probe, source: RowSource | ArrayLike, labels: ArrayLike) -> SplitScore: ...


@overload
def evaluate(
    probe: Probes, source: Mapping[Any, RowSource | ArrayLike], labels: ArrayLike | Mapping[str, ArrayLike]
) -> dict[Key, SplitScore]: ...


def evaluate(probe: Any, source: Any, labels: Any) -> Any:
    """Score a fitted probe on other rows of its layer; rows without a label (masked) are skipped.

    Args:
        probe: a probe; or probes, each of which is scored on its own layer.
        source: (rows, *features), raw activations; of probes a mapping of such by layer (``store.layers``), by
            (layer, step) where the probes are of several steps.
        labels: (rows,); of probes of several targets a mapping of such by target.

    Returns:
        The score; of probes a dict of scores by (layer, target, step), of which a part will do, as for ``Probes``.

    Raises:
        ProblemError: when the rows have other features, there are not as many labels as rows, no row has a
            label, the labels are of another kind than the probe's classes, or activations are NaN or infinite.
        UnknownNameError: a layer or a target of the probes is not given.
    """
    if isinstance(probe, Probes):
        return _evaluate_each(probe, source, labels)
    return _evaluate_one(probe, source, labels)


def _evaluate_one(probe: Probe, source: Any, labels: Any) -> SplitScore:
    if isinstance(source, Mapping):
        source = _layer_of(probe, source)
    if isinstance(labels, Mapping):
        labels = _named(labels, probe.target, "target")
    return _evaluate(probe, source, labels)


def _evaluate_each(probes: Probes, layers: Any, labels: Any) -> dict[Key, SplitScore]:
    if not isinstance(layers, Mapping):
        msg = (
            f"{len(probes)} probes were given a {type(layers).__name__}; expected rows by layer, such as "
            "evaluate(probes, store.layers, labels) or {'fc1': rows}, or one of the probes"
        )
        raise ProblemError(msg)
    targets = list(dict.fromkeys(probe.target for probe in probes.values()))
    if not isinstance(labels, Mapping) and len(targets) > 1:
        names = ", ".join(map(repr, targets))
        msg = f"the probes are of the targets {names}; give labels by target, {{{targets[0]!r}: labels, ...}}"
        raise ProblemError(msg)
    steps = list(dict.fromkeys(probe.step for probe in probes.values()))
    if len(steps) > 1 and not any(isinstance(key, tuple) for key in layers) and not _has_steps(layers, probes):
        msg = (
            f"the probes are of the steps {', '.join(map(str, steps))}; give rows by (layer, step), or the probes of "
            "one step"
        )
        raise ProblemError(msg)
    return ByKey({key: _evaluate_one(probe, layers, labels) for key, probe in probes.items()})


def _has_steps(layers: Mapping[Any, Any], probes: Probes) -> bool:
    """Whether rows of every probe are there by (layer, step), as a store of several steps has them."""
    return all((name, probe.step) in layers for probe in probes.values() for name in probe.where.layers)


def _layer_of(probe: Probe, layers: Mapping[Any, Any]) -> Any:
    """The rows of the layer of a probe, or of its layers side by side."""
    found = []
    for name in probe.where.layers:
        key = (name, probe.step) if (name, probe.step) in layers else name
        found.append(_named(layers, key, "layer"))
    return found[0] if len(found) == 1 else ConcatFeatures(*found, names=probe.where.layers)


def _named(given: Mapping[Any, Any], name: Any, what: str) -> Any:
    if name not in given:
        raise unknown(what, name, given)
    return given[name]


def _evaluate(probe: Probe, source: RowSource | ArrayLike, labels: ArrayLike) -> SplitScore:
    refuse_other_rows(source, {f"the labels of target {probe.target!r}": labels})
    source = as_source(source)
    values, missing = plain_labels(labels, probe.target)
    if values.shape != source.shape[:1]:
        msg = f"there are {source.shape[0]:,} rows but {len(values):,} labels; give one label per row"
        raise ProblemError(msg)
    labelled = np.flatnonzero(~missing)
    if not len(labelled):
        msg = (
            f"none of the {source.shape[0]:,} rows has a label for {probe.target!r}; give labels to evaluate on"
        )
        raise ProblemError(msg)
    codes = place_labels(values[labelled], probe.classes)
    result = score(probe.features(Rows(source, labelled)), codes, probe.used)
    if result.nonfinite:
        msg = (
            f"{result.nonfinite:,} of {result.rows:,} rows of layer {probe.layer!r} hold NaN or infinite "
            "values; leave those rows out, or dump them in a wider dtype"
        )
        raise ProblemError(msg)
    return result
