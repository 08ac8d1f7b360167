"""From what lies on disk to a problem for the solvers: a store's layers and labels, or features of one's own."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.probe.row_columns import RowOptions, StoreColumns, side_by_side, target_of, told_of_features
from cli.shared import notice_features

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from actstore.sources.split import SplitData
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
    sources: Sequence[str],
    targets: Sequence[str],
    patterns: Sequence[str],
    step: int | None = None,
    rows: RowOptions | None = None,
) -> Iterator[LayerProblem]:
    """The problem that `probe fit SOURCES --target TARGETS --layers PATTERNS --step STEP` asks for."""
    rows = rows or RowOptions()
    with ExitStack() as stack:
        if len(sources) == 1 and is_store(sources[0]):
            store = stack.enter_context(open_store(sources[0], step))
            yield _of_store(store, targets, patterns, rows)
        else:
            if step is not None:
                raise click.UsageError("--step chooses a step of a store; features of your own have none")
            if patterns:
                raise click.UsageError(
                    "--layers chooses layers of a store; features of your own are one layer: for several, "
                    "`actstore import FILE.npz -o NAME.acts` makes a store of the arrays of a file"
                )
            if rows.exclude:
                raise click.UsageError(
                    "--exclude-layers leaves out layers of a store; features of your own are one layer: for several, "
                    "`actstore import FILE.npz -o NAME.acts` makes a store of the arrays of a file"
                )
            if rows.concat:
                raise click.UsageError(
                    "--concat joins layers of a store; join features of your own in their file"
                )
            _refuse_stores(sources)
            yield _of_features(sources, targets, stack, rows)


def is_store(source: str) -> bool:
    """Whether a source is a store rather than features: a folder but zarr's, `NAME.acts`, or `NAME.h5`.

    An HDF5 file that others wrote holds features, whatever it is called.
    """
    from actstore.formats.containers.kinds import is_zarr
    from actstore.store.reading.single_file import is_others_hdf5

    path = Path(source)
    if path.is_dir():
        return not is_zarr(path)
    return source.endswith((".acts", ".h5")) and not is_others_hdf5(path)


def _refuse_stores(sources: Sequence[str]) -> None:
    """A store beside others, which would be taken for features."""
    for source in sources:
        path = re.sub(r"^[\w-]+=", "", source)
        if Path(path).exists() and is_store(path):
            raise click.UsageError(
                f"{source} is a store or a folder, and {len(sources)} things were given; fit one store alone: "
                "`actstore merge` joins several"
            )


def open_store(path: str, step: int | None = None) -> Store:
    """One step of a store, complete; without a name, the only one."""
    import actstore
    from actstore.errors import StoreError

    opened = actstore.open(path)
    chosen = opened.one(step)
    if not chosen.complete:
        which = f"{path} is" if len(opened.steps) == 1 else f"step {chosen.steps[0]} of {path} is"
        msg = f"{which} incomplete: its dump did not finish, so rows are missing; finish it with --resume"
        raise StoreError(msg)
    return chosen


def _of_store(store: Store, targets: Sequence[str], patterns: Sequence[str], rows: RowOptions) -> LayerProblem:
    import numpy as np

    from actstore.labels import labels_for
    from actstore.patterns import pick_names
    from actstore.rows.labels import without

    labels: dict[str, np.ndarray] = {}
    ids = store.ids.tolist()
    for target in targets:
        name, separator, spec = target.partition("=")
        if name in labels:
            raise click.UsageError(f"--target {name} was given twice; give each target of a store once")
        if separator:
            labels[name] = labels_for(spec, ids, str(store.path), rows.ignore_label)
        else:
            labels[name] = without(target_of(store, name), rows.ignore_label)
    columns = StoreColumns(store, targets)
    splits = store.splits if rows.split_by is None else columns.whole(rows.split_by, "split")
    kept = store.provenance.get("kept_input") or {}  # pictures of the inputs, which nobody asked to fit
    names = list(store.layers)
    wanted = patterns or ["**"]
    chosen = pick_names(wanted, names, rows.exclude)
    if not patterns:
        chosen = [name for name in chosen if name != kept.get("layer")]
    layers: dict[str, Any] = {layer: store.layers[layer] for layer in chosen} | side_by_side(store, rows.concat)
    groups = columns.groups(rows.group_by)
    fed = feeders(store, chosen)
    return LayerProblem(
        layers,
        labels,
        splits,
        groups,
        store.steps[0],
        store.fingerprint,
        np.asarray(store.ids[:]),
        {layer: described(store, layer) | fed.get(layer, {}) for layer in names},
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


def feeders(store: Store, wanted: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Which of the fitted layers feed each of them, as their store recorded it; nothing where it did not."""
    from actstore.adapters.base import contracted

    graph = store.provenance.get("graph")  # an open object: another writer may have put anything there
    edges = graph.get("edges") if isinstance(graph, dict) else None
    if not isinstance(edges, list) or not all(_is_edge(edge) for edge in edges):
        return {}
    found: dict[str, list[str]] = {layer: [] for layer in wanted}
    for source, to in contracted([(source, to) for source, to in edges], wanted):
        found[to].append(source)
    return {layer: {"fed_by": sources} for layer, sources in found.items()}


