"""From what lies on disk to a problem for the solvers: a store's layers and labels, or features of one's own."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.probing.probe import Probe
    from solvers.rows import RowSource

_LISTED = 16
"""Numbers of a list that are kept one by one."""
FEATURES = "features"
"""What the layer is called where the features are the user's own."""


@dataclass(frozen=True)
class LayerProblem:
    """Layers and the labels of each target over the same rows; labels are masked where a row has none.

    ``stored`` is what ``described`` says of each layer of a store.
    """

    layers: Mapping[str, RowSource]
    labels: Mapping[str, np.ndarray]
    splits: np.ndarray
    groups: np.ndarray | None = None
    step: int = 0
    fingerprint: str = ""
    ids: np.ndarray | None = None
    stored: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@contextmanager
def open_problem(
    sources: Sequence[str], targets: Sequence[str], patterns: Sequence[str], step: int | None = None
) -> Iterator[LayerProblem]:
    """The problem that `probe fit SOURCES --target TARGETS --layers PATTERNS --step STEP` asks for."""
    with ExitStack() as stack:
        if len(sources) == 1 and is_store(sources[0]):
            store = stack.enter_context(open_store(sources[0], step))
            yield _of_store(store, targets, patterns)
        else:
            if step is not None:
                raise click.UsageError("--step chooses a step of a store; features of your own have none")
            if patterns:
                raise click.UsageError("--layers chooses layers of a store; features of your own are one layer")
            yield _of_features(sources, targets, stack)


def steps_of(sources: Sequence[str], asked: Sequence[str]) -> Sequence[int | None]:
    """The steps that `--step` asks for, ascending and each once; [None] where it was not given.

    Raises:
        click.UsageError: no numbers, steps of what is no store, or a step that it does not have.
    """
    import actstore

    if not asked:
        return [None]
    if len(sources) != 1 or not is_store(sources[0]):
        raise click.UsageError("--step chooses a step of a store; features of your own have none")
    words = [word.strip() for each in asked for word in each.split(",")]
    with actstore.open(sources[0]) as store:
        there = list(store.steps)
    if words == ["all"]:
        return sorted(there)
    if not all(word.isascii() and word.isdigit() and len(word) < 13 for word in words):
        raise click.UsageError(
            f"--step {','.join(asked)} is no list of steps; write for example --step 0,500 or --step all"
        )
    missing = [word for word in words if int(word) not in there]
    if missing:
        raise click.ClickException(
            f"{sources[0]} has no step {missing[0]}; it has {', '.join(map(str, there))}"
        )
    return sorted({int(word) for word in words})


def is_store(source: str) -> bool:
    """Whether a source is a store rather than features: a folder, `NAME.acts`, or `NAME.h5` without `:/PATH`."""
    return Path(source).is_dir() or source.endswith((".acts", ".h5"))


def open_store(path: str, step: int | None = None) -> Store:
    """One step of a store, complete; without a name, the only one."""
    import actstore
    from actstore.errors import StoreError

    chosen = actstore.open(path).one(step)
    if not chosen.complete:
        msg = f"{path} is incomplete: its dump did not finish, so rows are missing; finish it with --resume"
        raise StoreError(msg)
    return chosen


def target_of(store: Store, name: str) -> np.ndarray:
    """A target of the store; an unknown one is refused with the names there are."""
    from actstore.errors import StoreError

    if name not in store.targets:
        known = ", ".join(repr(target) for target in store.targets) or "none"
        msg = f"{store.path} has no target {name!r}; it has {known}; labels of your own: --target {name}=labels.npy"
        raise StoreError(msg)
    return store.targets[name]


def _of_store(store: Store, targets: Sequence[str], patterns: Sequence[str]) -> LayerProblem:
    import numpy as np

    labels: dict[str, np.ndarray] = {}
    for target in targets:
        name, separator, spec = target.partition("=")
        if name in labels:
            raise click.UsageError(f"--target {name} was given twice; give each target of a store once")
        of_its_own = _labels_by_position(spec, store.rows, str(store.path)) if separator else None
        labels[name] = target_of(store, name) if of_its_own is None else of_its_own
    names = list(store.layers)
    layers = {layer: store.layers[layer] for layer in (_chosen(patterns, names) if patterns else names)}
    return LayerProblem(
        layers,
        labels,
        store.splits,
        store.groups,
        store.steps[0],
        store.fingerprint,
        np.asarray(store.ids[:]),
        {layer: described(store, layer) for layer in layers},
    )


