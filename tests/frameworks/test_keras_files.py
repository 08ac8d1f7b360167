"""Keras files: models as a MODEL spec, weights, what is not loaded, and Keras not being there."""

import os
import subprocess
import sys

import numpy as np
import pytest

import actstore
from actstore.adapters import adapt, extras
from actstore.errors import AdapterError
from actstore.models import load_model
from tests.frameworks.keras_networks import BACKEND, convnet, keras, layers, residual

# Keras 3.15 makes NumPy's arrays of its variables in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)


@pytest.fixture
def saved(tmp_path):
    """A model, and its file."""
    model = convnet()
    model.compile("sgd", "mse")
    model.save(tmp_path / "net.keras")
    return model, tmp_path / "net.keras"


def run_command(folder, *arguments, **environment):
    command = [sys.executable, "-c", "from cli.main import actstore; actstore()", *arguments]
    every = {**os.environ, "KERAS_BACKEND": BACKEND, **environment}
    return subprocess.run(command, cwd=folder, env=every, capture_output=True, text=True, check=False)


def test_a_file_is_the_model_it_was_saved_from(captured, pictures, saved):
    model, path = saved
    read = load_model(str(path))
    found, expected = captured(read, pictures), captured(model, pictures)
    assert list(found) == list(expected)
    for name, layer in expected.items():
        np.testing.assert_array_equal(found[name].array, layer.array)
    assert adapt(read).provenance() == adapt(model).provenance()


def test_a_file_is_dumped_by_command(pictures, saved):
    _, path = saved
    np.save(path.parent / "pictures.npy", pictures)
    arguments = "dump net.keras --data pictures.npy --layers relu --layers inner.* --pool mean -o out.h5"
    done = run_command(path.parent, *arguments.split())
    assert done.returncode == 0, done.stderr
    with actstore.open(path.parent / "out.h5") as store:
        assert list(store.layers) == ["relu", "relu#1", "inner.norm", "inner.drop"]
        assert store.layers["relu"].shape == (8, 4), "pooled over height and width"
        assert store.provenance["model"]["backend"] == BACKEND
        assert store.provenance["versions"]["keras"] == keras.__version__


def test_the_same_model_made_again_is_the_same_and_other_weights_are_not():
    first, again, other = convnet(), convnet(), convnet(seed=1)
    assert adapt(first).provenance() == adapt(again).provenance() != adapt(other).provenance()
    assert adapt(first).provenance()["backend"] == BACKEND


def test_a_lambda_layer_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "net.keras")
    with pytest.raises(
        AdapterError, match=r"net.keras cannot be loaded: it has a Lambda layer, whose code could"
    ):
        load_model(f"{tmp_path}/net.keras")


def test_a_class_of_the_users_own_is_named(tmp_path):
    residual().save(tmp_path / "net.keras")
    with pytest.raises(
        AdapterError, match="cannot be loaded: it needs the class 'Residual'; load it by a function"
    ):
        load_model(f"{tmp_path}/net.keras")


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_damaged_file(saved, part):
    _, path = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(
        AdapterError, match=r"net.keras is not what model.save writes \(a zip file\), or it is damaged"
    ):
        load_model(str(path))


def test_a_file_that_is_not_there_and_arguments_for_one(tmp_path, saved):
    with pytest.raises(AdapterError, match=r"there is no file .*none\.keras"):
        load_model(f"{tmp_path}/none.keras")
    with pytest.raises(
        AdapterError, match="is a whole model, no function that makes one; it takes no --arg width"
    ):
        load_model(str(saved[1]), {"width": "3"})


def test_weights_are_loaded(tmp_path):
    trained, fresh = convnet(seed=1), convnet()
    trained.save_weights(tmp_path / "trained.weights.h5")
    adapt(fresh).load_weights(tmp_path / "trained.weights.h5", None)
    assert adapt(fresh).provenance() == adapt(trained).provenance()


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("other.weights.h5", None, "the weights in .*other.weights.h5 are not those of Functional: "),
        ("damaged.weights.h5", None, r"damaged\.weights\.h5 is no HDF5 file, or a damaged one: "),
        (
            "model.safetensors",
            None,
            "are a FILE.weights.h5, as model.save_weights writes it, and not model.safetensors",
        ),
        ("other.weights.h5", "key", "and not other.weights.h5:key"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, name, key, message):
    residual().save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "damaged.weights.h5").write_bytes(b"damaged")
    with pytest.raises(AdapterError, match=message) as caught:
        adapt(convnet()).load_weights(tmp_path / name, key)
    assert "\n" not in str(caught.value)


def test_keras_not_being_installed_is_told_with_its_extra(saved, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(extras, "import_module", missing)
    message = r"net.keras needs the package keras, which is not installed: pip install 'actstore\[keras\]'"
    with pytest.raises(AdapterError, match=message):
        load_model(str(saved[1]))


def test_a_backend_that_is_not_installed_is_told(saved, monkeypatch):
    def missing(_name):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(
        AdapterError, match="Keras, whose backend tensorflow is not installed: set KERAS_BACKEND to"
    ):
        load_model(str(saved[1]))
