"""Every test of this folder needs a framework; helpers that more than one of its files uses."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.patterns import select


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/frameworks" in item.path.as_posix():
            item.add_marker(pytest.mark.framework)


@pytest.fixture
def images():
    """Eight images of one channel."""
    return np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def captured():
    """``captured(model, inputs, pattern, ...)`` gives the layers of one batch by name, as a dump would."""

    def run_once(model, inputs, *patterns, device=None):
        adapter = adapt(model, device)
        layers = select(patterns or ("**",), adapter.layers(inputs))
        with adapter.running(layers) as run:
            return run(inputs)

    return run_once


WORDS = ["the", "cat", "sat", "on", "a", "mat", "un", "##able", "##s", "dog", "runs"]


def _bert(transformers, folder):
    vocabulary = {
        word: code for code, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
    }
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(vocabulary), max_position_embeddings=12, **sizes)
    return transformers.BertModel(config)


def _gpt2(transformers, folder):
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {byte: code for code, byte in enumerate(sorted(ByteLevel.alphabet()))}
    merges = [("Ġ", "c"), ("Ġc", "a"), ("Ġca", "t")]
    for piece in ("".join(pair) for pair in merges):
        vocabulary[piece] = len(vocabulary)
    vocabulary["<|endoftext|>"] = end = len(vocabulary)
    transformers.GPT2Tokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    config = transformers.GPT2Config(vocab_size=len(vocabulary), bos_token_id=end, eos_token_id=end, **sizes)
    return transformers.GPT2Model(config)


def _vit(transformers, folder):
    size = {"height": 16, "width": 16}
    transformers.ViTImageProcessorPil(size=size).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return transformers.ViTModel(transformers.ViTConfig(image_size=16, patch_size=8, **sizes))


@pytest.fixture(scope="session")
def hf_folder(tmp_path_factory):
    """``hf_folder("bert")``: a small random model (also "gpt2", "vit") saved with its tokenizer or image processor."""
    reason = "torch or transformers is not installed: make test-frameworks"
    torch = pytest.importorskip("torch", reason=reason)
    transformers = pytest.importorskip("transformers", reason=reason)
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            torch.manual_seed(0)
            model = {"bert": _bert, "gpt2": _gpt2, "vit": _vit}[kind](transformers, made[kind])
            model.save_pretrained(made[kind])
        return made[kind]

    return folder
