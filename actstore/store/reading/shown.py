"""A store, a layer and names as a notebook shows them: small tables of HTML, in which every name is text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actstore.wording import html_safe, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actstore.store.reading.layer import Layer
    from actstore.store.reading.reader import Store

LAYERS_SHOWN = 60
_CELLS = "style='text-align:left;white-space:nowrap'"


def store_html(store: Store) -> str:
    """Return a store as HTML: what there is of rows, targets and splits, and a table of its layers."""
    state = "" if store.complete else ", unfinished"
    steps = f", {len(store.steps)} steps" if len(store.steps) > 1 else ""
    facts = [f"{store.rows:,} rows ({store.row_unit}s){steps}{state}"]
    splits = {split: int((store.splits == split).sum()) for split in dict.fromkeys(store.splits.tolist())}
    facts += [_named("splits", [f"{split or '(none)'}: {rows:,}" for split, rows in splits.items()])]
    facts += [_named("targets", list(store.targets))]
    layers = [store.layers[name, store.steps[0]] for name in store.layers]
    rows = [_cells(layer) for layer in layers[:LAYERS_SHOWN]]
    more = f"<p>and {len(layers) - LAYERS_SHOWN:,} layers more</p>" if len(layers) > LAYERS_SHOWN else ""
    told = "<br>".join(html_safe(fact) for fact in facts)
    return f"<p><b>{html_safe(store.path.name)}</b><br>{told}</p>{_table(rows)}{more}"


def layer_html(layer: Layer) -> str:
    """Return a layer as HTML, a table of one row."""
    return _table([_cells(layer)])


def _named(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:12]) or "none"
    return f"{what}: {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _cells(layer: Layer) -> list[str]:
    features = " × ".join(f"{length:,}" for length in layer.shape[1:]) or "1"
    return [layer.name, features, ", ".join(layer.axes), layer.stored_dtype, size(layer.nbytes)]


def _table(rows: Iterable[Sequence[str]]) -> str:
    header = "".join(f"<th {_CELLS}>{name}</th>" for name in ("layer", "features", "axes", "dtype", "size"))
    body = "".join(
        "<tr>" + "".join(f"<td {_CELLS}>{html_safe(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
