"""Torch models that people give, and that cannot be run as they are given: what the one line says to do instead."""

import numpy as np
import pytest

import actstore
from actstore.errors import ActstoreError

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn
Z = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)


def line(tmp_path, model, data, layers="**", **options):
    with pytest.raises(ActstoreError) as caught:
        actstore.dump(model, data, tmp_path / "never.acts", layers, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(folder, name, tokenizer=True, **settings):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**settings)).save_pretrained(
        folder
    )
    if tokenizer:
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat"]
        vocabulary = {word: code for code, word in enumerate(words)}
        transformers.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return f"hf:{folder}"


TEXTS = {"t": [["the cat", "cat the"]]}
HALF = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_a_model_with_a_decoder(tmp_path):
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 40}
    model = saved(tmp_path / "t5", "T5", **sizes)
    told = line(tmp_path, model, TEXTS, pool="mean")
    assert (
        "T5Model has a decoder, which was given nothing; give its encoder alone, (model.get_encoder()" in told
    )


def test_a_model_of_texts_and_images(tmp_path):
    halves = {
        "text_config": {**HALF, "vocab_size": 40},
        "vision_config": {**HALF, "image_size": 16, "patch_size": 8},
    }
    told = line(tmp_path, saved(tmp_path / "clip", "CLIP", **halves), TEXTS, pool="mean")
    assert (
        "CLIPModel takes texts and images together; give one half of it, (model.text_model, tokenizer)" in told
    )


def test_the_halves_that_are_advised_can_be_dumped(tmp_path):
    """What the lines above say has to work."""
    transformers = pytest.importorskip("transformers")
    from actstore.models import load_model

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 40}
    given = load_model(saved(tmp_path / "t5", "T5", **sizes))
    store = actstore.dump(
        (given.model.get_encoder(), given.tokenizer), TEXTS, tmp_path / "t5.acts", "**", pool="mean"
    )
    assert len(store.layers) > 3
    halves = {
        "text_config": {**HALF, "vocab_size": 40},
        "vision_config": {**HALF, "image_size": 16, "patch_size": 8},
    }
    given = load_model(saved(tmp_path / "clip", "CLIP", **halves))
    assert isinstance(given.model, transformers.CLIPModel)
    store = actstore.dump(
        (given.model.text_model, given.tokenizer), TEXTS, tmp_path / "c.acts", "**", pool="mean"
    )
    assert len(store.layers) > 3


def test_a_batch_that_is_a_dict(tmp_path):
    class OfADict(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(8, 4)

        def forward(self, batch):
            return self.lin(batch["x"])

    told = line(tmp_path, OfADict(), [{"x": Z}])
    assert (
        "a batch that is a dict is given as keyword arguments; a model whose forward takes the dict itself"
        in told
    )

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = OfADict()

        def forward(self, **batch):
            return self.model(batch)

    assert list(actstore.dump(Around(), [{"x": Z}], tmp_path / "s.acts", "**").layers) == ["model.lin", "model"]


def test_labels_inside_a_batch_that_is_a_dict(tmp_path):
    class Strict(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(8, 4)

        def forward(self, x):
            return self.lin(x)

    told = line(tmp_path, Strict(), [{"x": Z, "labels": np.arange(6)}])
    assert "the batch holds 'labels', which the model was given, too; labels stand beside the inputs" in told
    assert actstore.dump(Strict(), [({"x": Z}, np.arange(6))], tmp_path / "s.acts", "**").rows == 6


class SentenceTransformer(nn.Sequential):
    """As that library's: called by this name, given texts, and a model of transformers inside."""


def test_a_sentence_transformer(tmp_path):
    told = line(tmp_path, SentenceTransformer(nn.Linear(8, 4)), TEXTS)
    assert (
        "give the model of transformers in it with its tokenizer, (model[0].auto_model, model.tokenizer)"
        in told
    )
    told = line(tmp_path, (SentenceTransformer(nn.Linear(8, 4)), object()), TEXTS)
    assert "give (model[0].auto_model, model.tokenizer)" in told


class PeftModel(nn.Module):
    """As that library's: adapters around a model of transformers."""

    def get_base_model(self):
        return self


def test_adapters_around_a_model(tmp_path):
    told = line(tmp_path, (PeftModel(), object()), TEXTS)
    assert "give (model.get_base_model(), tokenizer): the adapters are part of it" in told
    told = line(tmp_path, (nn.Linear(8, 4), object()), TEXTS)
    assert "a tuple is a model of transformers and its tokenizer or image processor" in told


def test_what_torch_export_makes(tmp_path):
    exported = torch.export.export(nn.Sequential(nn.Linear(8, 4)).eval(), (torch.zeros(3, 8),))
    assert "; give the module that was exported" in line(tmp_path, exported, Z)
    told = line(tmp_path, exported.module(), Z)
    assert "what torch.export makes has none, and none of the model's layers; give the module that was" in told
