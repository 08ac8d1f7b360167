"""What commands that wrote a store say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.result import Result
from cli.shared import count_labels, layers_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from actstore.dumping.dump import DumpSettings
    from actstore.store.reading.reader import Store


def summary(store: Store, output: str, settings: DumpSettings) -> Result:
    """Return what a dump put where, and what it left out."""
    own = store.at(settings.step or 0) if (settings.step or 0) in store.steps else store
    messages = [
        *_skipped_lines(own.provenance.get("skipped", [])),
        *_passed_over_lines(own.provenance.get("passed_over", {})),
        *nonfinite_lines(own),
    ]
    data = outline(store, output) | {
        "step": settings.step,
        "rank": settings.rank,
        "world_size": settings.world_size,
        "skipped": own.provenance.get("skipped", []),
        "passed_over": own.provenance.get("passed_over", {}),
        "cast": own.provenance.get("cast", {}),
    }
    return Result(data, list(_lines(store, own, output, settings)), messages)


def outline(store: Store, output: str) -> dict[str, Any]:
    """Return what every command that wrote a store says of it, as plain values."""
    return {
        "output": output,
        "rows": store.rows,
        "layers": list(store.layers),
        "complete": store.complete,
        "nonfinite_rows": {name: rows for name, rows in store.nonfinite.items() if rows},
    }


def nonfinite_lines(store: Store) -> list[str]:
    """Return a warning for each layer that has rows with NaN or infinities."""
    return [
        f"warning: layer {name!r} has NaN or infinities in {rows:,} rows"
        for name, rows in store.nonfinite.items()
        if rows
    ]


def _lines(store: Store, own: Store, output: str, settings: DumpSettings) -> Iterator[str]:
    where = output if settings.step is None else f"{output}, step {settings.step}"
    yield f"{where}: {layers_of(store.rows, len(store.layers))}"
    if not store.complete and settings.world_size > 1:
        yield (
            f"rank {settings.rank} of {settings.world_size} is done; the store is whole once all of them are "
            "(ranks in stores of their own: join them with actstore merge)"
        )
    yield from _row_lines(store)
    for name, cast in own.provenance.get("cast", {}).items():
        yield (
            f"layer {name!r} was cast from {cast['computed']} to {cast['stored']}: largest error "
            f"{cast['largest_error']:.2g}, {cast['overflows']:,} overflows, {cast['nan']:,} NaN"
        )


def _row_lines(store: Store) -> Iterator[str]:
    """Yield how many rows each split has, where they were told row by row, and which targets lack labels."""
    import numpy as np

    told = store.provenance
    if "split_by" in told:
        names, counts = np.unique(store.splits, return_counts=True)
        listed = ", ".join(f"{name or 'no split'} {rows:,}" for name, rows in zip(names, counts, strict=True))
        yield f"rows by split ({told['split_by']}): {listed}"
    if "group_by" in told:
        column = told["group_by"]
        examples = store.row_unit == "example"
        of_rows: Any = store.groups if examples else store.targets[column]
        yield f"rows by group ({column}): {len(np.unique(np.ma.getdata(of_rows))):,} groups"
        if not examples:
            yield f"the group of a {store.row_unit} is its example; for the wider ones fit with --group-by {column}"
    for name, labels in store.targets.items():
        if np.ma.is_masked(labels):
            yield count_labels(name, labels)


def _skipped_lines(skipped: Sequence[Mapping[str, str]]) -> list[str]:
    if not skipped:
        return []
    first = f"the first is {skipped[0]['id']}, {skipped[0]['file']}"
    return [f"warning: {len(skipped):,} images were left out; {first}"]


def _passed_over_lines(layers: Mapping[str, str]) -> list[str]:
    if not layers:
        return []
    name, note = next(iter(layers.items()))
    others = f", and {len(layers) - 1:,} more (actstore layers says why)" if len(layers) > 1 else ""
    return [f"passed over: {name} ({note}){others}"]
