"""Layer patterns: exact names first, then globs and regular expressions; errors name the nearest layers."""

import pytest

from actstore.adapters import ModelLayer
from actstore.errors import LayerError
from actstore.patterns import matcher, select


def rows(*names, **special):
    """Layers of one feature each; by keyword, those with nothing to store and the note that says why."""
    found = [ModelLayer(name, "Linear", (1,), ("feature",), "float32") for name in names]
    return found + [ModelLayer(name, "List", note=note) for name, note in special.items()]


def picked(patterns, *names):
    return [layer.name for layer in select(patterns, rows(*names))]


NAMES = ("embed", "model.layers.0", "model.layers.0.mlp", "model.layers.1", "model.layers.1.mlp", "head")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("head", ["head"]),
        ("*", ["embed", "head"]),
        ("**", list(NAMES)),
        ("model.layers.*", ["model.layers.0", "model.layers.1"]),
        ("model.**", list(NAMES[1:5])),
        ("**.mlp", ["model.layers.0.mlp", "model.layers.1.mlp"]),
        ("model.layers.?", None),
        ("re:model\\.layers\\.\\d", ["model.layers.0", "model.layers.1"]),
        ("re:^(?!head$).*d$", ["embed"] if "embed".endswith("d") else []),
    ],
)
def test_globs_and_regular_expressions(pattern, expected):
    if expected is None:
        with pytest.raises(LayerError, match="no layer matches"):
            picked([pattern], *NAMES)
    else:
        assert picked([pattern], *NAMES) == expected


def test_layers_come_in_call_order_and_once():
    assert picked(["head", "*", "embed"], *NAMES) == ["embed", "head"]


def test_an_exact_name_comes_before_a_glob():
    assert picked(["a*"], "a*", "ab") == ["a*"]
    assert picked(["re:x"], "re:x", "x") == ["re:x"]
    assert picked(["x:in"], "x:in", "x") == ["x:in"]


def test_special_characters_of_names_are_plain_in_globs():
    assert picked(["a.(b)*"], "a.(b)1", "a.b1", "axx") == ["a.(b)1"]
    assert picked(["a[0]*"], "a[0]\n", "a0") == ["a[0]\n"]


@pytest.mark.parametrize("pattern", ["relu", "re*", "re:relu"])
def test_a_module_means_all_its_calls(pattern):
    assert picked([pattern], "relu", "fc", "relu#1") == ["relu", "relu#1"]


def test_one_call_can_be_asked_for():
    assert picked(["relu#1"], "relu", "relu#1", "relu#2") == ["relu#1"]
    with pytest.raises(LayerError, match=r"no layer matches 'relu#7'; the nearest: .*'relu#"):
        picked(["relu#7"], "relu", "relu#1")


def test_input_and_output_are_taken_by_name_only():
    layers = [ModelLayer("input", "input", (1,), ("feature",), "float32", explicit=True), *rows("fc")]
    assert [layer.name for layer in select(["**"], layers)] == ["fc"]
    assert [layer.name for layer in select(["**", "input"], layers)] == ["input", "fc"]


def test_an_unknown_pattern_names_the_nearest_layers():
    with pytest.raises(LayerError, match=r"^no layer matches 'model.layer.0'; the nearest: 'model.layers.0', "):
        picked(["model.layer.0"], *NAMES)
    with pytest.raises(LayerError, match=r"^no layer matches 'zzz\*'; there are: 'a0', .* and 92 more$"):
        picked(["zzz*"], *(f"a{index}" for index in range(100)))


def test_one_pattern_of_several_that_picks_nothing_is_an_error():
    with pytest.raises(LayerError, match="no layer matches 'conv'"):
        picked(["head", "conv"], *NAMES)


def test_no_pattern_is_an_error():
    with pytest.raises(LayerError, match="no layers were asked for; name some of 'embed'"):
        picked([], *NAMES)


def test_a_malformed_expression_is_an_error():
    with pytest.raises(LayerError, match=r"'re:\(' is not a regular expression: missing \)"):
        picked(["re:("], *NAMES)


def inputs_and_outputs():
    """``relu`` is called twice."""
    names = ("embed", "relu", "blocks.0", "relu#1")
    inputs = [
        ModelLayer(f"{name}:in", "ReLU", (1,), ("feature",), "float32", explicit=True) for name in names[:3]
    ]
    again = ModelLayer("relu:in#1", "ReLU", (1,), ("feature",), "float32", explicit=True)
    return [*inputs, again, *rows(*names)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", ["embed", "relu", "blocks.0", "relu#1"]),
        ("re:.*", ["embed", "relu", "blocks.0", "relu#1"]),
        ("**:in", ["embed:in", "relu:in", "blocks.0:in", "relu:in#1"]),
        ("*:in", ["embed:in", "relu:in", "relu:in#1"]),
        ("*:in#1", ["relu:in#1"]),
        ("re:.*l.*:in", ["relu:in", "blocks.0:in", "relu:in#1"]),
        ("relu:in", ["relu:in", "relu:in#1"]),
        ("relu:in#1", ["relu:in#1"]),
        ("relu", ["relu", "relu#1"]),
    ],
)
def test_what_goes_into_a_layer_is_taken_by_patterns_that_end_so(pattern, expected):
    assert [layer.name for layer in select([pattern], inputs_and_outputs())] == expected


def test_a_layer_whose_own_name_ends_so_is_a_layer_like_others():
    assert picked(["**"], "x:in", "x") == ["x:in", "x"]


def test_errors_name_inputs_only_where_these_are_asked_for():
    with pytest.raises(LayerError, match=r"no layer matches 'bloks.0'; the nearest: 'blocks.0'$"):
        select(["bloks.0"], inputs_and_outputs())
    with pytest.raises(LayerError, match=r"no layer matches 'bloks.0:in'; the nearest: 'blocks.0:in'$"):
        select(["bloks.0:in"], inputs_and_outputs())
    with pytest.raises(LayerError, match=r"name some of 'embed', 'relu', 'blocks.0', 'relu#1'$"):
        select([], inputs_and_outputs())


def test_what_goes_into_a_layer_is_refused_where_nothing_shows_it():
    with pytest.raises(
        LayerError,
        match=r"no layer matches 'head:in': none of the layers here is what goes into .* name the layer before it",
    ):
        picked(["head:in"], *NAMES)


def test_a_layer_without_output_is_an_error_by_name_and_passed_over_by_a_glob():
    layers = rows("fc", blocks="it was not called for this batch")
    assert [layer.name for layer in select(["*"], layers)] == ["fc"]
    with pytest.raises(LayerError, match="layer 'blocks' cannot be stored: it was not called for this batch"):
        select(["blocks"], layers)
    with pytest.raises(LayerError, match="layer 'blocks' cannot be stored"):
        select(["b*"], layers)


def test_a_matcher_knows_calls_that_were_not_seen_yet():
    matches = matcher("relu#1", ["relu", "fc"])
    assert [name for name in ("relu", "relu#1", "relu#2", "fc") if matches(name)] == ["relu#1"]
