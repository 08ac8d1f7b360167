"""Layers of an ONNX model, told from what a run gave, or from what the model declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from actstore import arrays
from actstore.activations import ModelLayer
from actstore.adapters.for_onnx.graph import inputs_of
from actstore.store.format import DTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto

    from actstore.adapters.for_onnx.session import Session

_ONLY_A_BATCH = "only a batch tells its shape: give --data"


def found_layers(session: Session, feeds: Mapping[str, np.ndarray]) -> dict[str, ModelLayer]:
    """A layer for each tensor of a session, as a batch shows it; without a shape where a store cannot hold it."""
    values = session.run(feeds)
    return {
        tensor: _found(tensor, values[tensor])
        if tensor in values
        else ModelLayer(tensor, "", note=f"it is a {kind}, which no store holds")
        for tensor, kind in session.kinds.items()
    }


def declared_layers(model: ModelProto) -> dict[str, ModelLayer]:
    """A layer for each tensor whose shape follows from the model alone."""
    from onnx import helper, shape_inference

    batch = {_dim(value.type.tensor_type.shape.dim[0]) for value in inputs_of(model.graph) if _rank(value)}
    graph = shape_inference.infer_shapes(model).graph
    layers: dict[str, ModelLayer] = {}
    for value in (*graph.value_info, *graph.output):
        kind = value.type.tensor_type.elem_type
        dims = [_dim(dim) for dim in value.type.tensor_type.shape.dim]
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind)).name if kind else ""
        shape = tuple(dim for dim in dims[1:] if isinstance(dim, int))
        if dims and dims[0] in batch and len(shape) == len(dims) - 1 and dtype in DTYPES:
            layers[value.name] = ModelLayer(value.name, "", shape, arrays.default_axes(len(shape)), dtype)
    return layers


def unknown_layer(tensor: str) -> ModelLayer:
    """A layer of which nothing is known without a batch."""
    return ModelLayer(tensor, "", note=_ONLY_A_BATCH)


def _found(tensor: str, value: np.ndarray) -> ModelLayer:
    if not value.ndim:
        return ModelLayer(tensor, "", note="it is a single number, and no row per example")
    rows, *shape = value.shape
    return ModelLayer(tensor, "", tuple(shape), arrays.default_axes(len(shape)), value.dtype.name, rows=rows)


def _rank(value: Any) -> int:
    return len(value.type.tensor_type.shape.dim)


def _dim(dim: Any) -> int | str | None:
    """The length of an axis, the name that stands for it, or None."""
    return dim.dim_value if dim.dim_value > 0 else (dim.dim_param or None)
