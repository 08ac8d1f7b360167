"""Layers and targets of a store by name, layers also by step; a miss is answered with the nearest names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from actstore.errors import LayerError
from actstore.patterns import pick_names
from actstore.store.reading.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actstore.errors import ActstoreError
    from actstore.store.documents.catalog import Catalog
    from actstore.store.reading.open_files import OpenFiles


Value = TypeVar("Value")


class Named(Mapping[str, Value]):
    """Values by name, in order; an unknown name is answered with the nearest ones."""

    def __init__(self, what: str, error: type[ActstoreError], values: Mapping[str, Value]) -> None:
        """``what`` the values are, for the message of ``error``, which has to be a KeyError."""
        self._what = what
        self._error = error
        self._values = dict(values)

    def __getitem__(self, name: str) -> Value:
        if name in self._values:
            return self._values[name]
        nearest = difflib.get_close_matches(str(name), self._values, 3, 0.4) or list(self._values)[:5]
        known = ", ".join(repr(one) for one in nearest) or "none"
        msg = f"there is no {self._what} {name!r} in this store; nearest of {len(self._values)}: {known}"
        raise self._error(msg)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<{self._what}s {', '.join(map(repr, self._values))}>"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._values)


class StoredLayers(Mapping[str, Layer]):
    """The layers of a store by name, in call order; ``layers[name, step]`` where it has several steps."""

    def __init__(self, catalog: Catalog, files: OpenFiles) -> None:
        self._by_step: dict[int, Named[Layer]] = {
            step: Named(
                "layer",
                LayerError,
                {info.name: Layer(contents, files, info) for info in contents.header.layers},
            )
            for step, contents in catalog.steps.items()
        }
        self._names = [info.name for info in catalog.header.layers]

    def __getitem__(self, key: str | tuple[str, int]) -> Layer:
        """LayerError for a layer or a step that is not there, and where the step is not named but there are several."""
        name, step = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        steps = list(self._by_step)
        layer = self._by_step[steps[0]][name]
        if step is None and len(steps) == 1:
            return layer
        if step not in self._by_step:
            came = f"there is no step {step}" if step is not None else "it does not say which step"
            msg = f"layers[{key!r}]: {came}; write layers[{name!r}, step] with a step of {listed_steps_text(steps)}"
            raise LayerError(msg)
        return self._by_step[step][name]

    def select(self, *patterns: str | Sequence[str], exclude: str | Sequence[str] = ()) -> Mapping[str, Layer]:
        """Return the layers that patterns pick, as ``--layers`` does, in call order: ``layers.select("conv*", "fc1")``.

        Args:
            patterns: which; none for all.
            exclude: patterns of layers that are left out, as ``--exclude-layers`` does.

        Raises:
            LayerError: a pattern picks none, or none is left; or there are several steps, of which ``store.at(step)``
                takes one.
        """
        wanted = [*chain.from_iterable(map(_several, patterns))] or ["**"]
        chosen = pick_names(wanted, self._names, _several(exclude)) if self._names else []
        return Named("layer", LayerError, {name: self[name] for name in chosen})

    def __contains__(self, key: object) -> bool:
        """Whether there is a layer of that name, or of that (name, step)."""
        name, step = key if isinstance(key, tuple) and len(key) == 2 else (key, next(iter(self._by_step)))
        return step in self._by_step and name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        steps = f" at steps {listed_steps_text(list(self._by_step))}" if len(self._by_step) > 1 else ""
        return f"<layers {', '.join(map(repr, self._names))}{steps}>"

    def _ipython_key_completions_(self) -> list[str | tuple[str, int]]:
        steps = list(self._by_step)
        return [*self._names] if len(steps) == 1 else [(name, step) for name in self._names for step in steps]


def _several(patterns: str | Sequence[str]) -> Sequence[str]:
    return [patterns] if isinstance(patterns, str) else patterns


def listed_steps_text(steps: Sequence[int]) -> str:
    """Steps for a message."""
    shown = ", ".join(str(step) for step in steps[:8])
    return shown if len(steps) <= 8 else f"{shown} and {len(steps) - 8} more"
