"""The folder of adapters is the registry, and looking into it loads no framework."""

import subprocess
import sys
from pathlib import Path

import pytest

from actstore.adapters import adapt, adapters, loader
from actstore.errors import AdapterError

HOUSE = Path(__file__).resolve().parents[2]


def test_every_file_or_package_of_the_folder_has_its_adapters():
    found = sorted(path.stem for path in (HOUSE / "actstore" / "adapters").glob("for_*"))
    assert sorted({adapter.__module__.split(".")[2] for adapter in adapters()}) == found
    assert len({adapter.name for adapter in adapters()}) == len(adapters())


def test_functions_come_last_since_models_may_be_callable():
    assert adapters()[-1].name == "function"


@pytest.mark.parametrize("model", [None, 3, "net.py:make", [1, 2], dict])
def test_what_no_adapter_knows_is_refused(model):
    with pytest.raises(
        AdapterError, match=r"is not a model that an adapter knows .*, nor a function of a batch"
    ):
        adapt(model)


@pytest.mark.parametrize(("option", "asked"), [("autocast", {"autocast": "bf16"}), ("trace", {"trace": True})])
def test_what_only_some_adapters_can_is_refused_by_others(option, asked):
    message = f"only torch models take the option {option}, and this is a function model; leave it out"
    with pytest.raises(AdapterError, match=message):
        adapt(lambda batch: {"a": batch}, **asked)


def test_choosing_and_running_an_adapter_loads_no_framework():
    code = (
        "import sys, numpy, actstore.dumping.dump, actstore.models, actstore.dumping.recording\n"
        "from actstore.adapters import adapt, adapters\n"
        "adapt(lambda batch: {'a': batch}).layers(numpy.zeros((2, 3)))\n"
        "assert [adapter for adapter in adapters() if adapter.accepts(3)] == []\n"
        "print({'torch', 'sklearn', 'jax', 'tensorflow', 'keras', 'onnx', 'onnxruntime'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HOUSE)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("spec", "name"), [("a/net.onnx", "onnx"), ("net.keras", "keras"), ("net.py:make", None), ("onnx", None)]
)
def test_a_model_spec_is_for_the_adapter_that_loads_its_ending(spec, name):
    found = loader(spec)
    assert (found and found.name) == name


def test_a_model_spec_is_for_the_adapter_that_loads_its_beginning(monkeypatch):
    last = next(
        adapter for adapter in adapters() if adapter.name == "scikit-learn"
    )  # of which there is no subclass
    monkeypatch.setattr(last, "loads", ("zoo:",))
    assert loader("zoo:bert.onnx@main") is last
    assert loader("a/zoo:bert") is None


def test_keras_is_asked_before_torch_since_its_layers_may_be_torch_modules():
    names = [adapter.name for adapter in adapters()]
    assert names.index("keras") < names.index("torch")
