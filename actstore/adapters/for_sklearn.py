"""scikit-learn: the hidden layers of MLPClassifier and MLPRegressor, and every transform of a Pipeline.

Layers of a multi-layer perceptron, in call order: ``hidden0.pre`` (the linear part), ``hidden0`` (after the
activation), ``hidden1.pre``, ..., ``output.pre`` (what the softmax, logistic or identity at the end is given),
``output`` (what ``predict_proba`` or ``predict`` builds on). So ``*`` picks what comes after activations, ``**`` all.
Layers of a Pipeline: each transform by the name of its step; those of an MLP at its end are ``step.hidden0``, ....
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.adapters.base import Adapter, Keep, ModelLayer, Run, capture_layer, layer_of
from actstore.errors import AdapterError
from actstore.provenance import hash_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actstore.activations import Captured
    from actstore.store.format import JSON

_Layer = tuple[str, str, Any]  # name, kind, array


class SklearnAdapter(Adapter):
    """Runs a fitted estimator, step by step."""

    name = "scikit-learn"

    @staticmethod
    def accepts(model: object) -> bool:
        """Any estimator; one without layers is told so when it is described."""
        return any(base.__module__.partition(".")[0] == "sklearn" for base in type(model).__mro__)

    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """Every layer; without inputs, as a batch of zeros shows them."""
        batch = self._zeros() if inputs is None else inputs
        return [_described(*layer) for layer in _forward(self.model, batch)]

    @contextmanager
    def capturing(self, layers: Sequence[ModelLayer], keep: Keep) -> Iterator[Run]:
        """Runs stop after the deepest layer asked for."""
        names = [layer.name for layer in layers]

        def run(inputs: object) -> dict[str, Captured]:
            captured: dict[str, Captured] = {}
            for name, _kind, array in _forward(self.model, inputs):
                if name in names:
                    captured[name] = keep(name, array)
                if len(captured) == len(names):
                    break
            return captured

        yield run

    def provenance(self) -> dict[str, JSON]:
        """The hash of everything that fitting set."""
        return {"weights": hash_arrays(_fitted_arrays(self.model, "")), "class": type(self.model).__qualname__}

    def _zeros(self) -> np.ndarray:
        width = getattr(self.model, "n_features_in_", None)
        if width is None:
            msg = f"{type(self.model).__name__} does not say how many features it takes; fit it, or give it --data"
            raise AdapterError(msg)
        return np.zeros((1, width), dtype=np.float32)


def _described(name: str, kind: str, array: Any) -> ModelLayer:
    if hasattr(array, "toarray"):
        note = "it is a sparse matrix; let the step return a dense one (sparse_output=False)"
        return ModelLayer(name, kind, note=note)
    return layer_of(capture_layer(name, array), name, kind)


def _forward(estimator: Any, inputs: Any, prefix: str = "") -> Iterator[_Layer]:
    """The layers of an estimator as they are computed; what is not asked for further is not computed."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        yield from _forward_steps(estimator, inputs, prefix)
    elif isinstance(estimator, (MLPClassifier, MLPRegressor)):
        _check_fitted(estimator)
        yield from _forward_mlp(estimator, inputs, prefix)
    elif not prefix:
        msg = f"{type(estimator).__name__} has no layers; MLPClassifier, MLPRegressor and Pipeline have"
        raise AdapterError(msg)


def _forward_steps(pipeline: Any, inputs: Any, prefix: str) -> Iterator[_Layer]:
    for step, estimator in pipeline.steps:
        name = prefix + step
        if estimator is None or estimator == "passthrough":
            continue
        yield from _forward(estimator, inputs, f"{name}.")
        if hasattr(estimator, "transform"):
            _check_fitted(estimator)
            inputs = estimator.transform(inputs)
            yield name, type(estimator).__name__, inputs


def _forward_mlp(network: Any, inputs: Any, prefix: str) -> Iterator[_Layer]:
    from scipy.special import expit, softmax
    from sklearn.utils.validation import check_array

    functions = {
        "identity": lambda z: z,
        "logistic": expit,
        "tanh": np.tanh,
        "relu": lambda z: np.maximum(z, 0),
        "softmax": lambda z: softmax(z, axis=1),
    }
    activations = check_array(inputs, accept_sparse=("csr", "csc"))
    last = len(network.coefs_) - 1
    for index, (weights, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        name = prefix + ("output" if index == last else f"hidden{index}")
        activation = network.out_activation_ if index == last else network.activation
        # NaN and infinities are counted where they are stored; BLAS raises the flag of one now and then without any.
        with np.errstate(all="ignore"):
            before = activations @ weights + bias
            activations = functions[activation](before)
        yield f"{name}.pre", "Linear", before
        yield name, activation, activations


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        msg = f"{type(estimator).__name__} is not fitted; let the function that makes it call fit first"
        raise AdapterError(msg) from error


def _fitted_arrays(value: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays and numbers behind an estimator's fitted attributes (those whose name ends in ``_``), by name."""
    if hasattr(value, "get_params"):
        steps = getattr(value, "steps", ())
        fitted = {
            key: item for key, item in vars(value).items() if key.endswith("_") and not key.startswith("_")
        }
        for key, item in [*steps, *sorted(fitted.items())]:
            yield from _fitted_arrays(item, f"{name}.{key}")
    elif hasattr(value, "toarray"):
        yield name, value.toarray()
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _fitted_arrays(item, f"{name}.{index}")
    elif isinstance(value, (bool, int, float, str)) or arrays.is_array(value):
        array = np.asarray(value)
        if array.dtype != object:
            yield name, array
