"""What for_onnx knows of a graph: which tensors come from the rows, and the part of it that computes some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actstore.activations import INPUT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

_SHAPE_ALONE = ("Shape", "Size")
"""What these give depends on how many rows there are, not on what is in them."""


@dataclass(frozen=True)
class Computed:
    """A node that computes on rows.

    Args:
        node: of the graph.
        tensors: the names of its outputs, the first one first; there is at least one.
    """

    node: NodeProto
    tensors: tuple[str, ...]


def inputs_of(graph: GraphProto) -> list[ValueInfoProto]:
    """Return what a batch has to give, in order (old files list their weights as inputs, too)."""
    weights = _weights(graph)
    return [value for value in graph.input if value.name not in weights]


def computed_from_rows(graph: GraphProto) -> list[Computed]:
    """The nodes whose outputs depend on what the inputs hold, not on weights and shapes alone; in graph order."""
    live = {value.name for value in inputs_of(graph)}
    found: list[Computed] = []
    for node in graph.node:
        if node.op_type in _SHAPE_ALONE or not live.intersection(_needed_by(node)):
            continue
        tensors = tuple(name for name in node.output if name)
        live.update(tensors)
        found.append(Computed(node, tensors))
    return found


def edges(graph: GraphProto, computed: Iterable[Computed]) -> list[tuple[str, str]]:
    """Return which tensor feeds which, (from, to), of those computed from the rows; ``input`` is what goes in."""
    given = {value.name for value in inputs_of(graph)}
    live = given.union(*(each.tensors for each in computed))
    return [
        (INPUT if name in given else name, tensor)
        for each in computed
        for name in dict.fromkeys(_needed_by(each.node))
        if name in live
        for tensor in each.tensors
    ]


def constants_of(graph: GraphProto) -> set[str]:
    """The tensors that hold weights: initialisers, and what is computed from them alone."""
    constants = _weights(graph)
    for node in graph.node:
        if constants.issuperset(name for name in _needed_by(node) if name):
            constants.update(node.output)
    return constants


def _weights(graph: GraphProto) -> set[str]:
    return {
        tensor.name for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer))
    }


def part_computing(model: ModelProto, wanted: Collection[str]) -> ModelProto:
    """A model of its own, with just the nodes and weights that ``wanted`` needs, whose outputs are ``wanted``.

    So a run ends after the deepest layer asked for. In 16 bits every tensor on the way is an output, too: onnxruntime
    computes many of these operations in float32 on a CPU and leaves out the rounding between two of them unless
    someone might look, and a layer's bits would depend on which others are captured.
    """
    needed = set(wanted)
    nodes: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(_needed_by(node))
    nodes.reverse()
    part = _without_graph(model)
    graph = part.graph
    graph.name = model.graph.name
    graph.node.extend(nodes)
    given = {
        value.name for value in inputs_of(model.graph)
    }  # all of them: a batch gives what the whole model takes
    graph.input.extend(value for value in model.graph.input if value.name in needed | given)
    for value in (
        graph.input
    ):  # zero is how some exporters write an axis of any length; onnxruntime takes it at its word
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.ClearField("dim_value")
    graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    graph.sparse_initializer.extend(
        tensor for tensor in model.graph.sparse_initializer if tensor.values.name in needed
    )
    outputs = list(wanted)
    if _sixteen_bits(model):
        on_the_way = (name for computed in computed_from_rows(graph) for name in computed.tensors)
        outputs = list(dict.fromkeys([*outputs, *on_the_way]))
    for name in outputs:
        graph.output.add(name=name)  # its type is for onnxruntime to infer
    return part


def _without_graph(model: ModelProto) -> ModelProto:
    part = type(model)()
    part.ir_version = model.ir_version
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    return part


def _sixteen_bits(model: ModelProto) -> bool:
    from onnx import TensorProto

    short = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    graph = model.graph
    casts = (attribute.i for node in graph.node if node.op_type == "Cast" for attribute in node.attribute)
    inputs = (value.type.tensor_type.elem_type for value in graph.input)
    weights = (tensor.data_type for tensor in graph.initializer)
    return any(kind in short for kinds in (casts, inputs, weights) for kind in kinds)


def _needed_by(node: NodeProto) -> Iterator[str]:
    """The tensors that a node reads, those inside its branches and loop bodies included."""
    yield from node.input
    for graph in _graphs_in(node):
        for inner in graph.node:
            yield from _needed_by(inner)
        yield from (value.name for value in graph.output)  # a branch may give an outer tensor as it is


def _graphs_in(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
