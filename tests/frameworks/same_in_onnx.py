"""The networks of test_same_network.py in ONNX, node by node: channels first, with the node names that torch gives."""

import numpy as np
from frameworks.same_network import EPSILON, HEADS, PIXELS, POSITIONS, WIDTH


def convnet(weights):
    from tests.frameworks.onnx_networks import model_of, node, value

    nodes = [
        node("Conv", ["x", "conv1", "conv1.bias"], ["c1"], name="/conv1/Conv", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], name="/relu1/Relu"),
        node("MaxPool", ["r1"], ["p"], name="/pool/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "conv2", "conv2.bias"], ["c2"], name="/conv2/Conv", pads=[1] * 4),
        node("Relu", ["c2"], ["r2"], name="/relu2/Relu"),
        node("Flatten", ["r2"], ["f"], name="/Flatten"),
        node("Gemm", ["f", "dense", "dense.bias"], ["d"], name="/dense/Gemm"),
    ]
    arrays = {
        **weights,
        "conv1": weights["conv1"].transpose(3, 2, 0, 1),
        "conv2": weights["conv2"].transpose(3, 2, 0, 1),
        # Flattened channels first: the inputs of the dense layer are in another order.
        "dense": weights["dense"].transpose(2, 0, 1, 3).reshape(-1, 5),
    }
    return model_of(nodes, [value("x", "rows", 3, PIXELS, PIXELS)], [value("d", "rows", 5)], **copied(arrays))


def transformer(weights):
    from tests.frameworks.onnx_networks import model_of, node, onnx, value

    def norm(given, name, scope):
        weight = [name, f"{name}.bias"]
        return node("LayerNormalization", [given, *weight], [name + "_"], name=f"/{scope}/LN", epsilon=EPSILON)

    def dense(given, name, scope):
        return [
            node("MatMul", [given, name], [f"{name}_product"], name=f"/{scope}/MatMul"),
            node("Add", [f"{name}_product", f"{name}.bias"], [f"{name}_"], name=f"/{scope}/Add"),
        ]

    nodes = [
        node("Gather", ["embed", "x"], ["e"], name="/embed/Gather"),
        norm("e", "norm1", "block/norm1"),
        *attention(node, dense),
        node("Add", ["e", "out_"], ["middle"], name="/block/Add"),
        norm("middle", "norm2", "block/norm2"),
        *dense("norm2_", "up", "block/up"),
        node("Gelu", ["up_"], ["g"], name="/block/gelu/Gelu"),
        *dense("g", "down", "block/down"),
        node("Add", ["middle", "down_"], ["b"], name="/block/Add_1"),
        norm("b", "norm", "norm"),
    ]
    parts = ("query", "key", "value")
    arrays = {
        **weights,
        **{part: weights[part].reshape(WIDTH, -1) for part in parts},
        **{f"{part}.bias": weights[f"{part}.bias"].reshape(-1) for part in parts},
        "out": weights["out"].reshape(-1, WIDTH),
        "heads": np.array([0, 0, HEADS, WIDTH // HEADS]),
        "joined": np.array([0, 0, WIDTH]),
        "root": np.array(np.sqrt(WIDTH / HEADS), np.float32),
    }
    words = value("x", "rows", POSITIONS, kind=onnx.TensorProto.INT64)
    outputs = [value("norm_", "rows", POSITIONS, WIDTH)]
    return model_of(nodes, [words], outputs, opset=20, **copied(arrays))


def attention(node, dense):
    """The nodes from ``norm1_`` to ``out_``; the heads stand before the positions meanwhile."""
    scope = "block/attention"
    nodes = []
    for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        nodes += [
            *dense("norm1_", part, f"{scope}/{part}"),
            node("Reshape", [f"{part}_", "heads"], [f"{part}_heads"], name=f"/{scope}/{part}/Reshape"),
            node("Transpose", [f"{part}_heads"], [f"{part}_turned"], name=f"/{scope}/{part}/T", perm=order),
        ]
    return [
        *nodes,
        node("MatMul", ["query_turned", "key_turned"], ["products"], name=f"/{scope}/MatMul"),
        node("Div", ["products", "root"], ["scores"], name=f"/{scope}/Div"),
        node("Softmax", ["scores"], ["shares"], name=f"/{scope}/Softmax"),
        node("MatMul", ["shares", "value_turned"], ["mixed"], name=f"/{scope}/MatMul_1"),
        node("Transpose", ["mixed"], ["turned"], name=f"/{scope}/Transpose", perm=[0, 2, 1, 3]),
        node("Reshape", ["turned", "joined"], ["flat"], name=f"/{scope}/Reshape"),
        node("MatMul", ["flat", "out"], ["out_product"], name=f"/{scope}/MatMul_2"),
        node("Add", ["out_product", "out.bias"], ["out_"], name=f"/{scope}/Add"),
    ]


def copied(arrays):
    """In the C order that files of weights have."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
