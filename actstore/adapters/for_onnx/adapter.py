"""ONNX through onnxruntime: any tensor that is computed from the rows, in graph order; the model is never changed.

Layers are called by the scopes of their nodes (``onnx_names``); every tensor is there by its own name, too, and the
model's only output as ``output``, each by its exact name. Models are files (with their weights beside them, if they
are kept there) or an ``onnx.ModelProto``.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from actstore.activations import INPUT, OUTPUT, ModelLayer
from actstore.adapters.base import Adapter, Keep, Run, contracted
from actstore.adapters.for_onnx import file
from actstore.adapters.for_onnx import graph as onnx_graph
from actstore.adapters.for_onnx import layers as onnx_layers
from actstore.adapters.for_onnx import names as onnx_names
from actstore.adapters.for_onnx.inputs import Inputs
from actstore.adapters.for_onnx.session import Session
from actstore.errors import AdapterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from actstore.activations import Captured
    from actstore.store.format import JSON


class OnnxAdapter(Adapter):
    """Runs the part of a graph that the layers asked for need."""

    name = "onnx"
    loads: ClassVar[tuple[str, ...]] = (".onnx",)

    def __init__(self, model: Any, device: str | None = None) -> None:
        super().__init__(model, device)
        on_disk = isinstance(model, file.OnnxFile)
        self._proto = model.proto if on_disk else model
        self._folder: Path | None = model.path.parent if on_disk else None
        if not on_disk:
            file.check_in_memory(model)
        graph = self._proto.graph
        self._inputs = Inputs(onnx_graph.inputs_of(graph))
        self._computed = onnx_graph.computed_from_rows(graph)
        self._names = onnx_names.layer_names(self._computed)
        self._described: Session | None = None

    @staticmethod
    def accepts(model: object) -> bool:
        """A model that was read from a file, or one of onnx's own."""
        kind = type(model)
        return kind is file.OnnxFile or (
            kind.__name__ == "ModelProto" and kind.__module__.partition(".")[0] == "onnx"
        )

    @staticmethod
    def load(spec: str) -> object:
        """The model of ``FILE.onnx``."""
        return file.read(Path(spec))

    @property
    def fixed_rows(self) -> int | None:
        """As its inputs declare it."""
        return self._inputs.fixed_rows

    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """Every tensor as one run shows it; without inputs, as the model declares it."""
        if inputs is None:
            described = onnx_layers.declared_layers(self._proto)
        else:
            described = self._found(self._inputs.feeds(inputs))
        known = {tensor: described.get(tensor) or onnx_layers.unknown_layer(tensor) for tensor in self._names}
        shapes = {tensor: layer.shape for tensor, layer in known.items() if layer.shape is not None}
        axes = onnx_names.axis_names(self._computed, shapes, onnx_graph.constants_of(self._proto.graph))
        kinds = {tensor: computed.node.op_type for computed in self._computed for tensor in computed.tensors}
        output = self._output()
        layers: list[ModelLayer] = []
        for tensor, name in self._names.items():
            layer = replace(known[tensor], name=name, type=kinds[tensor], axes=axes.get(tensor, ()))
            others = dict.fromkeys([tensor, *([OUTPUT] if tensor == output else [])])
            layers += [layer, *(replace(layer, name=other, explicit=True) for other in others if other != name)]
        return layers

    @contextmanager
    def capturing(self, layers: Sequence[ModelLayer], keep: Keep) -> Iterator[Run]:
        """Runs of the part of the graph that ends with these layers."""
        by_name = self._tensors()
        tensors = {layer.name: by_name.get(layer.name, layer.name) for layer in layers}
        session = self._open(list(dict.fromkeys(tensors.values())))

        def run(inputs: object) -> dict[str, Captured]:
            feeds = self._inputs.feeds(inputs)
            self._inputs.check_rows(feeds)
            found = session.run(feeds)
            return {layer.name: keep(layer.name, found[tensors[layer.name]], layer.axes) for layer in layers}

        yield run

    def edges(self, layers: Sequence[str]) -> list[tuple[str, str]]:
        """As the graph says."""
        by_name = self._tensors()
        called: dict[str, str] = {}  # several names may be of one tensor: the first feeds the others
        for layer in layers:
            called.setdefault(by_name.get(layer, layer), layer)
        found = contracted(onnx_graph.edges(self._proto.graph, self._computed), [INPUT, *called])
        named = [(called.get(source, source), called.get(to, to)) for source, to in found]
        others = {layer: by_name.get(layer, layer) for layer in layers if layer not in called.values()}
        named += [(called[tensor], other) for other, tensor in others.items() if tensor in called]
        return [edge for edge in named if INPUT in layers or INPUT not in edge]

    def _tensors(self) -> dict[str, str]:
        """The tensor of each layer that is not called as its tensor is."""
        by_name = {name: tensor for tensor, name in self._names.items()}
        output = self._output()
        if output is not None:
            by_name.setdefault(OUTPUT, output)
        return by_name

    def provenance(self) -> dict[str, JSON]:
        """Hashes of the weights and of the graph, and what wrote the model."""
        proto = self._proto
        return {
            "weights": file.hash_weights(proto, self._folder),
            "graph": file.hash_graph(proto),
            "opset": {imported.domain or "ai.onnx": imported.version for imported in proto.opset_import},
            "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        }

    def load_weights(self, path: Path, key: str | None) -> None:
        """Refused: an ONNX model has its weights in it.

        Raises:
            AdapterError: always.
        """
        msg = f"an ONNX model comes with its weights, so {path.name} cannot be loaded into it: leave --weights out"
        raise AdapterError(msg)

    def _found(self, feeds: Mapping[str, np.ndarray]) -> dict[str, ModelLayer]:
        """Every layer as one run shows it."""
        self._described = self._described or self._open(list(self._names))
        return onnx_layers.found_layers(self._described, feeds)

    def _open(self, tensors: Sequence[str]) -> Session:
        return Session(onnx_graph.part_computing(self._proto, tensors), tensors, self._folder, self.device)

    def _output(self) -> str | None:
        """The tensor that is ``output``: that of a model with one output, unless a layer has that name already."""
        names = [value.name for value in self._proto.graph.output]
        return names[0] if len(names) == 1 and OUTPUT not in self._names.values() else None
