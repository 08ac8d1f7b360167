"""Models of transformers, made small and random from a configuration: what is taken of their outputs and inputs."""

import numpy as np
import pytest

import actstore
from actstore.adapters import adapt

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: make test-frameworks")

ROWS, POSITIONS, WIDTH = 3, 5, 8
MASK = np.array([[1] * 5, [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
TOKENS = (POSITIONS, WIDTH), ("position", "feature")
VECTOR = (WIDTH,), ("feature",)


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    return transformers.BertModel(
        transformers.BertConfig(
            vocab_size=30, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12
        )
    ).eval()


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=30, n_positions=16, n_embd=WIDTH, n_layer=2, n_head=2)
    ).eval()


def inputs():
    ids = np.random.default_rng(0).integers(0, 30, size=(ROWS, POSITIONS))
    return {"input_ids": ids, "attention_mask": MASK}


def tensors():
    return {name: torch.from_numpy(array) for name, array in inputs().items()}


def described(model):
    return {layer.name: layer for layer in adapt(model).layers(inputs())}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("embeddings", TOKENS),
        ("embeddings.dropout", TOKENS),
        ("encoder.layer.0.attention.self.query", TOKENS),
        ("encoder.layer.0.attention.self", TOKENS),
        ("encoder.layer.0.attention.output.dense:in", TOKENS),
        ("encoder.layer.0.intermediate", ((POSITIONS, 12), ("position", "feature"))),
        ("encoder.layer.1:in", TOKENS),
        ("encoder.layer.1", TOKENS),
        ("encoder", TOKENS),
        ("pooler", VECTOR),
        ("output", TOKENS),
    ],
)
def test_bert_has_positions_and_features(bert, name, expected):
    layer = described(bert)[name]
    assert (layer.shape, layer.axes) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transformer.wte:in", ((POSITIONS,), ("position",))),
        ("transformer.wte", TOKENS),
        ("transformer.h.0.attn.c_attn", ((POSITIONS, 3 * WIDTH), ("position", "feature"))),
        ("transformer.h.0.attn.c_proj:in", TOKENS),
        ("transformer.h.0.attn", TOKENS),
        ("transformer.h.0.mlp.act", ((POSITIONS, 4 * WIDTH), ("position", "feature"))),
        ("transformer.h.1", TOKENS),
        ("transformer", TOKENS),
        ("lm_head", ((POSITIONS, 30), ("position", "feature"))),
        ("output", ((POSITIONS, 30), ("position", "feature"))),
    ],
)
def test_gpt2_has_positions_and_features(gpt, name, expected):
    layer = described(gpt)[name]
    assert (layer.shape, layer.axes) == expected


def test_no_layer_of_theirs_lacks_names_for_its_axes(bert, gpt):
    for model in (bert, gpt):
        layers = [layer for layer in adapt(model).layers(inputs()) if layer.shape is not None]
        assert len(layers) > 30
        assert {layer.axes for layer in layers} == {("position", "feature"), ("position",), ("feature",)}


def test_the_hidden_states_are_those_that_transformers_returns(bert, gpt, captured):
    with torch.no_grad():
        expected = bert(**tensors(), output_hidden_states=True)
        states = gpt(**tensors(), output_hidden_states=True).hidden_states
    found = captured(bert, inputs(), "embeddings", "encoder.layer.*", "encoder.layer.0:in", "pooler", "output")
    np.testing.assert_array_equal(found["embeddings"].array, expected.hidden_states[0])
    np.testing.assert_array_equal(found["encoder.layer.0:in"].array, expected.hidden_states[0])
    np.testing.assert_array_equal(found["encoder.layer.0"].array, expected.hidden_states[1])
    np.testing.assert_array_equal(found["encoder.layer.1"].array, expected.last_hidden_state)
    np.testing.assert_array_equal(found["output"].array, expected.last_hidden_state)
    np.testing.assert_array_equal(found["pooler"].array, expected.pooler_output)
    every = captured(bert, inputs(), "**")
    assert {*found} - {"encoder.layer.0:in", "output"} < {*every}
    assert "embeddings.position_embeddings" not in every, "it has one row for all"
    (first,) = captured(gpt, inputs(), "transformer.h.0").values()
    np.testing.assert_array_equal(first.array, states[1])


def test_what_is_taken_of_an_output_is_said(bert, gpt):
    layers = described(bert)
    assert layers["output"].note == "'last_hidden_state' of BaseModelOutputWithPoolingAndCrossAttentions"
    assert layers["encoder.layer.0.attention.self"].note.startswith("the first of tuple of 2")
    assert described(gpt)["output"].note.startswith("the only tensor of ")


def test_of_a_model_output_the_first_tensor_with_rows_is_taken(captured):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12
    )
    model = transformers.BertForQuestionAnswering(config).eval()
    with torch.no_grad():
        expected = model(**tensors()).start_logits
    positions = {"start_positions": np.zeros(ROWS, int), "end_positions": np.zeros(ROWS, int)}
    for given in (inputs(), {**inputs(), **positions}):  # with these, the first tensor is a loss
        np.testing.assert_array_equal(captured(model, given, "output")["output"].array, expected)
    assert {layer.name: layer.note for layer in adapt(model).layers(inputs())}["output"].startswith(
        "'start_logits' of"
    )


def test_heads_are_the_input_of_the_output_projection(bert, captured):
    name = "encoder.layer.0.attention.output.dense:in"
    found = captured(bert, inputs(), name, "encoder.layer.0.attention.self")
    np.testing.assert_array_equal(found[name].array, found["encoder.layer.0.attention.self"].array)


def test_a_pass_that_happens_anyway_shows_the_same(bert, captured):
    patterns = ["encoder.layer.0", "encoder.layer.1:in", "output"]
    expected = captured(bert, inputs(), *patterns)
    with actstore.capture(bert, patterns) as activations, torch.no_grad():
        bert(**tensors())
    assert list(activations) == list(expected)
    for name, layer in expected.items():
        np.testing.assert_array_equal(activations[name], layer.array)
