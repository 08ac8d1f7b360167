"""The live classifier of `probe decode`: from MODEL to a network that is proven to be the one that was dumped."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cli.probe.bridge import described
from cli.probe.decoding.decode_rows import INPUT
from cli.probe.row_columns import target_of
from cli.store.layers import parse_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.decoders.plan import Network, Study

_LOOKED_AT = 8
"""Rows that the live model is run on before it is believed."""
_TOLERANCE = {"float16": 2e-2, "bfloat16": 5e-2}
_EXACT = 1e-3
"""Of activations, beside the largest: another batch size or machine rounds otherwise, other weights are far off."""


@dataclass(frozen=True)
class Live:
    """A network, and the study with labels as the network counts them."""

    network: Network
    study: Study


@contextmanager
def live_network(store: Store, study: Study, given: dict[str, Any]) -> Iterator[Live]:
    """The model, frozen, once its weights, its layers and its answers are those of the dump.

    Raises:
        StoreError: other weights, or layers that it does not give now.
        ProblemError: it is no classifier of these pictures and labels.
    """
    import numpy as np

    from actstore.errors import StoreError
    from actstore.models import load_model
    from solvers.decoders.by_torch.classifier import Classifier, frozen, is_torch_model
    from solvers.decoders.plan import Network
    from solvers.errors import ProblemError

    arguments = parse_arguments(given["arguments"])
    model: Any = load_model(given["model"], arguments, given["weights"])
    if not is_torch_model(model):
        msg = f"--model {given['model']} is a {type(model).__name__}; expected a torch module: gradients go through it"
        raise ProblemError(msg)
    weights = _refuse_other_weights(store, model, given["model"])
    for layer in study.codes:
        if given["reference"] and described(store, layer).get("reductions"):
            msg = (
                f"layer {layer!r} of {store.path} was reduced, and a reference decodes the whole layer: the two do not "
                "compare; dump the layer whole, or leave --reference out"
            )
            raise StoreError(msg)
        _refuse_other_activations(store, model, layer)
    labels = target_of(store, given["target"])
    known = ~np.ma.getmaskarray(labels)
    values = np.ma.getdata(labels)
    stored = np.array(store.layers[INPUT][:_LOOKED_AT])
    with frozen(model, given["device"]):
        classifier = Classifier.checked(model, study.examples.units, values[known], stored)
        places = np.full(len(values), -1, np.int64)
        places[known] = np.searchsorted(classifier.classes, values[known])
        identity = {"model": given["model"], "arguments": arguments, "weights": weights}
        network = Network(classifier, lambda: load_model(given["model"], arguments), identity)
        counted = replace(
            study,
            examples=replace(study.examples, labels=places),
            classes=len(classifier.classes),
            provenance={**study.provenance, "classes": classifier.classes.tolist(), "model": identity},
        )
        yield Live(network, counted)


def _refuse_other_weights(store: Store, model: object, spec: str) -> str:
    """The hash of the weights, which must be the dump's, where that is known."""
    from actstore.adapters import adapt
    from actstore.errors import StoreError

    before = described(store, INPUT).get("weights")
    now = str(adapt(model).provenance().get("weights"))
    if before is not None and before != now:
        msg = (
            f"--model {spec} has other weights than those that {store.path} was dumped from; give the same --weights "
            "and --arg, or dump again"
        )
        raise StoreError(msg)
    return now


def _refuse_other_activations(store: Store, model: object, layer: str) -> None:
    """Refuse a model that makes something else of the stored pictures than is stored: dropout was on, say."""
    import numpy as np

    from actstore.adapters import adapt
    from actstore.errors import StoreError
    from actstore.patterns import select

    if layer == INPUT or described(store, layer).get("reductions"):
        return  # reduced layers are others: their weights' hash has to do
    inputs = np.array(store.layers[INPUT][:_LOOKED_AT])
    adapter = adapt(model)
    with adapter.running(select((layer,), adapter.layers(inputs))) as run:
        found: Any = run(inputs)[layer].array
    now, before = _as_floats(found), np.asarray(store.layers[layer][:_LOOKED_AT], np.float64)
    size = max(float(np.abs(before).max()), 1e-30)
    stored = store.layers[layer].stored_dtype
    off = float(np.abs(now - before).max()) if now.shape == before.shape else float("inf")
    if not off <= _TOLERANCE.get(stored, _EXACT) * size:
        msg = (
            f"layer {layer!r} of {store.path} is not what the model makes of the stored input (off by {off:.3g}, where "
            f"values reach {size:.3g}): dropout was on in the dump, or the input was changed on its way; dump again"
        )
        raise StoreError(msg)


def _as_floats(array: Any) -> np.ndarray:
    import numpy as np

    from solvers.given import on_the_host

    return np.asarray(on_the_host(array, "activations"), np.float64)