def described(store: Store, layer: str) -> dict[str, Any]:
    """How a layer was dumped, as the probe file keeps it (docs/probes.md); what the store does not say is absent."""
    provenance = store.provenance
    found = {}
    of_layers = provenance.get("reductions", {}).get("layers", {})
    if layer in of_layers:
        steps = of_layers[layer].get("steps", [])
        # A cast rounds; it makes no other layer of it.
        found["reductions"] = _compact([step for step in steps if step.get("step") != "cast"])
    model = provenance.get("model", {})
    if ":" in str(model.get("weights")):
        found["weights"] = model["weights"]
    elif model.get("fingerprint"):  # of a function, whose weights cannot be seen
        found["weights"] = _sha256([model["fingerprint"], model.get("arguments")])
    data = provenance.get("data")
    if data and all(part.get("inputs") for part in data):
        rows = [[part.get("split"), part.get("rows"), part["inputs"]] for part in data]
        found["inputs"] = _sha256(rows)
    return found


def with_stored(probe: Probe, stored: Mapping[str, Mapping[str, Any]]) -> Probe:
    """A probe that knows how its layers were dumped."""
    of_its_layers = {layer: dict(stored[layer]) for layer in probe.where.layers if stored.get(layer)}
    return (
        replace(probe, provenance=replace(probe.provenance, stored=of_its_layers)) if of_its_layers else probe
    )


def _compact(value: Any) -> Any:
    """JSON whose long lists of numbers are their count and hash."""
    if isinstance(value, dict):
        return {name: _compact(each) for name, each in value.items()}
    if isinstance(value, list):
        plain = all(isinstance(each, int | float) for each in value)
        if plain and len(value) > _LISTED:
            return {"count": len(value), "sha256": _sha256(value)}
        return [_compact(each) for each in value]
    return value


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _labels_by_position(spec: str, rows: int, where: str) -> np.ndarray:
    from actstore.errors import SourceError
    from actstore.sources import read_labels

    labels = read_labels(spec)
    if len(labels) != rows:
        msg = f"{spec} has {len(labels):,} labels but {where} has {rows:,} rows; expected one per row, in order"
        raise SourceError(msg)
    return labels


def _of_features(sources: Sequence[str], targets: Sequence[str], stack: ExitStack) -> LayerProblem:
    """Features of the user's own: one layer, its splits one after another in the order given."""
    import numpy as np

    from actstore.sources import split_data
    from solvers.rows import Concat, as_source

    data = split_data(sources, targets)
    names = list(dict.fromkeys(name for item in data for name in item.targets))
    if not names:
        raise click.UsageError(
            "features of your own take labels, --target [SPLIT:]NAME=SPEC; came: only a name"
        )
    rows = [as_source(stack.enter_context(item.source.opened())) for item in data]
    counts = [part.shape[0] for part in rows]
    labels = {name: _joined([item.targets.get(name) for item in data], counts) for name in names}
    splits = np.repeat([item.split for item in data], counts)
    layers: dict[str, Any] = {FEATURES: rows[0] if len(rows) == 1 else Concat(*rows)}
    return LayerProblem(layers, labels, splits)


def _joined(labels: Sequence[np.ndarray | None], rows: Sequence[int]) -> np.ndarray:
    """Labels one after another, masked over the rows of a part that has none."""
    import numpy as np

    given = [part for part in labels if part is not None]
    dtype = np.result_type(*(part.dtype for part in given))
    if len({"i" if part.dtype.kind == "u" else part.dtype.kind for part in given}) > 1:
        kinds = ", ".join(str(part.dtype) for part in given)  # as in a store, where they are refused, too
        raise click.UsageError(
            f"the labels of one target are of several kinds ({kinds}); give one kind for all splits"
        )
    if dtype.kind == "f" and all(
        part.dtype.kind in "iu" for part in given
    ):  # int64 beside uint64 is float64 to NumPy
        least = min(int(part.min()) for part in given if np.ma.count(part))
        most = max(int(part.max()) for part in given if np.ma.count(part))
        if least < 0 and most >= 2**63:
            raise click.UsageError(f"labels from {least} to {most} fit no whole number of 64 bits; give others")
        dtype = np.dtype(np.int64 if most < 2**63 else np.uint64)
    filled = [
        np.ma.masked_all(count, dtype) if part is None else part.astype(dtype)
        for part, count in zip(labels, rows, strict=True)
    ]
    return np.ma.concatenate(filled)


def _chosen(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The stored layers that at least one pattern picks, in their order; each pattern must pick one."""
    from actstore.patterns import matcher, unknown

    picked: set[str] = set()
    for pattern in patterns:
        matches = matcher(pattern, names)
        found = {name for name in names if matches(name)}
        if not found:
            raise unknown(pattern, names)
        picked |= found
    return [name for name in names if name in picked]
