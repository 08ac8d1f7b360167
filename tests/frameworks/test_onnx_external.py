"""ONNX: whatever a model names as a file of weights, and wherever in it: only a file of its own beside it is read."""

import os

import numpy as np
import pytest

from actstore.adapters.for_onnx import external
from actstore.adapters.for_onnx.file import check_in_memory, read
from actstore.errors import AdapterError
from tests.frameworks.onnx_networks import convnet, onnx


@pytest.fixture
def saved(tmp_path):
    """A model in a folder of its own, whose weights lie in a file beside it."""
    path = tmp_path / "model" / "net.onnx"
    path.parent.mkdir()
    onnx.save(convnet(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def outside(path):
    """A secret of the user's, somewhere else."""
    secret = path.parent.parent / "secret"
    secret.write_bytes(bytes(10**6))
    return secret


def linked(path):
    os.replace(path.parent / "net.data", path.parent.parent / "blob")
    os.symlink("../blob", path.parent / "net.data")


def linked_within(path):
    os.replace(path.parent / "net.data", path.parent / "blob")
    os.symlink("blob", path.parent / "net.data")


def hard_link(path):
    (path.parent / "net.data").unlink()
    os.link(outside(path), path.parent / "net.data")


def linked_folder(path):
    outside(path)
    os.symlink("..", path.parent / "weights")
    rename(path, "weights/secret")


def rename(path, *locations):
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        del tensor.external_data[:]
        for location in locations:
            tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())


CASES = {
    "a link": (linked, "is a link: it could lead to any file"),
    "a link within": (linked_within, "is a link: it could lead to any file"),
    "a hard link": (hard_link, "is a second name of another file"),
    "a linked folder": (linked_folder, "is a link: it could lead to any file"),
    "above": (lambda path: rename(path, "../secret"), "outside its own folder"),
    "above by backslash": (lambda path: rename(path, "a\\..\\..\\secret"), "outside its own folder"),
    "absolute": (lambda path: rename(path, "/etc/hostname"), "outside its own folder"),
    "two files": (lambda path: rename(path, "net.data", "../secret"), "name 2 files to be read from; expected one"),
    "no file": (rename, "name 0 files to be read from; expected one"),
    "an empty name": (lambda path: rename(path, ""), "name 1 files to be read from"),
    "a folder": (lambda path: rename(path, "."), "is not beside it"),
    "a pipe": (lambda path: (os.mkfifo(path.parent / "pipe"), rename(path, "pipe")), "is not beside it"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_only_a_file_of_its_own_beside_the_model_is_read(saved, case):
    make, message = CASES[case]
    make(saved)
    with pytest.raises(AdapterError, match=message) as caught:
        read(saved)
    assert "\n" not in str(caught.value)


def external_tensor(name="secret"):
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    return tensor


def in_a_constant(model):
    node = onnx.helper.make_node("Constant", [], ["c"], value=external_tensor())
    model.graph.node.insert(0, node)


def branch():
    graph = onnx.helper.make_graph([], "branch", [], [])
    graph.initializer.append(external_tensor())
    return graph


def in_a_branch(model):
    node = onnx.helper.make_node("If", ["cond"], ["d"], then_branch=branch(), else_branch=branch())
    model.graph.node.append(node)


def in_a_branch_of_a_branch(model):
    inner = branch()
    outer = onnx.helper.make_graph([onnx.helper.make_node("Loop", [], [], body=inner)], "outer", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["cond"], ["d"], then_branch=outer, else_branch=outer))


def in_a_function(model):
    node = onnx.helper.make_node("Constant", [], ["c"], value=external_tensor())
    opsets = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("own", "f", [], ["c"], [node], opsets))


def in_training(model):
    training = model.training_info.add()
    training.initialization.initializer.append(external_tensor())


def in_a_sparse_attribute(model):
    node = onnx.helper.make_node("Constant", [], ["c"])
    attribute = node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.values.CopyFrom(external_tensor())
    model.graph.node.append(node)


HIDDEN = (
    in_a_constant,
    in_a_branch,
    in_a_branch_of_a_branch,
    in_a_function,
    in_training,
    in_a_sparse_attribute,
)


@pytest.mark.parametrize("hide", HIDDEN)
@pytest.mark.parametrize("door", ["file", "memory"])
def test_a_file_named_anywhere_but_in_an_initialiser_is_refused(tmp_path, hide, door):
    model = convnet()
    hide(model)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    message = (
        r"'secret' in a .* of the model lie in a file \('../secret'\); only an initialiser may be kept in one"
    )
    with pytest.raises(AdapterError, match=message):
        read(path) if door == "file" else check_in_memory(model)


def test_sparse_initialisers_are_initialisers(tmp_path):
    model = convnet()
    sparse = model.graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(external_tensor("v"))
    assert external.external_files(model) == {"../secret"}
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(AdapterError, match="outside its own folder"):
        read(tmp_path / "net.onnx")


def test_a_sound_model_is_read(saved):
    assert external.external_files(read(saved).proto) == {"net.data"}
    copy = saved.with_name("link.onnx")
    os.symlink(saved.name, copy)  # the model itself may be a link: its folder is the link's
    assert np.array_equal(len(read(copy).proto.graph.node), len(convnet().graph.node))
