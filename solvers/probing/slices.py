"""What probes are fitted to: layers, or slices of equal width of each, such as attention heads; and other names."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from solvers.errors import ProblemError
from solvers.rows import Columns, draw_columns, flat_width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from solvers.probing.probe import Probe
    from solvers.probing.settings import LayerSettings
    from solvers.rows import RowSource

__all__ = ["FitLayer", "LayerView", "cut", "other_names", "with_names"]


@dataclass(frozen=True)
class FitLayer:
    """A layer to fit, or a slice of one.

    ``name`` is that of its probes: the stored layer's, for a slice followed by ``@HEAD``, counted from 0. ``order``
    is its place. ``source`` (rows, *features) are the rows as they are stored; ``columns`` those of the flattened
    features that the slice has, ascending, None for all.
    """

    name: str
    order: int
    source: RowSource
    head: int | None = None
    columns: NDArray[np.int64] | None = None

    @property
    def stored(self) -> str:
        """The name of the stored layer."""
        return self.name if self.head is None else self.name.removesuffix(f"@{self.head}")

    @property
    def stored_layers(self) -> tuple[str, ...]:
        """The names of the stored layers whose features it has, side by side."""
        return tuple(getattr(self.source, "names", ())) or (self.stored,)

    @property
    def shape(self) -> tuple[int, ...]:
        """The features of one stored row."""
        return tuple(self.source.shape[1:])


def cut(sources: Mapping[str, RowSource], split_features: int | None) -> list[FitLayer]:
    """The layers as they are, or each as ``split_features`` slices of neighbouring features.

    No two slices have one name: what stands before the last ``@`` is the layer, what follows it the slice.

    Raises:
        ProblemError: fewer than one slice, or a layer whose width is not a multiple of their number.
    """
    if split_features is None:
        return [FitLayer(name, order, source) for order, (name, source) in enumerate(sources.items())]
    if split_features < 1:
        msg = f"split_features is {split_features}; expected a number of slices, 1 or more"
        raise ProblemError(msg)
    layers: list[FitLayer] = []
    for name, source in sources.items():
        width, rest = divmod(flat_width(source), split_features)
        if rest:
            msg = (
                f"layer {name!r} has {flat_width(source):,} features, which cannot be cut into {split_features:,} "
                "slices of one width; give a number that divides it, or choose other layers"
            )
            raise ProblemError(msg)
        for head in range(split_features):
            columns = np.arange(head * width, (head + 1) * width)
            layers.append(FitLayer(f"{name}@{head}", len(layers), source, head, columns))
    return layers


@dataclass(frozen=True)
class LayerView:
    """What is looked at of a layer: ``rows`` (rows, columns), which are those ``columns`` of its flattened features."""

    rows: RowSource
    columns: NDArray[np.int64] | None
    width: int

    @classmethod
    def of(cls, layer: FitLayer, settings: LayerSettings) -> LayerView:
        """Return the columns of a layer, or of a slice, that are drawn by the settings' seed and its name."""
        columns, width = layer.columns, flat_width(layer.source)
        seed = [settings.seed, *layer.name.encode()]
        drawn = draw_columns(width if columns is None else len(columns), settings.random_features, seed)
        if drawn is not None:
            columns = drawn if columns is None else columns[drawn]
        return cls(layer.source if columns is None else Columns(layer.source, columns), columns, width)


_STARS = re.compile(r"(\*\*|\*)")
_EXPRESSION = "re:"


def other_names(layers: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    r"""Return what each layer is to be called, by what it is called now.

    Args:
        layers: the names that there are.
        names: new names by old ones. An old one is an exact name; else a glob, in which ``*`` stops at dots and ``**``
            crosses them, and the stars of the new name are, one after the other, what those of the old one stand for;
            else ``re:EXPRESSION`` for whole names, whose groups the new name has as ``\1``. Of several that fit, the
            last counts.

    Raises:
        ProblemError: an old name that no layer has, a new one with more stars or groups than the old one, or two
            layers that would have one name.
    """
    renamed = {layer: layer for layer in layers}
    for old, new in names.items():
        found = {layer: _new_name(layer, old, new, exact=old in renamed) for layer in layers}
        hits = {layer: name for layer, name in found.items() if name is not None}
        if not hits:
            nearest = difflib.get_close_matches(old.removeprefix(_EXPRESSION).replace("*", ""), layers, n=1)
            known = (
                f"the nearest is {nearest[0]!r}" if nearest else f"there are {', '.join(map(repr, layers[:8]))}"
            )
            msg = f"no layer is called {old!r}, which was to be renamed {new!r}; {known}"
            raise ProblemError(msg)
        renamed |= hits
    after: dict[str, str] = {}
    for layer, name in renamed.items():
        if name in after:
            msg = f"layers {after[name]!r} and {layer!r} would both be called {name!r}; give each a name of its own"
            raise ProblemError(msg)
        after[name] = layer
    return renamed


def _new_name(layer: str, old: str, new: str, *, exact: bool) -> str | None:
    """The new name of a layer; None where the old name is not its."""
    if exact:
        return new if layer == old else None
    try:
        if old.startswith(_EXPRESSION):
            found = re.fullmatch(old.removeprefix(_EXPRESSION), layer)
            return None if found is None else found.expand(new)
    except (re.error, IndexError) as error:
        msg = f"{old!r} cannot be renamed {new!r}: {error}; write for example 're:h[.](.*)' and 'model.h.\\1'"
        raise ProblemError(msg) from error
    parts = ({"**": "(.*)", "*": "([^.]*)"}.get(part) or re.escape(part) for part in _STARS.split(old))
    found = re.fullmatch("".join(parts), layer, re.DOTALL)
    if found is None:
        return None
    stars = _STARS.split(new)
    if len(stars) // 2 > len(found.groups()):
        msg = f"{new!r} has more stars than {old!r}; each of them stands for what one of the old name's does"
        raise ProblemError(msg)
    filled = iter(found.groups())
    return "".join(next(filled) if place % 2 else part for place, part in enumerate(stars))


def with_names(probe: Probe, names: Mapping[str, str]) -> Probe:
    """Return a probe with other names of its layers, by what they are called now."""
    where = replace(probe.where, layers=tuple(names.get(layer, layer) for layer in probe.where.layers))
    stored = {names.get(layer, layer): told for layer, told in probe.provenance.stored.items()}
    return replace(probe, where=where, provenance=replace(probe.provenance, stored=stored))
