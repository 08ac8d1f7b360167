"""What an adapter is: the one place where a framework's models are run and their layers copied out.

A new framework is one file ``for_NAME.py`` in this folder with one subclass of ``Adapter``, and one of the
``adapter_examples`` of the tests. It says which objects are its models (``accepts``), what layers a batch goes
through (``describe``), how to run batches and keep some layers (``capturing``, which gives each to ``keep`` before it
can change), and what identifies the weights (``provenance``); what only some adapters can do is asked for by ``ask``.
It imports its framework inside functions only; where it grows, its further files are called ``NAME_*.py``. The layer
``input`` comes from this file, for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from actstore import arrays
from actstore.activations import INPUT, OUTPUT, Captured, ModelLayer, layer_of
from actstore.adapters.keep import Keep, Keeper, capture_layer, check_rows
from actstore.errors import AdapterError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from actstore.reductions.parts_of_examples import BatchRows
    from actstore.reductions.plan import Reductions
    from actstore.store.format import JSON

__all__ = [
    "AUTOCAST",
    "INPUT",
    "OUTPUT",
    "Adapter",
    "Keep",
    "ModelLayer",
    "Run",
    "TrainingModeWarning",
    "capture_layer",
    "layer_of",
    "row_of",
]

AUTOCAST = ("bf16", "fp16")
"""Precisions that a model can be asked to run in."""
row_of = layer_of
"""The name of ``layer_of`` before 0.2, for adapters of other packages."""
Run: TypeAlias = Callable[[object], Mapping[str, Captured]]
"""Runs the model on one batch's inputs; gives the layers asked for, in call order."""


class RunRows(Protocol):
    """A ``Run`` that takes inputs as the source gives them, and checks what comes."""

    def __call__(self, inputs: object, rows: BatchRows | None = None) -> Mapping[str, Captured]:
        """The layers of one batch: a row per example, or ``rows``, which are found in it."""
        ...


class TrainingModeWarning(UserWarning):
    """Modules in training mode (dropout, batch statistics) while their activations are captured."""


class Adapter(ABC):
    """Runs one model of one framework."""

    name: ClassVar[str]
    fallback: ClassVar[bool] = False
    """Whether the adapter is asked last, since it takes what others may know better."""
    loads: ClassVar[tuple[str, ...]] = ()
    """Which MODEL specs are for ``load``: their endings (``.onnx``) or their beginnings (``hf:``)."""

    def __init__(self, model: Any, device: str | None = None) -> None:
        self.model = model
        self.device = device

    @staticmethod
    @abstractmethod
    def accepts(model: object) -> bool:
        """Whether ``model`` is one of this framework's, told without importing the framework."""

    @abstractmethod
    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """Every layer, in the order in which one run over ``inputs`` gives them; layers without output last.

        Without inputs: what can be known without running the model.

        Raises:
            AdapterError: the model is not ready to run, or shows its layers only when it runs.
        """

    @abstractmethod
    def capturing(self, layers: Sequence[ModelLayer], keep: Keep) -> AbstractContextManager[Run]:
        """A context in which the model can be run to ``keep`` layers, and after which it is as it was found."""

    @abstractmethod
    def provenance(self) -> dict[str, JSON]:
        """What identifies the model: ``weights`` (a hash, or "not seen") and whatever else helps."""

    def ask(self, *, autocast: str | None = None, trace: bool = False) -> None:
        """Run otherwise from now on: in the precision ``autocast``, or showing functional calls (``trace``).

        An adapter that can overrides this.

        Raises:
            AdapterError: the adapter can not, or not this model.
        """
        for option, asked in (("autocast", autocast is not None), ("trace", trace)):
            if asked:
                msg = (
                    f"only torch models take the option {option}, and this is a {self.name} model; leave it out"
                )
                raise AdapterError(msg)

    @staticmethod
    def load(spec: str) -> object:
        """The model that a whole MODEL spec of ``loads`` names. An adapter that has ``loads`` overrides this.

        Raises:
            AdapterError: there is no such model, or it can not be read.
        """
        raise NotImplementedError(spec)

    def load_weights(self, path: Path, key: str | None) -> object:
        """Load ``--weights``. An adapter that can overrides this.

        Returns:
            the model with them: the same object, or another where a framework's models can not be changed.
        """
        msg = (
            f"weights for a {self.name} model can not be loaded from {path.name}: a pickle can run anything; "
            "let the function that makes the model load them"
        )
        raise AdapterError(msg)

    def watching(self, patterns: Sequence[str]) -> AbstractContextManager[Mapping[str, Captured]]:
        """A context that captures a forward pass which happens anyway. An adapter that can overrides this."""
        msg = f"a {self.name} model has no hooks to watch; use actstore.create(...).dump(model, batches)"
        raise AdapterError(msg)

    def prepared(self, inputs: object) -> tuple[object, np.ndarray | None]:
        """What the model takes for a batch of the source, and which words are in it.

        An adapter that turns inputs into others (text into token ids) overrides this.

        Returns:
            the inputs for ``describe`` and ``capturing``; and (examples, positions) ints, which word of its example
            each position belongs to, -1 for none, or None where the adapter knows no words.

        Raises:
            AdapterError: inputs that the model can not be given.
            RowError: one row of them.
        """
        return inputs, None

    def layers(self, inputs: object | None) -> list[ModelLayer]:
        """``describe``, and the layer ``input`` where the model takes one numeric array."""
        prepared = None if inputs is None else self.prepared(inputs)[0]
        described = self.describe(arrays.copied(prepared))
        given = input_layer(prepared)
        if given is None or any(layer.name == INPUT for layer in described):
            return described
        return [given, *described]

    @contextmanager
    def running(self, layers: Sequence[ModelLayer], reductions: Reductions | None = None) -> Iterator[RunRows]:
        """``capturing`` of prepared inputs, with the layer ``input`` and a check that every layer has every row.

        Args:
            layers: to capture, as ``layers`` describes them.
            reductions: of these layers, done before they are copied; None to keep them whole.
        """
        inside = [layer for layer in layers if not _is_input(layer)]
        keeper = Keeper(reductions)
        with self.capturing(inside, keeper.keep) if inside else _nothing_to_run() as run:

            def run_checked(inputs: object, rows: BatchRows | None = None) -> dict[str, Captured]:
                inputs, word_of = self.prepared(inputs)
                examples = arrays.count_rows(inputs)
                keeper.begin(inputs, examples, rows, word_of)
                given = {INPUT: keeper.keep(INPUT, inputs)} if len(inside) < len(layers) else {}
                captured = {**given, **run(arrays.copied(inputs))}
                count = examples if rows is None else len(rows)
                for name, layer in captured.items():
                    check_rows(name, layer.array.shape, count)
                return {layer.name: captured[layer.name] for layer in layers}

            yield run_checked


def input_layer(inputs: object | None) -> ModelLayer | None:
    """The layer ``input``, for one array of numbers that has rows."""
    if not arrays.is_array(inputs):
        return None
    try:
        captured = arrays.capture(arrays.first_rows(inputs, 1))
    except (TypeError, IndexError):
        return None
    return layer_of(captured, INPUT, INPUT, explicit=True)


def _is_input(layer: ModelLayer) -> bool:
    return layer.name == INPUT and layer.type == INPUT


@contextmanager
def _nothing_to_run() -> Iterator[Run]:
    yield lambda _inputs: {}
