"""Hugging Face models with ``--weights`` of their own: the processors stay with them."""

import warnings

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.adapters.for_hf.adapter import UntrainedWeightsWarning
from actstore.models import load_model

reason = "torch or transformers is not installed: make test-frameworks"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)

TEXTS = ["the cat sat", "a dog"]


def test_text_goes_through_the_tokenizer_with_the_weights_of_a_file(hf_folder, tmp_path, captured):
    found = load_model(f"hf:{hf_folder('bert')}")
    with torch.no_grad():
        for weight in found.model.parameters():
            weight.mul_(2)
    torch.save(found.model.state_dict(), tmp_path / "trained.pt")
    plain = load_model(f"hf:{hf_folder('bert')}")
    trained = load_model(f"hf:{hf_folder('bert')}", weights=f"{tmp_path}/trained.pt")
    name = "embeddings.word_embeddings"
    expected = captured(plain, TEXTS, name)[name].array
    np.testing.assert_array_equal(captured(trained, TEXTS, name)[name].array, 2 * expected)
    assert adapt(trained).provenance() == adapt(found).provenance()


def test_weights_that_the_folder_lacks_and_a_file_has_are_not_warned_of(hf_folder, tmp_path):
    folder = tmp_path / "lacking"
    whole = load_model(f"hf:{hf_folder('bert')}")
    state = whole.model.state_dict()
    whole.model.save_pretrained(
        folder, state_dict={name: value for name, value in state.items() if "pooler" not in name}
    )
    whole.tokenizer.save_pretrained(folder)
    torch.save(state, tmp_path / "whole.pt")
    with pytest.warns(UntrainedWeightsWarning, match="lacks the weights .*pooler"):
        adapt(load_model(f"hf:{folder}")).layers(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers = adapt(load_model(f"hf:{folder}", weights=f"{tmp_path}/whole.pt")).layers(TEXTS)
    assert "pooler" in {layer.name for layer in layers}
