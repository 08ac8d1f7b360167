"""The check that other packages call on their adapters: each broken promise is named."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from actstore.activations import Captured
from actstore.adapters.conformance import check_adapter
from actstore.adapters.for_functions import FunctionAdapter
from actstore.errors import AdapterError

INPUTS = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)


def model(batch):
    batch += 1
    return {"a": 2 * batch, "b": batch.sum(axis=1)}


EXPECTED = {"a": 2 * (INPUTS + 1), "b": (INPUTS + 1).sum(axis=1)}


class OtherShape(FunctionAdapter):
    def describe(self, inputs):
        first, *rest = super().describe(inputs)
        return [replace(first, shape=(4,)), *rest]


class OtherType(FunctionAdapter):
    def describe(self, inputs):
        first, *rest = super().describe(inputs)
        return [replace(first, dtype="float64"), *rest]


class OtherOrder(FunctionAdapter):
    def describe(self, inputs):
        return super().describe(inputs)[::-1]


class Sharing(FunctionAdapter):
    buffer = np.zeros((8, 3), np.float32)

    @contextmanager
    def capturing(self, layers, keep):
        with super().capturing(layers, keep) as run:

            def sharing(inputs):
                found = run(inputs)
                if "a" in found:
                    shared = self.buffer[: len(inputs)]
                    shared[:] = found["a"].array
                    found["a"] = Captured(shared, "float32", ("feature",))
                return found

            yield sharing


class Depending(FunctionAdapter):
    """What it gives depends on what else is captured."""

    @contextmanager
    def capturing(self, layers, keep):
        with super().capturing(layers, keep) as run:

            def depending(inputs):
                found = run(inputs)
                return {name: replace(layer, array=layer.array + len(layers)) for name, layer in found.items()}

            yield depending


class Forgetful(FunctionAdapter):
    """Leaves a mark on the model."""

    @contextmanager
    def capturing(self, layers, keep):
        self.marks = getattr(self, "marks", 0) + 1
        with super().capturing(layers, keep) as run:
            yield run

    def provenance(self):
        return {"weights": "not seen", "marks": getattr(self, "marks", 0)}


class Swallowing(FunctionAdapter):
    @contextmanager
    def capturing(self, layers, keep):
        with super().capturing(layers, keep) as run:
            try:
                yield run
            except ZeroDivisionError as error:
                raise AdapterError("something else") from error


class Unhashed(FunctionAdapter):
    def provenance(self):
        return {"weights": 3}


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (OtherShape, r"layer 'a' is \(3,\), described as \(4,\)"),
        (OtherType, "layer 'a' is float32, described as float64"),
        (OtherOrder, r"gives the layers \['b', 'a'\], expected \['a', 'b'\] in this order"),
        (Sharing, "layer 'a' is rewritten by the next run: copy it"),
        (Depending, "layer 'a' has other values than expected"),
        (Forgetful, "the model is not left as it was found"),
        (Swallowing, "an error inside `capturing` comes out as another: something else"),
        (Unhashed, "provenance gives weights 3, not KIND:HASH or 'not seen'"),
    ],
)
def test_a_broken_promise_is_named(monkeypatch, adapter, message):
    monkeypatch.setattr("actstore.adapters.conformance.adapt", adapter)
    with pytest.raises(AdapterError, match=message):
        check_adapter(model, INPUTS, EXPECTED)


def test_what_a_layer_is_alone_and_in_parts_is_compared(monkeypatch):
    monkeypatch.setattr("actstore.adapters.conformance.adapt", Depending)
    with pytest.raises(AdapterError, match="layer 'a' is another when it is captured alone"):
        check_adapter(model, INPUTS)
    monkeypatch.undo()
    with pytest.raises(AdapterError, match="layer 'x' differs between one batch and its halves"):
        check_adapter(lambda batch: {"x": batch - batch.mean(axis=0)}, INPUTS)


@pytest.mark.parametrize("kind", [tuple, list, dict])
def test_inputs_of_several_arrays_are_compared_too(kind):
    inputs = {"x": INPUTS.copy(), "y": INPUTS.copy()} if kind is dict else kind([INPUTS.copy(), INPUTS.copy()])

    def several(batch):
        first, second = batch.values() if kind is dict else batch
        first += 1
        return {"sum": first + second}

    check_adapter(several, inputs, {"sum": 2 * INPUTS + 1})
    for array in inputs.values() if kind is dict else inputs:
        np.testing.assert_array_equal(array, INPUTS)