def _is_edge(edge: object) -> bool:
    return isinstance(edge, list) and len(edge) == 2 and all(isinstance(name, str) for name in edge)


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


def _of_features(
    sources: Sequence[str], targets: Sequence[str], stack: ExitStack, asked: RowOptions
) -> LayerProblem:
    """Features of the user's own: one layer, its splits one after another in the order given."""
    import numpy as np

    from actstore.sources import RowColumns, split_data
    from solvers.rows import ConcatRows, as_source

    data = split_data(sources, targets, RowColumns(ignore=asked.ignore_label), as_features=True)
    for item in data:
        _leave_out(item.source, (asked.split_by, asked.group_by))
    names = _target_names(data)
    notice_features(data)
    rows = [as_source(stack.enter_context(item.source.opened())) for item in data]
    counts = [part.shape[0] for part in rows]
    labels = {name: joined_labels([item.targets.get(name) for item in data], counts) for name in names}
    splits = np.repeat([item.split for item in data], counts)
    told = told_of_features({"split": asked.split_by, "group": asked.group_by}, labels, sum(counts))
    if "split" in told:
        _refuse_two_splits(data)
    labels = {name: values for name, values in labels.items() if name not in (asked.split_by, asked.group_by)}
    layers: dict[str, Any] = {FEATURES: rows[0] if len(rows) == 1 else ConcatRows(*rows)}
    return LayerProblem(layers, labels, told.get("split", splits), told.get("group"))


def _leave_out(source: Any, names: Sequence[str | None]) -> None:
    """Take columns of a table that say splits or groups, `FILE.csv:COLUMN`, out of its features."""
    if hasattr(source, "exclude"):
        file = f"{source.file}:"
        own = [name.removeprefix(file) for name in names if name is not None and name.startswith(file)]
        source.exclude(own)


def _target_names(data: Sequence[SplitData]) -> list[str]:
    names = list(dict.fromkeys(name for item in data for name in item.targets))
    if not names:
        raise click.UsageError(
            "features of your own take labels, --target [SPLIT:]NAME=SPEC; this is only a name"
        )
    return names


def _refuse_two_splits(data: Sequence[SplitData]) -> None:
    if any(item.split for item in data):
        raise click.UsageError("--split-by says the split of each row, but SPLIT=FEATURES does, too: keep one")


def joined_labels(labels: Sequence[np.ndarray | None], rows: Sequence[int]) -> np.ndarray:
    """Labels one after another, masked over the rows of a part that has none."""
    import numpy as np

    given = [part for part in labels if part is not None]
    dtype = _common_type(given)
    filled = [
        np.ma.masked_all(count, dtype) if part is None else part.astype(dtype)
        for part, count in zip(labels, rows, strict=True)
    ]
    return np.ma.concatenate(filled)


def _common_type(labels: Sequence[np.ndarray]) -> np.dtype:
    """The type that holds the labels of all parts exactly."""
    import numpy as np

    dtype = np.result_type(*(part.dtype for part in labels))
    kinds = {"i" if part.dtype.kind == "u" else part.dtype.kind for part in labels}
    if len(kinds) > 1:  # as in a store, where they are refused, too
        types = ", ".join(str(part.dtype) for part in labels)
        raise click.UsageError(
            f"the labels of one target are of several kinds ({types}); give one kind for all splits"
        )
    if dtype.kind == "f" and kinds == {"i"}:  # int64 beside uint64 is float64 to NumPy
        return _whole_type(labels)
    return dtype


def _whole_type(labels: Sequence[np.ndarray]) -> np.dtype:
    """The type of 64 bits that holds whole numbers of both signs; what is masked needs none."""
    import numpy as np

    known = [part for part in labels if np.ma.count(part)]
    least = min((int(part.min()) for part in known), default=0)
    most = max((int(part.max()) for part in known), default=0)
    if least < 0 and most >= 2**63:
        raise click.UsageError(f"labels from {least} to {most} fit no whole number of 64 bits; give others")
    return np.dtype(np.int64 if most < 2**63 else np.uint64)
