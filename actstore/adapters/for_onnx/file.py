"""ONNX models as they come, from a file or from memory: read without their weights, hashed with them, never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.adapters.extras import required
from actstore.adapters.for_onnx.external import check_beside, external_files, initialisers
from actstore.errors import AdapterError
from actstore.provenance import hash_arrays, hash_text
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from onnx import ModelProto

_MOST_BYTES = 2**31 - 1


@dataclass(frozen=True)
class OnnxFile:
    """A model on the disk.

    Args:
        path: of the ``.onnx`` file.
        proto: what it holds; weights that lie in files beside it stay there.
    """

    path: Path
    proto: ModelProto


def read(path: Path) -> OnnxFile:
    """The model of a file.

    Raises:
        AdapterError: no such file, no ONNX model in it, or a file with its weights is missing.
    """
    onnx = required("onnx", "onnx", path.name)
    required("onnxruntime", "onnx", path.name)
    if not path.is_file():
        msg = f"there is no file {path}"
        raise AdapterError(msg)
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # what protobuf raises is for protobuf to say
        msg = f"{path} is not an ONNX model, or it is damaged: {explain(error)}"
        raise AdapterError(msg) from error
    if not proto.graph.node:
        msg = f"{path} is not an ONNX model, or an empty one: it has no nodes"
        raise AdapterError(msg)
    for location in sorted(external_files(proto)):
        check_beside(path, location)
    return OnnxFile(path, proto)


def check_in_memory(proto: ModelProto) -> None:
    """Refuse a model that cannot be handed over to onnxruntime from memory.

    Raises:
        AdapterError: its weights were left in a file, or take more than 2 GB.
    """
    files = sorted(external_files(proto))
    if files:
        msg = (
            f"the model's weights are in {files[0]!r}, which a ModelProto does not find: read it by onnx.load(path) "
            'with its external data, or by actstore.models.load_model("FILE.onnx")'
        )
        raise AdapterError(msg)
    if proto.ByteSize() > _MOST_BYTES:
        msg = (
            f"a model of {proto.ByteSize():,} bytes cannot be handed over in memory (2 GB at most): save it with "
            'save_as_external_data=True, and read it by actstore.models.load_model("FILE.onnx")'
        )
        raise AdapterError(msg)


def hash_weights(proto: ModelProto, folder: Path | None) -> str:
    """The hash of the initialisers: names, dtypes, shapes and values, wherever they are kept.

    Raises:
        AdapterError: a file with weights is not what the model says.
    """
    return hash_arrays(_arrays(proto, folder))


def hash_graph(proto: ModelProto) -> str:
    """The hash of the nodes, constants included: another network can have the same initialisers."""
    graph = proto.graph
    parts = [*graph.node, *graph.input, *graph.output, *proto.functions]
    return hash_text(" ".join(part.SerializeToString(deterministic=True).hex() for part in parts))


def _arrays(proto: ModelProto, folder: Path | None) -> Iterator[tuple[str, np.ndarray]]:
    from onnx import numpy_helper

    for tensor in initialisers(proto):
        try:
            array: Any = numpy_helper.to_array(tensor, str(folder or ""))
        except Exception as error:  # whatever onnx finds wrong with a file of weights
            msg = f"the weights {tensor.name!r} cannot be read: {explain(error)}"
            raise AdapterError(msg) from error
        yield tensor.name, np.array(repr(array.tolist())) if array.dtype == object else array
