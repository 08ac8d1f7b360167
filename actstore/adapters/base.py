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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from actstore import arrays
from actstore.activations import INPUT, OUTPUT, Captured, ModelLayer, layer_of
from actstore.adapters import moves
from actstore.adapters.describing import Description, described, rows_along
from actstore.adapters.keep import Keep, Keeper, capture_layer, check_rows
from actstore.errors import AdapterError
from actstore.patterns import batch_axis
from actstore.usercode import explain

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


@dataclass(frozen=True)
class Prepared:
    """A batch as the model takes it.

    Args:
        inputs: for ``describe`` and ``capturing``.
        word_of: (examples, positions) see ``Adapter.prepared``.
    """

    inputs: object
    word_of: np.ndarray | None = None

    def only(self, places: np.ndarray) -> Prepared:
        """Return the rows at these places, in this order; parts with another number of rows stay as they are."""
        word_of = None if self.word_of is None else self.word_of[places]
        return Prepared(moves.picked(self.inputs, places), word_of)


class RunRows(Protocol):
    """A ``Run`` that takes inputs as the source gives them, or prepared already, and checks what it gives."""

    def __call__(self, inputs: object, rows: BatchRows | None = None) -> Mapping[str, Captured]:
        """Return the layers of one batch: a row per example, or ``rows``, which are found in it."""
        ...


class TrainingModeWarning(UserWarning):
    """Modules in training mode (dropout, batch statistics) while their activations are captured."""


