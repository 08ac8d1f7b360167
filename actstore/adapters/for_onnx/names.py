"""How for_onnx names layers and their axes.

A node ``/block/0/relu/Relu`` is the layer ``block.0.relu.Relu``; where it is the last node of its scope, and gives what
the scope as a whole computes, it is ``block.0.relu``, as the module is called that was exported. So a linear layer of
two nodes is ``first.MatMul`` and ``first``. A scope that is used in several places gives its name to none of them.
Nodes without a name of their own, and the further outputs of a node, are called by their tensors.
"""

from __future__ import annotations

from ast import literal_eval
from collections import Counter
from typing import TYPE_CHECKING

from actstore import arrays
from actstore.adapters.outputs import SPATIAL, features_last

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from onnx import NodeProto

    from actstore.adapters.for_onnx.graph import Computed

_TORCH_SCOPES = "pkg.torch.onnx.name_scopes"
_CHANNELS_FIRST = {
    "AveragePool", "BatchNormalization", "Conv", "ConvInteger", "ConvTranspose", "GlobalAveragePool",
    "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LRN", "LpPool", "MaxPool", "QLinearConv",
}  # fmt: skip
_BY_WEIGHTS = {"Gather", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}
"""Features last where one of their inputs is a weight: linear layers and embeddings."""
_OTHER_LENGTHS = {"Concat", "Pad", "ReduceMax", "ReduceMean", "ReduceSum", "Resize", "Slice", "Split"}
"""Their outputs have the axes of their inputs, though perhaps of other lengths."""


def layer_names(nodes: Sequence[Computed]) -> dict[str, str]:
    """The layer that each tensor is, by tensor, in graph order; every name once, and none that another tensor has."""
    paths = [_path(computed.node) for computed in nodes]
    whole = [".".join(path) for path in paths]
    counts = Counter(whole)
    scopes = _scopes(paths)
    taken = {tensor for computed in nodes for tensor in computed.tensors}
    names: dict[str, str] = {}
    for index, computed in enumerate(nodes):
        first, *others = computed.tensors
        scope, name = scopes.get(index, ""), whole[index]
        if scope and scope not in counts and (scope == first or scope not in taken):
            names[first] = scope
        elif name and counts[name] == 1 and (name == first or name not in taken):
            names[first] = name
        else:
            names[first] = first
        names.update((tensor, tensor) for tensor in others)
    return names


def _path(node: NodeProto) -> tuple[str, ...]:
    """The scopes of a node, and then its own name; nothing for a node without a name."""
    parts = [part for part in node.name.split("/") if part]
    if not parts:
        return ()
    for entry in node.metadata_props:
        if entry.key == _TORCH_SCOPES:  # ['', 'block', 'block.0', 'relu']: modules, and then the operation
            return (*_split(_module(entry.value)), parts[-1])
    scopes: list[str] = []
    for part in parts[:-1]:
        if scopes and part.startswith(f"{scopes[-1]}."):  # /blocks/blocks.0/Relu, of a sequence of modules
            scopes.pop()
        scopes.append(part)
    return (*_split(".".join(scopes)), parts[-1])


def _module(scopes: str) -> str:
    try:
        return str(["", *literal_eval(scopes)][-2])
    except (ValueError, SyntaxError, TypeError):  # not as torch writes it: a note for people, and not for us
        return ""


def _split(scope: str) -> list[str]:
    return [part for part in scope.split(".") if part]


def _scopes(paths: Sequence[tuple[str, ...]]) -> dict[int, str]:
    """For the last node of a scope, by its index, the scope's name: where the scope is one run of nodes."""
    places: dict[tuple[str, ...], list[int]] = {}
    for index, path in enumerate(paths):
        for length in range(1, len(path)):
            places.setdefault(path[:length], []).append(index)
    return {
        found[-1]: ".".join(scope)
        for scope, found in places.items()
        if found[-1] - found[0] + 1 == len(found) and len(paths[found[-1]]) == len(scope) + 1
    }


def axis_names(
    nodes: Sequence[Computed], shapes: Mapping[str, tuple[int, ...]], constants: Set[str]
) -> dict[str, tuple[str, ...]]:
    """The feature axes of each tensor: by its node, else as of the node's input that has the same shape.

    Args:
        nodes: those that compute on rows, in graph order.
        shapes: of the features (without the batch) by tensor, where known.
        constants: the tensors that hold weights.
    """
    names: dict[str, tuple[str, ...]] = {}
    for computed in nodes:
        for tensor in computed.tensors:
            if tensor in shapes:
                names[tensor] = _axes(computed.node, tensor, (shapes, names, constants))
    return names


_Known = tuple["Mapping[str, tuple[int, ...]]", "Mapping[str, tuple[str, ...]]", "Set[str]"]


def _axes(node: NodeProto, tensor: str, known: _Known) -> tuple[str, ...]:
    shapes, names, constants = known
    shape = shapes[tensor]
    count = len(shape)
    if node.op_type in _CHANNELS_FIRST and count - 1 in SPATIAL:
        return ("channel", *SPATIAL[count - 1])
    if count > 1 and node.op_type in _BY_WEIGHTS and not constants.isdisjoint(node.input):
        return features_last(count)
    inputs = [name for name in node.input if name in names]
    if node.op_type == "Transpose" and inputs:
        order = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), [])
        if order[:1] == [0] and len(names[inputs[0]]) == count:
            return tuple(names[inputs[0]][axis - 1] for axis in order[1:])
    for name in inputs:
        same = len(shapes[name]) == count if node.op_type in _OTHER_LENGTHS else shapes[name] == shape
        if same and (count > 1 or node.op_type != "Transpose"):
            return names[name]
    return arrays.default_axes(count)
