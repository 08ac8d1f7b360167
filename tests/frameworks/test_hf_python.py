"""Texts to a transformers model from Python, in every form that a user has them: the rows are the same."""

import numpy as np
import pytest

import actstore

transformers = pytest.importorskip("transformers", reason="transformers is not installed: make test-frameworks")
pytest.importorskip("torch")

TEXTS = ["the unable cat sat", "dog", "a unable dogs runs on a mat"]


def rows(model, data, path):
    with actstore.dump(model, data, path, "encoder.layer.*", row="token") as store:
        return {name: layer[:] for name, layer in store.layers.items()}


@pytest.mark.parametrize(
    "given",
    [
        lambda tokenizer: TEXTS,
        lambda tokenizer: {"train": TEXTS},
        lambda tokenizer: np.array(TEXTS),
        lambda tokenizer: pytest.importorskip("pandas").Series(TEXTS, index=[4, 2, 9]),
        lambda tokenizer: tokenizer(TEXTS, padding=True, return_tensors="pt"),
        lambda tokenizer: tokenizer(TEXTS, padding=True, return_tensors="np"),
        lambda tokenizer: tokenizer(TEXTS, padding=True),
        lambda tokenizer: dict(tokenizer(TEXTS, padding=True, return_tensors="np")),
        lambda tokenizer: {"train": tokenizer(TEXTS, padding=True, return_tensors="pt")},
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_texts_in_every_form_have_the_rows_of_one_batch(tmp_path, hf_folder, given, named):
    folder = hf_folder("bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = f"hf:{folder}" if named else (transformers.AutoModel.from_pretrained(folder).eval(), tokenizer)
    found, expected = rows(model, given(tokenizer), tmp_path / "a.h5"), rows(model, [TEXTS], tmp_path / "b.h5")
    assert found.keys() == expected.keys()
    for name, layer in expected.items():
        np.testing.assert_array_equal(found[name], layer)


def test_layers_of_a_named_model_are_described(hf_folder):
    assert "encoder.layer.0" in [layer.name for layer in actstore.describe_layers(f"hf:{hf_folder('bert')}")]
