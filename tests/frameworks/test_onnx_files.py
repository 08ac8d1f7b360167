"""ONNX files: as a MODEL spec, with their weights beside them, damaged, and their provenance."""

import os
import subprocess
import sys

import numpy as np
import pytest

import actstore
from actstore.adapters import adapt, extras
from actstore.adapters.for_onnx.session import Session
from actstore.errors import AdapterError
from actstore.models import load_model
from tests.frameworks.onnx_networks import convnet, onnx


@pytest.fixture
def saved(tmp_path):
    """A model whose weights lie in a file beside it."""
    path = tmp_path / "net.onnx"
    onnx.save(convnet(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def test_a_file_with_its_weights_beside_it_is_as_the_model_in_memory(captured, images, saved):
    before = saved.read_bytes(), (saved.parent / "net.data").read_bytes()
    from_file, in_memory = load_model(str(saved)), convnet()
    found, expected = captured(from_file, images), captured(in_memory, images)
    assert list(found) == list(expected)
    for name, layer in expected.items():
        np.testing.assert_array_equal(found[name].array, layer.array)
    assert adapt(from_file).provenance() == adapt(in_memory).provenance()
    assert (saved.read_bytes(), (saved.parent / "net.data").read_bytes()) == before


def test_provenance_tells_weights_from_the_graph():
    first, weights, graph = convnet(), convnet(), convnet()
    weights.graph.initializer[0].raw_data = bytes(len(first.graph.initializer[0].raw_data))
    graph.graph.node[0].attribute[0].ints[0] = 2
    found = [adapt(model).provenance() for model in (first, weights, graph)]
    assert found[0]["opset"] == {"ai.onnx": 17}
    assert found[0]["producer"] == "by hand"
    assert found[0]["weights"] == found[2]["weights"] != found[1]["weights"]
    assert found[0]["graph"] == found[1]["graph"] != found[2]["graph"]


def test_a_file_is_dumped_by_command(saved, images):
    np.save(saved.parent / "images.npy", images)
    program = "from cli.main import actstore; actstore()"
    arguments = "dump net.onnx --data images.npy --layers block.* --layers output -o out.h5"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments.split()],
        cwd=saved.parent,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "3"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    with actstore.open(saved.parent / "out.h5") as store:
        assert list(store.layers) == ["block.conv", "block.bn", "block.relu", "output"]
        assert store.provenance["model"]["producer"] == "by hand"
        assert "onnxruntime" in store.provenance["versions"]
        assert store.provenance["versions"]["threads"]["onnxruntime"] == 3


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("", 0)])
def test_a_session_has_the_threads_that_were_asked_for(saved, monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    model = onnx.load(saved, load_external_data=False)
    session = Session(model, [model.graph.output[0].name], saved.parent, None)
    assert session._session.get_session_options().intra_op_num_threads == threads


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file .*net.onnx"),
        (b"not a model", "net.onnx is not an ONNX model, or it is damaged: "),
        (b"", "net.onnx is not an ONNX model, or an empty one: it has no nodes"),
    ],
)
def test_a_file_that_is_no_model(tmp_path, content, message):
    if content is not None:
        (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(AdapterError, match=message) as caught:
        load_model(f"{tmp_path}/net.onnx")
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_beside_the_file(saved):
    (saved.parent / "net.data").unlink()
    with pytest.raises(
        AdapterError, match=r"keeps weights in 'net.data', which is not beside it: copy that file to"
    ):
        load_model(str(saved))


@pytest.mark.parametrize("location", ["../net.data", "/tmp/net.data"])
def test_weights_outside_the_folder_are_not_read(saved, location):
    model = onnx.load(saved, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = location
    saved.write_bytes(model.SerializeToString())
    with pytest.raises(
        AdapterError, match=f"keeps weights in '{location}', outside its own folder: such a file"
    ):
        load_model(str(saved))


def test_weights_that_were_cut_short(captured, images, saved):
    (saved.parent / "net.data").write_bytes(b"short")
    with pytest.raises(AdapterError, match="the weights 'conv_w' cannot be read: "):
        adapt(load_model(str(saved))).provenance()
    with pytest.raises(AdapterError, match=r"onnxruntime .* cannot run the model: "):
        captured(load_model(str(saved)), images, "fc")


def test_a_model_in_memory_without_its_weights(saved):
    model = onnx.load(saved, load_external_data=False)
    with pytest.raises(
        AdapterError, match=r"weights are in 'net.data', which a ModelProto does not find: read it by"
    ):
        adapt(model)


def test_a_model_that_onnxruntime_does_not_know(captured, images):
    model = convnet()
    model.graph.node[2].op_type = "NoSuchOperation"
    with pytest.raises(AdapterError, match=r"onnxruntime .* cannot run the model: .*NoSuchOperation") as caught:
        captured(model, images, "fc")
    assert "\n" not in str(caught.value)


def test_what_makes_models_or_fills_them_is_refused(saved):
    with pytest.raises(
        AdapterError, match="is a whole model, no function that makes one; it takes no --arg width"
    ):
        load_model(str(saved), {"width": "3"})
    with pytest.raises(AdapterError, match=r"net\.data cannot be loaded into it: leave --weights out"):
        load_model(str(saved), weights=str(saved.parent / "net.data"))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_package_that_is_not_installed_is_told_with_its_extra(saved, monkeypatch, package):
    def missing(name):
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(extras, "import_module", missing)
    message = rf"net.onnx needs the package {package}, which is not installed: pip install 'actstore\[onnx\]'"
    with pytest.raises(AdapterError, match=message):
        load_model(str(saved))
