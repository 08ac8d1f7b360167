"""Settings of a fit: one field each, shown and refused alike at every door."""

import inspect
import pydoc
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

import solvers
from cli.main import probe as program
from solvers.errors import ProblemError
from solvers.estimators.base import _LONGER
from solvers.fitting.settings import FitKeywords, FitSettings
from solvers.probing.settings import LayerSettings

NAMES = [each.name for each in fields(FitSettings)]


def test_type_checkers_are_told_the_same_fields():
    assert FitKeywords.__annotations__.keys() == set(NAMES)
    for each in fields(FitSettings):
        assert FitKeywords.__annotations__[each.name].__forward_arg__ == each.type


def test_every_field_is_explained():
    for name in NAMES:
        assert f"        {name}: " in FitSettings.__doc__


@pytest.mark.parametrize("door", [solvers.fit, solvers.fit_layers])
def test_doors_show_every_setting_with_its_default(door):
    shown = inspect.signature(door).parameters
    assert set(NAMES) <= set(shown)
    assert not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in shown.values())
    for each in fields(FitSettings):
        differs = door is solvers.fit_layers and each.name == "scale"
        assert shown[each.name].default == (True if differs else each.default)
    assert "gap_nats: 'float' = 1e-05" in pydoc.render_doc(door, renderer=pydoc.plaintext)


def test_every_setting_is_an_option_of_the_command():
    options = {each.name for each in program.commands["fit"].params}
    assert set(NAMES) <= options


def test_estimators_take_settings_by_the_same_names_or_shorter_ones():
    own = {"C", "Cs", "cv", "warm_start"}
    for estimator in (solvers.LogisticProbe, solvers.LogisticProbePath):
        assert {_LONGER.get(name, name) for name in estimator().get_params()} - own <= set(NAMES)


@pytest.mark.parametrize(
    ("door", "name", "said"),
    [
        ("fit", "gap_nat", "fit() got an unexpected setting 'gap_nat'; did you mean 'gap_nats'?"),
        ("fit", "gap", "fit() got an unexpected setting 'gap'; did you mean 'gap_nats'?"),
        ("fit", "memory", "fit() got an unexpected setting 'memory'; did you mean 'memory_bytes'?"),
        ("fit", "Validation", "fit() got an unexpected setting 'Validation'; did you mean 'validation'?"),
        ("fit_layers", "gap_nat", "fit_layers() got an unexpected setting 'gap_nat'; did you mean 'gap_nats'?"),
        ("fit_layers", "split", "fit_layers() got an unexpected setting 'split'; did you mean 'splits'?"),
    ],
)
def test_a_misspelt_setting_is_answered_by_its_name_with_the_nearest(data, door, name, said):
    with pytest.raises(TypeError) as caught:
        getattr(solvers, door)(*data, **{name: 1})
    assert str(caught.value) == said


def test_a_setting_like_no_other_is_answered_with_all_there_are(data):
    with pytest.raises(
        TypeError, match=r"unexpected setting 'xyzzy'; expected some of C, activations, class_weight"
    ):
        solvers.fit(*data, xyzzy=1)


BAD = {
    "scale": ["yes", None, 2],
    "full_path": ["no", 3],
    "gap_nats": [0, -1.0, np.nan, "small", None],
    "seed": [-1, None, 0.5, "0", True],
    "feature_subset": [0, -3, 1.5, "all"],
    "memory_bytes": [0, -1, "2GB"],
    "threads": [0, -1, 1.5, "all", True],
    "class_weight": ["even", 3, ["a"]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, bad in BAD.items() for value in bad])
def test_settings_that_no_fit_can_be_made_with_are_refused_in_one_line_by_name(
    data, layers, labels, name, value
):
    for door, given in ((solvers.fit, data), (solvers.fit_layers, (layers, labels))):
        with pytest.raises(ProblemError, match=rf"^{name} is .*; expected [^\n]*$"):
            door(*given, **{name: value})


def test_numbers_of_numpy_are_numbers(data):
    plain = solvers.fit(*data, gap_nats=1e-6, seed=3, feature_subset=4, memory_bytes=10**9)
    same = solvers.fit(
        *data,
        gap_nats=np.float32(1e-6),
        seed=np.int64(3),
        feature_subset=np.int32(4),
        memory_bytes=np.int64(10**9),
        scale=np.False_,
    )
    np.testing.assert_array_equal(plain.weights, same.weights)


def test_settings_are_frozen_and_say_what_decides_the_answer():
    settings = LayerSettings(C=(1.0,), class_weight={1: 2.0}, device="cpu", memory_bytes=5)
    with pytest.raises(FrozenInstanceError):
        settings.scale = True
    assert set(NAMES) - set(settings.asked()) == {"device", "memory_bytes", "threads"}
    assert settings.asked()["class_weight"] == "{1: 2.0}"
    assert FitSettings(class_weight="balanced").asked()["class_weight"] == "balanced"