class Adapter(ABC):
    """Runs one model of one framework."""

    name: ClassVar[str]
    fallback: ClassVar[bool] = False
    """Whether the adapter is asked last, since it takes what others may know better."""
    truncates: ClassVar[bool] = False
    """Whether the adapter makes tokens of texts, and can cut them."""
    loads: ClassVar[tuple[str, ...]] = ()
    """Which MODEL specs are for ``load``: their endings (``.onnx``) or their beginnings (``hf:``)."""

    def __init__(self, model: Any, device: str | None = None) -> None:
        self.model = model
        self.device = device
        self.stop_early = False
        """Whether a pass may end after the deepest layer asked for."""
        self.batch_axis: Sequence[str] = ()
        """``PATTERN=N``: which axis of a layer is the rows of the batch, where it is not the first."""
        self.truncate = False
        """Whether texts that are longer than the model takes are cut; see ``truncates``."""

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
        """Return what identifies the model: ``weights`` (a hash, or "not seen") and whatever else helps."""

    def identity(self) -> dict[str, JSON]:
        """Return the provenance; weights "not seen", with the reason, where the model keeps them from being hashed.

        Raises:
            AdapterError: files of the model are not what it says.
        """
        try:
            return self.provenance()
        except (AdapterError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the user's model: what it says of its weights is its own
            return {"weights": "not seen", "reason": explain(error)}

    def ask(self, *, autocast: str | None = None, trace: bool = False) -> None:
        """Run otherwise from now on: in the precision ``autocast``, or showing functional calls (``trace``).

        An adapter that can overrides this.

        Raises:
            AdapterError: the adapter cannot, or not this model.
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
            AdapterError: there is no such model, or it cannot be read.
        """
        raise NotImplementedError(spec)

    def edges(self, layers: Sequence[str]) -> list[tuple[str, str]] | None:
        """Return which of these layers feeds which, (from, to), directly or through others; None where that is unknown.

        Asked for after ``describe``. An adapter that knows overrides this; ``input`` is what the model is given.
        """
        return None

    def load_weights(self, path: Path, key: str | None) -> object:
        """Load ``--weights``. An adapter that can overrides this.

        Returns:
            the model with them: the same object, or another where a framework's models cannot be changed.
        """
        msg = (
            f"weights for a {self.name} model cannot be loaded from {path.name}: a pickle can run anything; "
            "let the function that makes the model load them"
        )
        raise AdapterError(msg)

    def watching(self, patterns: Sequence[str]) -> AbstractContextManager[Mapping[str, Captured]]:
        """A context that captures a forward pass which happens anyway. An adapter that can overrides this."""
        msg = f"a {self.name} model has no hooks to watch; use actstore.create(...).dump(model, batches)"
        raise AdapterError(msg)

    def prepared(self, inputs: object) -> tuple[object, np.ndarray | None]:
        """Return what the model takes for a batch of the source, and which words are in it.

        An adapter that turns inputs into others (text into token ids) overrides this.

        Returns:
            the inputs for ``describe`` and ``capturing``; and (examples, positions) ints, which word of its example
            each position belongs to, -1 for none, or None where the adapter knows no words.

        Raises:
            AdapterError: inputs that the model cannot be given.
            RowError: one row of them.
        """
        return inputs, None

    def prepare(self, inputs: object) -> Prepared:
        """Prepare a batch of the source; what is prepared already stays as it is."""
        return inputs if isinstance(inputs, Prepared) else Prepared(*self.prepared(inputs))

    def tokens(self, inputs: object) -> np.ndarray | None:
        """(examples, positions) the token at each position of prepared inputs; None where these are no tokens.

        An adapter that has a tokenizer overrides this and gives text; others give the numbers of tokens.
        """
        found = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
        return None if found is None else arrays.to_bits(found)[0]

    @property
    def fixed_rows(self) -> int | None:
        """How many rows the model takes; None for any number. An adapter that knows of a limit overrides this."""
        return None

    def glimpse(self, inputs: object) -> list[ModelLayer]:
        """As ``describe``, of a batch that the model need not take: what is seen until it fails.

        An adapter whose layers are seen while the model runs overrides this; for others it is all or nothing.
        """
        try:
            return self.describe(inputs)
        except Exception:  # noqa: BLE001 - the model was given what nobody asked it to take
            return []

    def layers(self, inputs: object | None) -> list[ModelLayer]:
        """Return every layer in call order, with names of its axes; see ``description``."""
        return list(self.description(inputs).layers)

    def description(self, inputs: object | None) -> Description:
        """Describe every layer, and the layer ``input`` where the model takes one numeric array.

        With inputs, by a few runs of a few of their rows (``adapters.describing``).
        """
        return Description(self.describe(None)) if inputs is None else described(self, inputs)

    def described_rows(self, prepared: object) -> list[ModelLayer]:
        """``describe``, and the layer ``input``."""
        return self._with_input(self._along(self.describe(arrays.copied(prepared))), prepared)

    def glimpsed_rows(self, prepared: object) -> list[ModelLayer]:
        """``glimpse``, and the layer ``input``."""
        return self._with_input(self._along(self.glimpse(arrays.copied(prepared))), prepared)

    def _along(self, layers: list[ModelLayer]) -> list[ModelLayer]:
        """The layers with their rows along the axis that was said."""
        if not self.batch_axis:
            return layers
        return [rows_along(layer, batch_axis(self.batch_axis, layer.name)) for layer in layers]

    @staticmethod
    def _with_input(layers: list[ModelLayer], prepared: object) -> list[ModelLayer]:
        given = input_layer(prepared)
        return layers if given is None or any(layer.name == INPUT for layer in layers) else [given, *layers]

    @contextmanager
    def running(self, layers: Sequence[ModelLayer], reductions: Reductions | None = None) -> Iterator[RunRows]:
        """``capturing`` of prepared inputs, with the layer ``input`` and a check that every layer has every row.

        Args:
            layers: to capture, as ``layers`` describes them.
            reductions: of these layers, done before they are copied; None to keep them whole.
        """
        inside = [layer for layer in layers if not _is_input(layer)]
        keeper = Keeper(reductions, self.batch_axis)
        with self.capturing(inside, keeper.keep) if inside else _nothing_to_run() as run:

            def run_checked(inputs: object, rows: BatchRows | None = None) -> dict[str, Captured]:
                prepared = self.prepare(inputs)
                inputs = prepared.inputs
                examples = arrays.count_rows(inputs)
                keeper.begin(inputs, examples, rows, prepared.word_of)
                given = {INPUT: keeper.keep(INPUT, inputs)} if len(inside) < len(layers) else {}
                captured = {**given, **run(arrays.copied(inputs))}
                count = examples if rows is None else len(rows)
                for name, layer in captured.items():
                    check_rows(name, layer.array.shape, count)
                return {layer.name: keeper.with_axes(layer, captured[layer.name]) for layer in layers}

            yield run_checked


def input_layer(inputs: object | None) -> ModelLayer | None:
    """Return the layer ``input``, for one array of numbers that has rows."""
    if not arrays.is_array(inputs):
        return None
    try:
        captured = arrays.capture(inputs)
    except (TypeError, IndexError):
        return None
    return layer_of(captured, INPUT, INPUT, explicit=True)


def _is_input(layer: ModelLayer) -> bool:
    return layer.name == INPUT and layer.type == INPUT


@contextmanager
def _nothing_to_run() -> Iterator[Run]:
    yield lambda _inputs: {}


def contracted(edges: Iterable[tuple[str, str]], layers: Sequence[str]) -> list[tuple[str, str]]:
    """Return the edges among ``layers``: from one to another that it reaches without passing a third."""
    after: dict[str, list[str]] = {}
    for source, to in edges:
        after.setdefault(source, []).append(to)
    kept = set(layers)
    found: dict[tuple[str, str], None] = {}
    for layer in layers:
        seen: set[str] = set()
        waiting = list(after.get(layer, ()))
        while waiting:
            name = waiting.pop()
            if name in kept:
                if name != layer:
                    found[layer, name] = None
            elif name not in seen:
                seen.add(name)
                waiting += after.get(name, ())
    return list(found)
