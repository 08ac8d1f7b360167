"""``actstore.capture``: layers of a forward pass that happens anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from actstore.adapters import adapt
from actstore.doors.keywords import patterns
from actstore.errors import LayerError
from actstore.store.documents.bfloat16 import widened
from actstore.store.format import BFLOAT16
from actstore.wording import hint, listed

if TYPE_CHECKING:
    from actstore.activations import Captured

__all__ = ["Activations", "capture"]


class Activations(Mapping[str, np.ndarray]):
    """Layers that a forward pass filled in, by name; (rows, *features), bfloat16 as float32.

    ``captured`` has them as a store takes them, with their own bits and axis names.
    """

    def __init__(self, captured: Mapping[str, Captured]) -> None:
        self.captured = captured

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.captured:
            msg = f"no layer {name!r} was captured; {hint(str(name), list(self.captured))}"
            raise LayerError(msg)
        layer = self.captured[name]
        if layer.dtype == BFLOAT16:
            return widened(layer.array)
        return layer.array

    def __iter__(self) -> Iterator[str]:
        return iter(self.captured)

    def __len__(self) -> int:
        return len(self.captured)

    def __repr__(self) -> str:
        layers = ", ".join(f"{name!r} {layer.array.shape}" for name, layer in self.captured.items())
        return f"<Activations {layers or 'of no layer yet'}>"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.captured)


@contextmanager
def capture(model: object, layers: str | Sequence[str]) -> Iterator[Activations]:
    """Copy layers out of a forward pass that happens anyway.

    ``with actstore.capture(model, ["conv*"]) as activations: model(x)``. Neither the model's mode, nor its
    gradients, nor its output are touched; modules in training mode are warned of.
    Filled once the pass is over; where there are several, by the latest.

    Raises:
        LayerError: a pattern picks no layer, or the model was not called.
        AdapterError: the model has no hooks (only torch has).
    """
    wanted = patterns(layers)
    with adapt(model).watching(wanted) as captured:
        yield Activations(captured)
    if not captured:
        msg = f"nothing was captured of {listed(wanted)}: call the model inside the with block"
        raise LayerError(msg)
