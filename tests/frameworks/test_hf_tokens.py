"""The tokens of texts as targets, and texts kept beside them: what a Hugging Face tokenizer made of each row."""

import pytest

from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import SourceError
from actstore.sources import split_data

pytestmark = pytest.mark.framework
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
torch = pytest.importorskip("torch")

WORDS = ["the", "cat", "sat", "on", "a", "mat", "none", "-", "one"]


@pytest.fixture
def model():
    """A small GPT-2 with a tokenizer of whole words, which pads."""
    torch.manual_seed(0)
    vocabulary = {word: number for number, word in enumerate([*WORDS, "[UNK]"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[UNK]"
    )
    config = transformers.GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=16,
        n_embd=8,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2Model(config).eval(), fast


def test_the_token_and_the_text_of_each_row(tmp_path, model):
    (tmp_path / "x.txt").write_text("the cat sat\nnone - one on a mat\ncat dog\n")
    data = split_data([f"{tmp_path}/x.txt"], ["token"])
    settings = DumpSettings(("h.0",), row="token", keep_input="text", batch_size=2)
    with dump(model, data, tmp_path / "o.acts", settings) as store:
        expected = ["the", "cat", "sat", "none", "-", "one", "on", "a", "mat", "cat", "[UNK]"]
        assert store.targets["token"].tolist() == expected
        kept = ["the cat sat"] * 3 + ["none - one on a mat"] * 6 + ["cat dog"] * 2
        assert store.inputs_kept.tolist() == kept


def test_the_sample_of_tokens_keeps_their_own(tmp_path, model):
    (tmp_path / "x.txt").write_text("the cat sat\nnone - one on a mat\ncat dog\n" * 4)
    data = split_data([f"{tmp_path}/x.txt"], ["token"])
    every = DumpSettings(("h.0",), row="token", batch_size=5)
    some = DumpSettings(("h.0",), row="token", batch_size=5, sample=0.5)
    with dump(model, data, tmp_path / "a.acts", every) as a, dump(model, data, tmp_path / "b.acts", some) as b:
        of_id = dict(zip(a.ids.tolist(), a.targets["token"].tolist(), strict=True))
        assert 0 < b.rows < a.rows
        assert b.targets["token"].tolist() == [of_id[row] for row in b.ids.tolist()]


def test_words_are_not_tokens(tmp_path, model):
    (tmp_path / "x.txt").write_text("the cat\n")
    data = split_data([f"{tmp_path}/x.txt"], ["token"])
    with pytest.raises(SourceError, match="is the token of each row, and a row is one word; say --row token"):
        dump(model, data, tmp_path / "o.acts", DumpSettings(("h.0",), row="word"))
