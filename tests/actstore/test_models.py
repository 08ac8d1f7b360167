"""MODEL specs: what is a model, a maker, a function of a batch; the user's own errors in one line."""

import sys
from functools import partial

import numpy as np
import pytest

from actstore.errors import AdapterError
from actstore.models import load_model

FILE = """
import helper_of_the_user
from sklearn.neural_network import MLPClassifier as Network

model = Network((3,))

def make(width=4, activation="relu", **more):
    return Network((width,), activation=activation, **more)

def sized(width, *, depth):
    return Network((width,) * depth)

def of_a_batch(batch, power=1):
    return {"power": batch ** power}

def without_a_batch():
    return of_a_batch

def nothing():
    pass

def fails(width=3):
    raise ValueError("a message\\n  in two lines")

def lists_wrongly():
    import numpy
    return numpy.zeros(3).reshape(7)

number = 3
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "helper_of_the_user.py").write_text("loaded = True\n")
    (tmp_path / "net.py").write_text(FILE)
    return f"{tmp_path}/net.py"


def test_a_model_is_itself(net):
    assert load_model(f"{net}:model").hidden_layer_sizes == (3,)


def test_a_maker_is_called_with_its_arguments_as_literals_or_text(net):
    assert load_model(f"{net}:make").hidden_layer_sizes == (4,)
    made = load_model(f"{net}:make", {"width": "7", "activation": "tanh", "alpha": "1e-3"})
    assert (made.hidden_layer_sizes, made.activation, made.alpha) == ((7,), "tanh", 1e-3)
    assert load_model(f"{net}:sized", {"width": "3", "depth": "2"}).hidden_layer_sizes == (3, 3)


def test_a_class_makes_a_model_too(net):
    assert load_model(f"{net}:Network", {"hidden_layer_sizes": "(5, 6)"}).hidden_layer_sizes == (5, 6)


def test_a_function_of_a_batch_is_the_model_with_its_arguments_bound(net):
    assert load_model(f"{net}:of_a_batch")(np.array([2]))["power"] == 2
    bound = load_model(f"{net}:of_a_batch", {"power": "3"})
    assert isinstance(bound, partial)
    assert bound(np.array([2]))["power"] == 8
    assert load_model(f"{net}:without_a_batch")(np.array([2]))["power"] == 2


def test_a_module_of_a_package():
    assert load_model("sklearn.neural_network:MLPClassifier").hidden_layer_sizes == (100,)


def test_the_users_folder_comes_last_on_the_import_path(net, tmp_path):
    load_model(f"{net}:model")
    assert sys.path.index(str(tmp_path)) > 0
    assert sys.path[-1] == str(tmp_path)
    sys.path.remove(str(tmp_path))


def test_a_file_named_as_a_package_does_not_stand_in_for_it(tmp_path):
    (tmp_path / "json.py").write_text("import json\nmodel = json.loads\n")
    assert load_model(f"{tmp_path}/json.py:model")("3") == 3


def test_a_file_may_define_dataclasses_and_pickle_its_classes(tmp_path):
    (tmp_path / "net.py").write_text(
        "import dataclasses, pickle\n"
        "@dataclasses.dataclass\nclass Size:\n    width: 'int' = 3\n"
        "size = pickle.loads(pickle.dumps(Size()))\n"
        "def model(batch): return {'a': batch[:, :size.width]}\n"
    )
    assert load_model(f"{tmp_path}/net.py:model")(np.zeros((2, 5)))["a"].shape == (2, 3)


def test_two_files_of_one_name_are_two(tmp_path):
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(f"def model(batch): return {value}\n")
    assert [load_model(f"{tmp_path}/{folder}/net.py:model")(None) for folder in "ab"] == [1, 2]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("modle", {}, "net.py has no 'modle'; the nearest: 'model'"),
        ("sized", {}, "net.py:sized needs 'width', 'depth': give each by --arg NAME=VALUE"),
        ("sized", {"width": "3"}, "net.py:sized needs 'depth': give each by --arg"),
        ("of_a_batch", {"pwoer": "3"}, "takes no argument 'pwoer'; it takes 'batch', 'power'"),
        (
            "model",
            {"width": "3"},
            "net.py:model is a MLPClassifier, no function that makes one; it takes no --arg width",
        ),
        ("nothing", {}, r"None is not a model that an adapter knows \(.*scikit-learn.*, function\)"),
        ("number", {}, "int is not a model that an adapter knows"),
        (
            "fails",
            {},
            r"fails could not make the model: ValueError: a message in two lines \(net.py, line 23\)$",
        ),
        ("lists_wrongly", {}, r"could not make the model: ValueError: cannot reshape .* \(net.py, line 27\)$"),
    ],
)
def test_what_is_no_model_is_told_in_one_line(net, name, arguments, message):
    with pytest.raises(AdapterError, match=message) as caught:
        load_model(f"{net}:{name}", arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"bad.py cannot be imported: ZeroDivisionError: division by zero \(bad.py, line 1\)$"),
        ("def f(:", r"bad.py cannot be imported: SyntaxError: invalid syntax \(bad.py, line 1\)$"),
        ("import no_such_package", r"bad.py cannot be imported: ModuleNotFoundError: .* \(bad.py, line 1\)$"),
        ("import sys; sys.exit(3)", r"bad.py cannot be imported: SystemExit: 3 \(bad.py, line 1\)$"),
        ("raise ValueError", r"bad.py cannot be imported: ValueError \(bad.py, line 1\)$"),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_imported(tmp_path, text, message):
    (tmp_path / "bad.py").write_text(text)
    for _ in range(2):  # and is not taken for imported the second time
        with pytest.raises(AdapterError, match=message) as caught:
            load_model(f"{tmp_path}/bad.py:model")
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("none.py:model", "there is no file none.py"),
        ("none.py", "'none.py' is not of the form file.py:name or package.module:name"),
        (
            "no_such.package:model",
            "no_such.package cannot be imported: ModuleNotFoundError: No module named 'no_such'",
        ),
        ("demo:mnist", "there is no demo 'mnist'; there is 'digits'"),
        (
            "builtins:dict",
            "builtins:dict does not say what arguments it takes; wrap it in a function of your own",
        ),
        ("", "'' is not of the form file.py:name"),
    ],
)
def test_a_spec_that_names_nothing(spec, message):
    with pytest.raises(AdapterError, match=message):
        load_model(spec)


@pytest.mark.parametrize("missing", ["none.pt", "none.pt:model"])
def test_weights_that_are_not_there(net, missing):
    with pytest.raises(AdapterError, match=r"there is no file none\.pt to load weights from"):
        load_model(f"{net}:model", {}, missing)


@pytest.mark.parametrize(("name", "kind"), [("model", "scikit-learn"), ("of_a_batch", "function")])
def test_weights_of_models_that_only_a_pickle_would_hold_are_refused(net, tmp_path, name, kind):
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(
        AdapterError, match=f"weights for a {kind} model cannot be loaded from model.pkl: a pickle"
    ):
        load_model(f"{net}:{name}", {}, f"{tmp_path}/model.pkl")
