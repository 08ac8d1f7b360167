"""ONNX: the names of layers and axes, and that no layer depends on which others are captured."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.errors import LayerError
from actstore.patterns import select
from actstore.store.documents.bfloat16 import narrowed, widened
from tests.frameworks.onnx_networks import FLOAT, convnet, model_of, node, onnx, value


def rows_of(model, inputs=None):
    return {layer.name: layer for layer in adapt(model).layers(inputs)}


def chain(*names, metadata=None):
    """Nodes that follow one another, with these names: the layer that each of them is."""
    nodes = [node("Neg", [f"t{index}"], [f"t{index + 1}"], name=name) for index, name in enumerate(names)]
    for one, scopes in zip(nodes, metadata or (), strict=False):
        one.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    model = model_of(nodes, [value("t0", "rows", 2)], [value(f"t{len(names)}", "rows", 2)])
    return [layer.name for layer in adapt(model).layers(None) if not layer.explicit]


# Names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["/block/0/relu/Relu", "/Neg"], ["block.0.relu", "Neg"]),
        (["/fc/MatMul", "/fc/Add"], ["fc.MatMul", "fc"]),
        (["/a/b/Neg", "/a/Neg"], ["a.b", "a"]),
        (["/a/Neg", "/a/b/Neg"], ["a.Neg", "a.b"]),
        (["/a/Neg", "/b/Neg", "/a/Neg_1"], ["a.Neg", "b", "a.Neg_1"]),
        (["/blocks/blocks.0/Neg", "/blocks/blocks.1/Neg"], ["blocks.0", "blocks.1"]),
        (["", "", "x.y"], ["t1", "t2", "x.y"]),
        (["a", "/a/Neg"], ["a", "a.Neg"]),
        (["t2", "u"], ["t1", "u"]),
        (["a/b", "a.b"], ["a", "t2"]),
    ],
)
def test_layers_are_called_by_the_scopes_of_their_nodes(names, expected):
    assert chain(*names) == expected


def test_scopes_of_torchs_new_exporter_are_in_its_metadata():
    scopes = ["['', 'block', 'block.fc', 'linear']", "['', 'block', 'add']", "['', 'neg']", "damaged("]
    found = chain("node_linear", "node_add", "node_neg", "last", metadata=scopes)
    assert found == ["block.fc", "block", "node_neg", "last"]


def test_every_tensor_has_its_own_name_too_and_the_only_output_is_output(captured, images):
    found = captured(convnet(), images, "block.conv", "/block/conv/Conv_output_0", "output", "logits", "fc")
    assert list(found) == ["block.conv", "/block/conv/Conv_output_0", "fc", "logits", "output"]
    np.testing.assert_array_equal(found["block.conv"].array, found["/block/conv/Conv_output_0"].array)
    np.testing.assert_array_equal(found["output"].array, found["fc"].array)


def test_patterns_pick_each_tensor_once(captured, images):
    found = captured(convnet(), images, "block.*", "**")
    assert list(found) == ["block.conv", "block.bn", "block.relu", "pool", "Flatten", "fc.MatMul", "fc"]


def test_what_is_computed_from_weights_and_shapes_alone_is_no_layer():
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["zeros"]),
        node("Add", ["zeros", "one"], ["ones"]),
        node("Add", ["x", "ones"], ["y"]),
    ]
    model = model_of(nodes, [value("x", "rows", 2)], [value("y", "rows", 2)], one=np.ones(2, np.float32))
    assert list(rows_of(model, np.zeros((2, 2), np.float32))) == ["input", "y", "output"]


def test_a_first_axis_that_is_not_the_batch_is_told(images):
    nodes = [node("Transpose", ["x"], ["turned"], perm=[1, 0]), node("ReduceSum", ["x"], ["sum"], keepdims=0)]
    model = model_of(nodes, [value("x", "rows", 2)], [value("turned", 2, "rows"), value("sum")])
    described = adapt(model).layers(np.zeros((8, 2), np.float32))
    turned = r"no row per example: it is \(2, 2\) for 2 rows and \(2, 3\) for 3, the rows along axis 1"
    for name, note in (("turned", turned), ("sum", "it is a single number, and no row per example")):
        with pytest.raises(LayerError, match=rf"{name}' cannot be stored: {note}"):
            select([name], described)


def test_what_no_store_holds_is_told():
    model = model_of(
        [node("SequenceConstruct", ["x"], ["list"]), node("SequenceAt", ["list", "zero"], ["y"])],
        [value("x", "rows", 2)],
        [value("y", "rows", 2)],
        zero=np.array(0),
    )
    with pytest.raises(
        LayerError, match=r"'list' cannot be stored: it is a seq\(tensor\(float\)\), which no store"
    ):
        select(["list"], adapt(model).layers(np.zeros((2, 2), np.float32)))


def cast_model(kind):
    nodes = [node("Cast", ["x"], ["cast"], to=kind), node("Cast", ["cast"], ["y"], to=FLOAT)]
    return model_of(nodes, [value("x", "rows", 2)], [value("y", "rows", 2)], opset=21)


@pytest.mark.parametrize(
    ("kind", "name"), [("FLOAT8E4M3FN", "float8e4m3fn"), ("INT4", "int4"), ("STRING", "string")]
)
def test_dtypes_that_no_store_holds_are_told(captured, kind, name):
    model = cast_model(onnx.TensorProto.DataType.Value(kind))
    x = np.array([[1, 2], [3, 4]], np.float32)
    with pytest.raises(
        LayerError, match=rf"'cast' cannot be stored: it is a tensor\({name}\), which no store holds"
    ):
        select(["cast"], adapt(model).layers(x))
    np.testing.assert_array_equal(captured(model, x, "y")["y"].array, x)


def test_bfloat16_keeps_its_bits(captured):
    x = np.array([[1, 1 / 3], [-3e38, 4]], np.float32)
    found = captured(cast_model(onnx.TensorProto.BFLOAT16), x)
    assert (found["cast"].dtype, found["cast"].array.dtype) == ("bfloat16", np.uint16)
    np.testing.assert_array_equal(found["cast"].array, narrowed(x))
    np.testing.assert_array_equal(found["y"].array, widened(narrowed(x)))


def test_a_batch_size_inside_the_graph_that_no_input_declares(captured):
    model = model_of(
        [node("Reshape", ["x", "shape"], ["y"])],
        [value("x", "rows", 4)],
        [value("y", "rows", 2, 2)],
        shape=np.array([1, 2, 2]),
    )
    assert captured(model, np.ones((1, 4), np.float32), "y")["y"].array.shape == (1, 2, 2)


# Axes and shapes


def test_axes_are_named_by_operations_and_inherited():
    nodes = [
        node("Gather", ["table", "ids"], ["embedded"]),
        node("MatMul", ["embedded", "w"], ["product"]),
        node("Relu", ["product"], ["relu"]),
        node("Transpose", ["relu"], ["turned"], perm=[0, 2, 1]),
        node("Conv", ["turned", "kernel"], ["conv"]),
        node("Concat", ["conv", "conv"], ["joined"], axis=1),
        node("MatMul", ["relu", "turned"], ["scores"]),
    ]
    rng = np.random.default_rng(0)
    shapes = {"table": (7, 3), "w": (3, 4), "kernel": (2, 4, 2)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    ids = value("ids", "rows", 5, kind=onnx.TensorProto.INT64)
    outputs = [value("joined", "rows", 4, 4), value("scores", "rows", 5, 5)]
    model = model_of(nodes, [ids], outputs, **weights)
    expected = {
        "embedded": ("position", "feature"),
        "product": ("position", "feature"),
        "relu": ("position", "feature"),
        "turned": ("feature", "position"),
        "conv": ("channel", "position"),
        "joined": ("channel", "position"),
        "scores": ("axis0", "axis1"),
    }
    for inputs in (None, np.zeros((2, 5), np.int64)):
        assert {
            name: layer.axes for name, layer in rows_of(model, inputs).items() if name != "input"
        } == expected


def test_images_have_channels_first_and_shapes_are_known_without_a_batch(images):
    with_batch = rows_of(convnet(), images)
    assert with_batch["block.relu"].axes == ("channel", "height", "width")
    assert with_batch["block.relu"].type == "Relu"
    del with_batch["input"]
    assert rows_of(convnet()) == with_batch


def test_a_shape_that_only_a_batch_tells():
    model = model_of([node("Relu", ["x"], ["y"])], [value("x", "rows", "any")], [value("y", "rows", "any")])
    assert rows_of(model)["y"].note == "only a batch tells its shape: give --data"
    assert rows_of(model, np.zeros((1, 3), np.float32))["y"].shape == (3,)


# The same bits


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_no_layer_depends_on_which_others_are_captured(captured, images, dtype):
    """With its optimisations onnxruntime folds the normalisation into the convolution where nobody looks between."""
    model = convnet(dtype=dtype)
    whole = captured(model, images)
    for name, layer in whole.items():
        assert layer.dtype == np.dtype(dtype).name
        np.testing.assert_array_equal(captured(model, images, name)[name].array, layer.array)


def test_layers_of_a_branch_are_captured_from_outside(captured):
    branch = onnx.helper.make_graph([node("Add", ["x", "one"], ["b"])], "branch", [], [value("b", "rows", 2)])
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["positive"]),
        node("Mul", ["one", "one"], ["unused"]),
        node("If", ["positive"], ["y"], then_branch=branch, else_branch=branch),
    ]
    weights = {"one": np.ones(2, np.float32), "zero": np.zeros((), np.float32)}
    model = model_of(nodes, [value("x", "rows", 2)], [value("y", "rows", 2)], **weights)
    x = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(captured(model, x, "y")["y"].array, x + 1)


def test_old_models_list_their_weights_as_inputs(captured, images):
    model, old = convnet(), convnet()
    for tensor in old.graph.initializer:
        old.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, FLOAT, tensor.dims))
    for pattern in ("**", "block.conv"):
        found, expected = captured(old, images, pattern), captured(model, images, pattern)
        assert list(found) == list(expected)
        for name, layer in expected.items():
            np.testing.assert_array_equal(found[name].array, layer.array)
