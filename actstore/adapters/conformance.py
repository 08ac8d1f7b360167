"""What every adapter owes, as a check that the tests of another package's adapter can call.

``check_adapter(model, inputs)`` runs a model of the framework's and says which promise is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actstore import arrays
from actstore.adapters import adapt
from actstore.errors import ActstoreError, AdapterError
from actstore.store.format import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actstore.activations import Captured, ModelLayer
    from actstore.adapters.base import Adapter


def check_adapter(
    model: object, inputs: object, expected: Mapping[str, np.ndarray] | None = None, tolerance: float = 1e-5
) -> None:
    """Run ``model`` as a dump does, in every way that an adapter must stand.

    Args:
        model: the worse behaved the better: one that changes its inputs in place, and uses its buffers again.
        inputs: a batch of at least 4 rows, in arrays.
        expected: the layers that ``**`` picks, in call order, with their values, computed without actstore; None to
            compare no values.
        tolerance: relative to the largest magnitude of a layer, for rows in batches of other sizes and ``expected``.

    Raises:
        AdapterError: the first promise that is broken: names, shapes, order, values; batches that do not matter; inputs
            and model left as they were, after an error too; captures that are copies; each layer alone as among all;
            weights that are hashed.
    """
    adapter = adapt(model)
    before, given = adapter.provenance(), arrays.copied(inputs)
    layers = [layer for layer in adapter.layers(inputs) if layer.shape is not None and not layer.explicit]
    with adapter.running(layers) as run:
        whole = run(inputs)
        kept = {name: layer.array.copy() for name, layer in whole.items()}
        parts = [run(part) for part in _halves(inputs)]
    _check_names(layers, whole, expected)
    for name, values in kept.items():
        _require(np.array_equal(values, whole[name].array), name, "is rewritten by the next run: copy it")
        joined = np.concatenate([part[name].array for part in parts])
        _require(_close(joined, values, tolerance), name, "differs between one batch and its halves")
        known = values if expected is None else expected[name]
        _require(_close(values, known, tolerance), name, "has other values than expected")
    _check_alone(adapter, layers, inputs, kept)
    _require(_same(given, inputs), "", "the inputs were changed")
    _check_errors(adapter, layers)
    _require(adapter.provenance() == before, "", "the model is not left as it was found")
    weights = before.get("weights")
    hashed = weights == "not seen" or ":" in str(weights)
    _require(hashed, "", f"provenance gives weights {weights!r}, not KIND:HASH or 'not seen'")


def _check_alone(
    adapter: Adapter, layers: Sequence[ModelLayer], inputs: object, kept: Mapping[str, np.ndarray]
) -> None:
    for layer in layers:
        with adapter.running([layer]) as run:
            alone = run(inputs)[layer.name].array
        _require(np.array_equal(alone, kept[layer.name]), layer.name, "is another when it is captured alone")


def _check_names(
    layers: Sequence[ModelLayer], whole: Mapping[str, Captured], expected: Mapping[str, np.ndarray] | None
) -> None:
    names = [layer.name for layer in layers]
    if expected is not None and names != list(expected):
        msg = f"adapter: describe gives the layers {names}, expected {list(expected)} in this order"
        raise AdapterError(msg)
    for layer in layers:
        found = whole[layer.name]
        _require(
            found.array.shape[1:] == layer.shape,
            layer.name,
            f"is {found.array.shape[1:]}, described as {layer.shape}",
        )
        _require(found.dtype == layer.dtype, layer.name, f"is {found.dtype}, described as {layer.dtype}")
        _require(found.array.dtype == numpy_dtype(layer.dtype), layer.name, "has not the bits of its dtype")
        _require(found.axes == layer.axes, layer.name, f"has the axes {found.axes}, described as {layer.axes}")
        _require(len(layer.axes) == len(layer.shape or ()), layer.name, "has not one axis name for each axis")


def _check_errors(adapter: Adapter, layers: Sequence[ModelLayer]) -> None:
    """An error between two runs comes out as it is."""
    try:
        with adapter.running(layers):
            raise ZeroDivisionError
    except ZeroDivisionError:
        return
    except ActstoreError as error:
        msg = f"adapter: an error inside `capturing` comes out as another: {error}"
        raise AdapterError(msg) from error


def _halves(inputs: object) -> list[object]:
    rows = arrays.count_rows(inputs)
    middle = rows // 2
    return [arrays.take_rows(inputs, np.arange(start, stop)) for start, stop in ((0, middle), (middle, rows))]


def _close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    size = float(np.abs(expected.astype(np.float64)).max(initial=0.0))
    return found.shape == expected.shape and np.allclose(
        found, expected, rtol=0, atol=tolerance * size, equal_nan=True
    )


def _same(given: object, inputs: object) -> bool:
    if arrays.is_array(given):
        return arrays.to_bits(given)[0].tobytes() == arrays.to_bits(inputs)[0].tobytes()
    if isinstance(given, dict):
        return all(_same(value, inputs[name]) for name, value in given.items())  # type: ignore[index]
    if isinstance(given, (tuple, list)):
        return all(_same(value, other) for value, other in zip(given, inputs, strict=True))  # type: ignore[call-overload]
    return given == inputs


def _require(kept: bool, layer: str, what: str) -> None:
    if not kept:
        msg = f"adapter: layer {layer!r} {what}" if layer else f"adapter: {what}"
        raise AdapterError(msg)
