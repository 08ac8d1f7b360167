"""Text through transformers models: against what transformers gives when it is called by hand."""

import shutil

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import DumpError
from actstore.models import load_model
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData
from actstore.sources.python import from_object

reason = "torch or transformers is not installed: make test-frameworks"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)

SENTENCES = [
    ["the", "unables", "cat", "sat"],
    ["dog"],
    ["a", "unable", "dogs", "runs", "on", "a", "mat"],
]
TEXTS = [" ".join(words) for words in SENTENCES]
LAYERS = {"bert": ("embeddings", "encoder.layer.*"), "gpt2": ("drop", "h.*")}


@pytest.fixture(params=["bert", "gpt2"])
def kind(request):
    return request.param


@pytest.fixture
def model(hf_folder, kind):
    return load_model(f"hf:{hf_folder(kind)}")


def loaded(folder, side="right"):
    """The model and the tokenizer, by hand."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side=side)
    return transformers.AutoModel.from_pretrained(folder).eval(), tokenizer


def by_hand(folder, batch, words=False):
    """The hidden states of each example, and of each of its tokens the word, in a batch padded to the right."""
    model, tokenizer = loaded(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if words and not tokenizer.unk_token.startswith("["):
        batch = [[word if not place else f" {word}" for place, word in enumerate(of)] for of in batch]
    given = tokenizer(batch, padding=True, is_split_into_words=words, return_tensors="pt")
    with torch.no_grad():
        # The last is normalised once more in GPT-2, and is no layer then.
        states = model(**given, output_hidden_states=True).hidden_states[:2]
    mask = given["attention_mask"].bool().numpy()
    found = []
    for example in range(len(batch)):
        words_of = [word for word, real in zip(given.word_ids(example), mask[example], strict=True) if real]
        found.append(([state[example].numpy()[mask[example]] for state in states], words_of))
    return found


def dumped(model, path, batches, layers, **settings):
    data = [SplitData("train", from_object([(batch, None) for batch in batches], "batches"))]
    return dump(model, data, path, DumpSettings(layers, **settings))


# Rows


@pytest.mark.parametrize("words", [False, True], ids=["texts", "words"])
def test_tokens_are_those_of_transformers_bit_for_bit(tmp_path, hf_folder, kind, model, words):
    batches = [[SENTENCES[:2], SENTENCES[2:]], [TEXTS[:2], TEXTS[2:]]][not words]
    with dumped(model, tmp_path / "run.acts", batches, LAYERS[kind], row="token") as store:
        expected = [example for batch in batches for example in by_hand(hf_folder(kind), batch, words)]
        for depth, name in enumerate(list(store.layers)[:2]):
            hidden = np.concatenate([states[depth] for states, _ in expected])
            np.testing.assert_array_equal(store.layers[name][:], hidden)
        lengths = [len(words_of) for _, words_of in expected]
        assert store.groups.tolist() == [
            f"train/{row}" for row, length in enumerate(lengths) for _ in range(length)
        ]


@pytest.mark.parametrize("pool", ["mean", "first", "last", "max", None])
def test_words_are_their_subwords_joined_bit_for_bit(tmp_path, hf_folder, kind, model, pool):
    joins = {
        "mean": lambda parts: parts.mean(axis=0),  # added one by one, as torch does for wide layers
        "first": lambda parts: parts[0],
        "last": lambda parts: parts[-1],
        "max": lambda parts: parts.max(axis=0),
    }
    batches = [SENTENCES[:2], SENTENCES[2:]]
    settings = ReductionSettings(() if pool is None else (pool,))
    with dumped(model, tmp_path / "run.acts", batches, LAYERS[kind], row="word", reductions=settings) as store:
        assert store.row_unit == "word"
        assert store.positions.tolist() == [place for words in SENTENCES for place in range(len(words))]
        expected = []
        for batch in batches:
            for (_, hidden), words_of in by_hand(hf_folder(kind), batch, words=True):
                places = np.array([-1 if word is None else word for word in words_of])
                expected += [joins[pool or "mean"](hidden[places == word]) for word in range(places.max() + 1)]
        np.testing.assert_array_equal(store.layers[list(store.layers)[1]][:], expected)


def test_words_of_a_text_are_those_of_the_tokenizer(tmp_path, model, kind):
    with dumped(model, tmp_path / "run.acts", [TEXTS], LAYERS[kind], row="word") as store:
        assert store.groups.tolist() == [f"train/{row}" for row, words in enumerate(SENTENCES) for _ in words]


@pytest.mark.parametrize("pool", ["mean", "last", "first"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(tmp_path, hf_folder, kind, pool, side):
    settings = ReductionSettings((pool,))
    pair = loaded(hf_folder(kind), side)
    with dumped(pair, tmp_path / "run.acts", [TEXTS], LAYERS[kind], reductions=settings) as store:
        for row, text in enumerate(TEXTS):
            ((states, _),) = by_hand(hf_folder(kind), [text])
            alone = {"mean": lambda h: h.mean(axis=0), "last": lambda h: h[-1], "first": lambda h: h[0]}[pool](
                states[1]
            )
            found = store.layers[list(store.layers)[1]][row]
            # Sums of a few dozen float32 of order 1, in other orders where there is padding.
            np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)
    assert pair[1].padding_side == side
    assert (pair[1].pad_token is None) == (kind == "gpt2"), "the tokenizer that was given stays as it is"


def test_a_word_without_a_token_is_unknown(tmp_path, hf_folder):
    model = load_model(f"hf:{hf_folder('bert')}")
    found = []
    for word in ("\x07", "[UNK]"):
        with dumped(
            model, tmp_path / f"{len(found)}.acts", [[["the", word, "cat"]]], ("embeddings",), row="word"
        ) as store:
            found.append(store.layers["embeddings"][:])
    assert len(found[0]) == 3
    np.testing.assert_array_equal(*found)


def test_roberta_counts_its_positions_itself(tmp_path, hf_folder):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.RobertaConfig(vocab_size=16, max_position_embeddings=10, pad_token_id=0, **sizes)
    model = transformers.RobertaModel(config).eval()
    rows = []
    for side in ("left", "right"):
        _, tokenizer = loaded(hf_folder("bert"), side)
        pair = (model, tokenizer)
        with dumped(pair, tmp_path / f"{side}.acts", [TEXTS[:2]], ("encoder.layer.0",), row="token") as store:
            rows.append(store.layers["encoder.layer.0"][:])
    # Padding on the other side: the same sums in another order.
    np.testing.assert_allclose(*rows, rtol=1e-4, atol=1e-5)
    # Of 10 positions, the first is for padding; nine are left.
    with pytest.raises(DumpError, match="row 'train/0' has 10 tokens, more than the 9 that the model takes"):
        dumped(pair, tmp_path / "long.acts", [["the cat sat on a mat dog runs"]], ("encoder.layer.0",))


# Layers, weights, provenance


def test_other_inputs_are_given_as_they_are(hf_folder, captured, kind):
    model, _ = loaded(hf_folder(kind))
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    expected = captured(model, ids, LAYERS[kind][0])
    for given in (loaded(hf_folder(kind)), load_model(f"hf:{hf_folder(kind)}")):
        for name, layer in captured(given, {"input_ids": ids}, LAYERS[kind][0]).items():
            np.testing.assert_array_equal(layer.array, expected[name].array)


def test_provenance_names_the_folder_and_the_tokenizer(hf_folder, kind):
    folder = hf_folder(kind)
    model, tokenizer = loaded(folder)
    named = adapt(load_model(f"hf:{folder}"))
    before = named.provenance()
    assert before["name"] == folder.name
    assert before["tokenizer"].startswith("xxh3_128:")
    named.prepared(TEXTS)
    assert named.provenance() == before, "a call sets padding in the tokenizer, which is no part of what it is"
    paired = adapt((model, tokenizer)).provenance()
    assert paired == {name: value for name, value in before.items() if name != "name"}
    assert adapt(model).provenance() == {name: paired[name] for name in ("weights", "class")}
    other = loaded(hf_folder("gpt2" if kind == "bert" else "bert"))[1]
    assert adapt((model, other)).provenance()["tokenizer"] != before["tokenizer"]


def test_the_versions_are_noted(tmp_path, model, kind):
    with dumped(model, tmp_path / "run.acts", [TEXTS], LAYERS[kind], row="token") as store:
        assert store.provenance["versions"]["transformers"] == transformers.__version__
        assert "tokenizers" in store.provenance["versions"]


def test_weights_that_a_folder_lacks_are_drawn_alike_and_warned_of(tmp_path, hf_folder):
    from safetensors.torch import load_file, save_file

    shutil.copytree(hf_folder("bert"), tmp_path / "part")
    weights = load_file(tmp_path / "part" / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler")}
    save_file(kept, tmp_path / "part" / "model.safetensors", {"format": "pt"})
    first, second = (adapt(load_model(f"hf:{tmp_path}/part")) for _ in range(2))
    assert first.provenance() == second.provenance()
    with pytest.warns(
        UserWarning, match=r"part lacks the weights 'pooler.dense.bias', 'pooler.dense.weight': they are"
    ):
        first.layers(TEXTS)
