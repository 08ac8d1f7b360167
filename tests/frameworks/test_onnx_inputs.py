"""ONNX models that take more than rows: open axes as exporters write them, single numbers, states."""

import numpy as np
import pytest

import actstore
from actstore.adapters.for_onnx.inputs import Inputs
from actstore.errors import AdapterError
from tests.frameworks.onnx_networks import onnx

helper, FLOAT, INT64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
RNG = np.random.default_rng(0)
X = RNG.random((10, 8)).astype(np.float32)
W = RNG.random((8, 4)).astype(np.float32)
MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(inputs, nodes, outputs, **weights):
    initialisers = [onnx.numpy_helper.from_array(array, name) for name, array in {"w": W, **weights}.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batches(**others):
    """Batches of four, four and two rows; others are given for each as they are, or by a function of the rows."""
    for rows in (X[:4], X[4:8], X[8:]):
        yield {"x": rows} | {
            name: other(len(rows)) if callable(other) else other for name, other in others.items()
        }


def dumped(tmp_path, proto, data, **options):
    with actstore.dump(proto, data, tmp_path / "s.acts", "**", **options) as store:
        return {name: layer[:] for name, layer in store.layers.items()}


@pytest.mark.parametrize("length", [-1, 0, "n", None])
def test_an_open_axis_however_it_is_written(tmp_path, length):
    proto = model([value("x", [length, 8])], [MATMUL], [value("y", [length, 4])])
    assert Inputs(proto.graph.input).fixed_rows is None
    found = dumped(tmp_path, proto, X, batch_size=4)
    np.testing.assert_allclose(found["y"], X @ W, rtol=1e-5)


SCALED = [MATMUL, helper.make_node("Mul", ["y", "s"], ["z"])]


@pytest.mark.parametrize(
    "given", [np.float32(2), np.array(2, np.float32), 2.0, 2], ids=["scalar", "array", "float", "int"]
)
@pytest.mark.parametrize("first", [True, False])
def test_a_single_number_is_passed_on(tmp_path, given, first):
    inputs = [value("s", []), value("x", ["n", 8])]
    proto = model(inputs if first else inputs[::-1], SCALED, [value("z", ["n", 4])])
    data = [({"s": given} | batch if first else batch | {"s": given}) for batch in batches()]
    found = dumped(tmp_path, proto, data)
    np.testing.assert_allclose(found["z"], 2 * (X @ W), rtol=1e-5)


def test_an_input_of_another_length_that_is_not_the_rows(tmp_path):
    """A sampling rate, (1,): the rows are where an axis is open."""
    nodes = [helper.make_node("Cast", ["rate"], ["s"], to=FLOAT), *SCALED]
    proto = model([value("rate", [1], INT64), value("x", ["n", 8])], nodes, [value("z", ["n", 4])])
    assert Inputs(proto.graph.input).fixed_rows is None
    found = dumped(tmp_path, proto, list(batches(rate=np.array([3]))))
    np.testing.assert_allclose(found["z"], 3 * (X @ W), rtol=1e-5)


STATE = [
    MATMUL,
    helper.make_node("ReduceSum", ["state", "first"], ["sum"], keepdims=0),
    helper.make_node("Add", ["y", "sum"], ["z"]),
]


def with_state():
    inputs = [value("x", ["n", 8]), value("state", [2, "n", 4])]
    return model(inputs, STATE, [value("z", ["n", 4])], first=np.array([0]))


def test_a_state_whose_rows_lie_along_its_second_axis(tmp_path):
    begin = RNG.random((2, 1, 4)).astype(np.float32)
    found = dumped(tmp_path, with_state(), list(batches(state=lambda rows: np.repeat(begin, rows, 1))))
    np.testing.assert_allclose(found["z"], X @ W + begin.sum(0), rtol=1e-5)


def test_a_state_that_differs_from_row_to_row_is_for_whole_batches(tmp_path):
    states = {rows: RNG.random((2, rows, 4)).astype(np.float32) for rows in (2, 4)}
    data = list(batches(state=lambda rows: states[rows]))
    found = dumped(tmp_path, with_state(), data)
    expected = np.concatenate([batch["x"] @ W + batch["state"].sum(0) for batch in data])
    np.testing.assert_allclose(found["z"], expected, rtol=1e-5)
    with pytest.raises(
        AdapterError, match="input 'state' has its rows along axis 1, 4 of them for a batch of 3"
    ):
        Inputs(with_state().graph.input).feeds({"x": X[:3], "state": states[4]})


def test_a_batch_size_is_fixed_only_where_no_axis_is_open():
    fixed = Inputs([value("x", [4, 8]), value("s", [])])
    assert fixed.fixed_rows == 4
    assert Inputs([value("s", []), value("rate", [1]), value("x", ["n", 8])]).fixed_rows is None
    assert Inputs([value("s", [])]).fixed_rows is None
