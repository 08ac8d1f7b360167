"""Passes of a model whose calls are watched: what is kept of them, when they may end, and that they are alike."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from actstore.errors import AdapterError
from actstore.patterns import call_name, module_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from actstore.activations import Captured, ModelLayer
    from actstore.adapters.base import Keep


class EnoughError(BaseException):
    """Ends a forward pass once the deepest layer asked for was captured; a model's ``except Exception`` lets it by."""


def other_calls(place: str, how: str) -> AdapterError:
    """That a place is called ``how`` ("more often", "less often")."""
    msg = (
        f"{place} is called {how} for this batch than for the first; a store needs the same calls for every batch: "
        "ask for a layer that is always called alike"
    )
    return AdapterError(msg)


class Passes:
    """Keeps the layers asked for, pass after pass.

    Args:
        layers: to keep, as they were described.
        keep: what copies them.
        places: the names of all places that can be watched; a call of one after the first is ``NAME#1``, ``NAME#2``.
        kind: what a place is called in messages: "module", "layer".
        stop_early: whether a pass ends after the last of the layers. What the model does behind it is then not done:
            one that keeps something from layer to layer may find it in the next pass.
    """

    def __init__(
        self,
        layers: Sequence[ModelLayer],
        keep: Keep,
        places: Collection[str],
        kind: str,
        *,
        stop_early: bool = False,
    ) -> None:
        self._wanted = {layer.name: layer for layer in layers}
        self._homes = {name: name if name in places else module_of(name) for name in self._wanted}
        self._calls_before = {self._homes[name]: layer.calls for name, layer in self._wanted.items()}
        self._keep, self._kind, self._stop_early = keep, kind, stop_early
        self._captured: dict[str, Captured] = {}

    @property
    def watched(self) -> list[str]:
        """The places to watch."""
        return list(self._calls_before)

    def see(self, place: str, index: int, value: Callable[[], object]) -> None:
        """A place was called, ``index`` calls after its first in this pass; ``value`` gives what came of it.

        Raises:
            EnoughError: this was the last one, and the pass stops early.
            AdapterError: it is called more often than in the pass that described it.
        """
        layer = self._wanted.get(call_name(place, index))
        if layer is not None:
            self._captured[layer.name] = self._keep(layer.name, value(), layer.axes)
            if self._stop_early and len(self._captured) == len(self._wanted):
                raise EnoughError
        elif index >= self._calls_before[place]:
            raise other_calls(f"{self._kind} {place!r}", "more often")

    def layers_of(self, forward: Callable[[], object]) -> dict[str, Captured]:
        """The layers of one pass, which calls ``see``.

        Raises:
            AdapterError: a place is called more or less often than in the pass that described it.
        """
        self._captured.clear()
        with suppress(EnoughError):
            forward()
        for name, home in self._homes.items():
            if name not in self._captured:
                raise other_calls(f"{self._kind} {home!r}", "less often")
        return dict(self._captured)
