"""Texts that are empty, and texts that are longer than a model takes."""

import numpy as np
import pytest

import actstore
from actstore import TruncatedTextWarning
from actstore.errors import ActstoreError, DumpError
from actstore.models import load_model

reason = "torch or transformers is not installed: make test-frameworks"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)

LONG = " ".join(["the cat sat on a mat"] * 9)
LAYER = {"bert": "encoder.layer.1", "gpt2": "h.1"}
LIMIT = {"bert": 12, "gpt2": 32}


@pytest.fixture(params=["bert", "gpt2"])
def kind(request):
    return request.param


def by_hand(folder, text, limit):
    """Each token of the last block, of one text that is cut as transformers cuts it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    given = tokenizer([text], truncation=True, max_length=limit, return_tensors="pt")
    found = []
    block = model.encoder.layer[1] if hasattr(model, "encoder") else model.h[1]
    block.register_forward_hook(lambda _m, _i, out: found.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        model(**given)
    return found[0].reshape(-1, 16).numpy()


def test_texts_are_cut_as_transformers_cuts_them(tmp_path, hf_folder, kind):
    folder = hf_folder(kind)
    texts = ["the cat", LONG, "a dog runs"]
    with pytest.warns(
        TruncatedTextWarning, match=rf"more than the {LIMIT[kind]} tokens .* begins 'the cat sat on"
    ):
        store = actstore.dump(
            f"hf:{folder}", {"train": [texts]}, tmp_path / "s.acts", LAYER[kind], row="token", truncate=True
        )
    expected = [by_hand(folder, text, LIMIT[kind]) for text in texts]
    assert len(expected[1]) == LIMIT[kind]
    np.testing.assert_allclose(store.layers[LAYER[kind]][:], np.concatenate(expected), atol=2e-5)
    assert store.provenance["options"]["truncate"] is True


def test_lists_of_words_are_cut_and_what_is_cut_off_is_no_unknown_word(tmp_path, hf_folder, kind):
    folder = hf_folder(kind)
    words = LONG.split()
    with pytest.warns(TruncatedTextWarning):
        store = actstore.dump(
            f"hf:{folder}",
            [([words, ["a", "dog"]], None)],
            tmp_path / "s.acts",
            LAYER[kind],
            row="token",
            truncate=True,
        )
    first = store.groups == store.groups[0]
    assert first.sum() == LIMIT[kind]
    np.testing.assert_allclose(store.layers[LAYER[kind]][first], by_hand(folder, LONG, LIMIT[kind]), atol=2e-5)


def test_without_it_they_are_refused_by_their_id_with_the_cure(tmp_path, hf_folder, kind):
    with pytest.raises(
        DumpError, match=r"'train/1' has .* tokens, more than .* or cut all such texts \(--truncate\)"
    ):
        actstore.dump(
            f"hf:{hf_folder(kind)}", {"train": [["a cat", LONG]]}, tmp_path / "s.acts", LAYER[kind], pool="mean"
        )


def test_words_are_not_cut_where_each_is_a_row(tmp_path, hf_folder):
    with pytest.raises(ActstoreError, match="--truncate cuts words off, and with --row word each is a row"):
        actstore.dump(
            f"hf:{hf_folder('bert')}",
            [([LONG.split()], None)],
            tmp_path / "s.acts",
            LAYER["bert"],
            row="word",
            truncate=True,
        )


def test_texts_that_are_short_enough_are_as_without_it(tmp_path, hf_folder, kind, recwarn):
    texts = ["the cat", "a dog runs"]
    model = load_model(f"hf:{hf_folder(kind)}")
    found = [
        actstore.dump(model, {"t": [texts]}, tmp_path / f"{cut}.acts", LAYER[kind], pool="last", truncate=cut)
        for cut in (True, False)
    ]
    np.testing.assert_array_equal(*(store.layers[LAYER[kind]][:] for store in found))
    assert not [one for one in recwarn if one.category is TruncatedTextWarning]


@pytest.mark.parametrize("batch", [["", ""], ["", "the cat"], [""]], ids=["all", "some", "one"])
@pytest.mark.parametrize("how", [{"row": "token"}, {"pool": "mean"}], ids=["tokens", "pooled"])
def test_empty_texts_are_named_and_the_model_is_not_blamed(tmp_path, hf_folder, batch, how):
    """GPT-2 makes no token of them, so that a batch of nothing else has no positions."""
    data = {"t": [(["the cat sat", "a dog"], None), (batch, None)]}
    with pytest.raises(DumpError, match="row 't/2' has no real token"):
        actstore.dump(
            f"hf:{hf_folder('gpt2')}", data, tmp_path / "s.acts", LAYER["gpt2"], selfcheck=False, **how
        )


def test_empty_texts_that_have_special_tokens_are_stored(tmp_path, hf_folder):
    data = {"t": [(["", ""], None), (["the cat", ""], None)]}
    store = actstore.dump(f"hf:{hf_folder('bert')}", data, tmp_path / "s.acts", LAYER["bert"], pool="mean")
    assert store.rows == 4
