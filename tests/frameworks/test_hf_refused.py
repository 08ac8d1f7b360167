"""What models of transformers cannot be given, and what is no such model: one line each."""

import sys

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import AdapterError, DumpError
from actstore.models import load_model
from actstore.sources import SplitData
from actstore.sources.python import from_object

reason = "torch or transformers is not installed: make test-frameworks"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)

SENTENCES = [["the", "unables", "cat", "sat"], ["dog"]]
TEXTS = [" ".join(words) for words in SENTENCES]


def loaded(folder):
    """The model and the tokenizer, by hand."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return transformers.AutoModel.from_pretrained(folder).eval(), tokenizer


@pytest.fixture
def without_tokenizer(tmp_path, hf_folder):
    folder = tmp_path / "bare"
    transformers.AutoModel.from_pretrained(hf_folder("bert")).save_pretrained(folder)
    return folder


@pytest.fixture
def refused(tmp_path):
    """``refused(model, batch)``: the one line that a dump of the batch ends with."""

    def line(model, batch, layers=("**",), **settings):
        data = [SplitData("train", from_object([(batch, None)], "batches"))]
        with pytest.raises((AdapterError, DumpError)) as caught:
            dump(model, data, tmp_path / "never.acts", DumpSettings(layers, **settings))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return line


def test_text_without_a_tokenizer(refused, hf_folder, without_tokenizer):
    line = refused(load_model(f"hf:{without_tokenizer}"), TEXTS)
    assert line.startswith(
        "the input is text, but there is no tokenizer for BertModel: the folder bare has none ("
    )
    alone = refused(loaded(hf_folder("bert"))[0], SENTENCES)
    assert alone == "the input is text, but there is no tokenizer for BertModel: give (model, tokenizer)"


@pytest.mark.parametrize(("kind", "tokens", "most"), [("bert", 14, 12), ("gpt2", 47, 32)])
def test_a_sentence_that_is_too_long(refused, hf_folder, kind, tokens, most):
    line = refused(load_model(f"hf:{hf_folder(kind)}"), [["cat"], ["the", "mat"] * 6], row="word")
    assert line == (
        f"row 'train/1' has {tokens} tokens, more than the {most} that the model takes; split it, leave it out of the "
        "data, or cut all such texts (--truncate)"
    )


def test_words_from_a_tokenizer_in_python(refused, hf_folder):
    class Slow:
        """As much of a tokenizer without offsets as a dump needs."""

        is_fast, pad_token, unk_token, backend_tokenizer = False, "[PAD]", "[UNK]", None

        def get_vocab(self):
            return {}

        def __call__(self, texts, **_):
            mask = np.ones((len(texts), 3), np.int64)
            return {"input_ids": mask, "attention_mask": mask}

    model = loaded(hf_folder("bert"))[0]
    assert "fast tokenizer" in refused((model, Slow()), SENTENCES, ("embeddings",), row="word")
    assert adapt((model, Slow())).prepared(SENTENCES)[1] is None


def test_what_is_no_processor(hf_folder):
    model, tokenizer = loaded(hf_folder("bert"))
    for pair in ((model, 3), (model, tokenizer, tokenizer)):
        with pytest.raises(AdapterError, match=r"is no model with its processors; \(model, tokenizer\)"):
            adapt(pair)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "hf:./nowhere",
            r"hf:./nowhere: there is no folder './nowhere'; expected hf:FOLDER or hf:NAME\[@REVISION\]",
        ),
        ("hf:", "hf:: there is no folder ''"),
        ("hf:.@main", "hf:.@main: . is a folder, which has no revisions; write hf:."),
        ("hf:.", r"hf:. cannot be loaded: (OSError|ValueError)"),
    ],
)
def test_models_that_there_are_not(tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AdapterError, match=f"^{message}") as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_out_of_reach(monkeypatch):
    def unreachable(*_, **options):
        assert (options["revision"], options["trust_remote_code"]) == ("v1", False)
        assert "local_files_only" not in options
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", unreachable)
    with pytest.raises(
        AdapterError, match=r"^hf:some/model@v1 cannot be loaded \(and there is no folder .*connect to"
    ):
        load_model("hf:some/model@v1")


def test_transformers_is_not_installed(monkeypatch, hf_folder):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(AdapterError, match=r"needs the package transformers, .*pip install 'actstore\[hf\]'"):
        load_model(f"hf:{hf_folder('bert')}")


def test_a_model_takes_no_arguments(hf_folder):
    with pytest.raises(
        AdapterError, match="is a whole model, no function that makes one; it takes no --arg dtype"
    ):
        load_model(f"hf:{hf_folder('bert')}", {"dtype": "float16"})
