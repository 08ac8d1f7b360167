"""Small ONNX models for tests, written node by node."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed: make test-frameworks")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: make test-frameworks")

FLOAT = onnx.TensorProto.FLOAT
node = onnx.helper.make_node


def value(name, *shape, kind=FLOAT):
    """An input or an output: ``value("x", "rows", 6)``."""
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs, outputs, opset=17, **weights):
    """A model; its weights by name."""
    initialisers = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(nodes, "test", inputs, outputs, initialisers)
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=opsets, producer_name="by hand")
    onnx.checker.check_model(model)
    return model


def convnet(rows="rows", dtype=np.float32):
    """Convolution, normalisation, ReLU, pool and a linear layer, with the node names that torch gives."""
    rng = np.random.default_rng(0)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weights = {
        "conv_w": rng.normal(size=(4, 1, 3, 3)),
        "scale": rng.normal(size=4),
        "shift": rng.normal(size=4),
        "mean": rng.normal(size=4),
        "variance": rng.uniform(0.5, 2, size=4),
        "fc_w": rng.normal(size=(4, 5)),
        "fc_b": rng.normal(size=5),
    }
    nodes = [
        node("Conv", ["x", "conv_w"], ["/block/conv/Conv_output_0"], name="/block/conv/Conv", pads=[1] * 4),
        node(
            "BatchNormalization",
            ["/block/conv/Conv_output_0", "scale", "shift", "mean", "variance"],
            ["/block/bn/BatchNormalization_output_0"],
            name="/block/bn/BatchNormalization",
        ),
        node("Relu", ["/block/bn/BatchNormalization_output_0"], ["relu"], name="/block/relu/Relu"),
        node("GlobalAveragePool", ["relu"], ["pool"], name="/pool/GlobalAveragePool"),
        node("Flatten", ["pool"], ["flat"], name="/Flatten"),
        node("MatMul", ["flat", "fc_w"], ["product"], name="/fc/MatMul"),
        node("Add", ["product", "fc_b"], ["logits"], name="/fc/Add"),
    ]
    weights = {name: array.astype(dtype) for name, array in weights.items()}
    return model_of(
        nodes, [value("x", rows, 1, 8, 8, kind=kind)], [value("logits", rows, 5, kind=kind)], **weights
    )
