"""Which files an ONNX model names, and whether they may be read: told by a walk of our own over all of its tensors.

What onnx and onnxruntime refuse by themselves differs from version to version: some read links, or what a constant
inside a branch names, wherever that lies.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any

from actstore.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from onnx import ModelProto, TensorProto


_PLACES = {
    "NodeProto": "in a node",
    "FunctionProto": "in a function",
    "TrainingInfoProto": "in a part for training",
}
"""What is not a part of the model's own list of weights, though tensors lie in it."""


def external_files(proto: ModelProto) -> set[str]:
    """The files that hold weights, relative to the model's folder.

    Raises:
        AdapterError: a tensor names none, or several, or is no initialiser of the model.
    """
    return {
        _location(tensor, where)
        for tensor, where in _tensors(proto, "")
        if tensor.data_location == tensor.EXTERNAL or tensor.external_data
    }


def check_beside(path: Path, location: str) -> None:
    """Refuse a file of weights that is not a file of its own beside the model.

    Raises:
        AdapterError: it lies outside the folder, is missing, or is a link, or a second name of another file.
    """
    parts = re.split(r"[/\\]", location)
    if os.path.isabs(location) or ".." in parts or "\0" in location or location.startswith("\\"):
        msg = f"{path} keeps weights in {location!r}, outside its own folder: such a file is not read"
        raise AdapterError(msg)
    file = path.parent / location
    if not file.is_file():
        msg = f"{path} keeps weights in {location!r}, which is not beside it: copy that file to {path.parent}, too"
        raise AdapterError(msg)
    folder, real = os.path.realpath(path.parent), os.path.realpath(file)
    status = os.lstat(file)
    if stat.S_ISLNK(status.st_mode) or os.path.commonpath([folder, real]) != folder:
        msg = (
            f"{path} keeps weights in {location!r}, which is a link: it could lead to any file, and is not read; put "
            f"a copy of what it leads to in its place (cp -L)"
        )
        raise AdapterError(msg)
    if status.st_nlink > 1:
        msg = (
            f"{path} keeps weights in {location!r}, which is a second name of another file (a hard link): it could be "
            "any file, and is not read; put a copy in its place"
        )
        raise AdapterError(msg)


def initialisers(proto: ModelProto) -> Iterator[TensorProto]:
    """The weights of a model: those whose values its hash is over."""
    yield from proto.graph.initializer
    for sparse in proto.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _location(tensor: TensorProto, where: str) -> str:
    """The file that a tensor names; ``where`` it stands, unless it is an initialiser of the model."""
    found = [entry.value for entry in tensor.external_data if entry.key == "location"]
    what = f"the weights {tensor.name!r}" if tensor.name else "a tensor without a name"
    if len(found) != 1 or not found[0]:
        msg = f"{what} of the model name {len(found)} files to be read from; expected one"
        raise AdapterError(msg)
    if where:
        msg = (
            f"{what} {where} of the model lie in a file ({found[0]!r}); only an initialiser may be kept in one: it is "
            "not read"
        )
        raise AdapterError(msg)
    return found[0]


def _tensors(value: Any, where: str) -> Iterator[tuple[TensorProto, str]]:
    """Every tensor in a message, at whatever depth, and in what it stands (graphs in branches, functions, training)."""
    for field, content in value.ListFields():
        if field.message_type is None:
            continue
        # Repeated messages are sequences; a map of messages there is none of in ONNX.
        each = [content] if hasattr(content, "ListFields") else content
        for message in each:
            if message.DESCRIPTOR.full_name == "onnx.TensorProto":
                yield message, where
            else:
                yield from _tensors(message, where or _PLACES.get(message.DESCRIPTOR.name, ""))
