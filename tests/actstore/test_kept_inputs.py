"""What of the inputs a store keeps: texts as a target, thumbnails as a layer, and which targets come by name alone."""

import numpy as np
import pytest

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import ActstoreError, DumpError, SourceError
from actstore.reductions import ReductionSettings
from actstore.reductions.kept_inputs import kept_texts, thumbnails
from actstore.sources import split_data

TREEBANK = """# fold = dev
1\tThe\tthe\tDET\t_\t_\t2\tdet\t_\t_
2\tcats\tcat\tNOUN\t_\t_\t3\tnsubj\t_\t_
3\tsat\tsit\tVERB\t_\t_\t0\troot\t_\t_

1\t_\t_\tSYM\t_\t_\t2\tdep\t_\t_
2\tnone\t-\tNOUN\t_\t_\t0\troot\t_\t_

"""


def lengths(texts):
    """A model of texts, or of lists of words."""
    return {"hidden": np.array([[len(text), 1.0] for text in texts], "float32")}


def tokens(batch):
    """A model of token numbers."""
    return {"hidden": np.asarray(batch["input_ids"])[..., None].astype("float32")}


def made(tmp_path, model, specs, targets=(), name="o.acts", **settings):
    data = split_data([str(spec) for spec in specs], targets)
    return dump(model, data, tmp_path / name, DumpSettings(("hidden",), batch_size=2, **settings))


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "x.txt").write_text("one\n\nthree words here\none\n" + "long " * 300 + "\n")
    return tmp_path / "x.txt"


@pytest.mark.parametrize("name", ["o.acts", "o.h5"])
def test_texts_are_kept_and_say_so(tmp_path, texts, name):
    with made(tmp_path, lengths, [texts], name=name, keep_input="text") as store:
        kept = store.inputs_kept
        assert kept[:4].tolist() == ["one", "", "three words here", "one"]
        assert (len(kept[4]), kept[4][-1]) == (1000, "…")
        assert store.provenance["kept_input"]["kind"] == "text"
        assert "input_text" in store.targets
    with made(tmp_path, lengths, [texts], name=f"plain-{name}") as store:
        assert store.inputs_kept is None
        assert not store.targets


def test_what_cannot_be_stored_of_a_text_is_replaced():
    assert kept_texts(["a\0b", "\ud800c", ["two", "words"][0]]).tolist() == ["a\ufffdb", "?c", "two"]
    assert kept_texts([["two", "words"], ["one"]]).tolist() == ["two words", "one"]


def test_images_are_made_small(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 70, 50, 3), np.uint8)
    np.save(tmp_path / "x.npy", images)

    def net(batch):
        return {"hidden": np.asarray(batch).reshape(len(batch), -1)[:, :4].astype("f4")}

    with made(tmp_path, net, [tmp_path / "x.npy"], keep_input="thumbnail") as store:
        kept = store.inputs_kept
        assert (kept.shape, kept.dtype) == ((5, 24, 17, 3), np.uint8)
        np.testing.assert_array_equal(kept[:], thumbnails(images))
        assert [*store.layers] == ["hidden", "input_thumbnail"]
    first = images[:, :3, :3].astype(float).mean(axis=(1, 2))
    np.testing.assert_array_equal(thumbnails(images)[:, 0, 0], np.round(first))
    last = images[:, 69:, 48:].astype(float).mean(axis=(1, 2))
    np.testing.assert_array_equal(thumbnails(images)[:, -1, -1], np.round(last))
    small = images[:, :8, :8, 0]
    np.testing.assert_array_equal(thumbnails(small), small[..., None])


def test_what_is_no_text_or_image_is_refused_before_the_first_row(tmp_path, texts):
    np.save(tmp_path / "x.npy", np.zeros((4, 3), "f4"))
    for model, spec, kind, message in (
        (lengths, texts, "thumbnail", "--keep-input thumbnail keeps images, .*but the data gives list"),
        (
            lambda x: {"hidden": x},
            tmp_path / "x.npy",
            "text",
            "--keep-input text keeps texts, but the data gives",
        ),
        (lambda x: {"hidden": x}, tmp_path / "x.npy", "thumbnail", "keeps images"),
    ):
        with pytest.raises(SourceError, match=message):
            made(tmp_path, model, [spec], keep_input=kind)
        assert not (tmp_path / "o.acts").exists()
    with pytest.raises(DumpError, match="keep_input is 'picture'; expected text or thumbnail"):
        DumpSettings(("hidden",), keep_input="picture")


def test_a_name_that_is_taken_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("text,input_text\na,1\nb,2\n")
    with pytest.raises(SourceError, match="is stored as 'input_text', and the data or the model has that name"):
        made(
            tmp_path,
            lengths,
            [tmp_path / "x.csv"],
            [f"input_text={tmp_path}/x.csv:input_text"],
            keep_input="text",
        )


def test_a_dump_is_resumed_with_the_same_inputs_kept(tmp_path, texts):
    class Stop(Exception):  # noqa: N818
        pass

    calls = []

    def dies(batch):
        calls.append(batch)
        if len(calls) > 1 and len(batch) == 2 and batch[0] == "three words here":
            raise Stop
        return lengths(batch)

    dies.fingerprint = lengths.fingerprint = "same"
    try:
        with pytest.raises((Stop, ActstoreError)):
            made(tmp_path, dies, [texts], keep_input="text", selfcheck=False)
        if (tmp_path / "o.acts").exists():
            with pytest.raises(ActstoreError, match="keep_input"):
                made(tmp_path, lengths, [texts], resume=True, selfcheck=False)
        with made(tmp_path, lengths, [texts], keep_input="text", resume=True, selfcheck=False) as store:
            assert store.inputs_kept[2] == "three words here"
    finally:
        del lengths.fingerprint


# -- targets by name alone


def test_the_words_of_a_treebank_are_targets_where_they_are_asked_for(tmp_path):
    (tmp_path / "x.conllu").write_text(TREEBANK)
    spec = f"{tmp_path}/x.conllu"
    (item,) = split_data([spec], ["form", "lemma"])
    assert item.targets["form"].tolist() == ["The", "cats", "sat", "_", "none"]
    assert item.targets["lemma"].tolist() == ["the", "cat", "sit", "_", "-"]
    with pytest.warns(UserWarning, match="target 'mine' has the class 'none'"):  # of any target but those
        (item,) = split_data([spec], [f"mine={spec}:form"])
    assert item.targets["mine"].tolist() == ["The", "cats", "sat", "_", "none"]
    (item,) = split_data([spec])
    assert not item.targets
    (item,) = split_data([spec], ["upos", "form"])  # the first comes along anyway
    assert [*item.targets] == ["form"]
    (item,) = split_data([f"a={spec}"], ["a:form"])
    assert [*item.targets] == ["form"]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            ["from"],
            "target 'from' was given without =SPEC, and .*x.conllu offers 'form', 'lemma'; write --target from=SPEC",
        ),
        (["b:form"], "target 'form' was given without =SPEC, and split 'b', which no data has, offers none"),
    ],
)
def test_a_target_that_is_not_offered_is_refused(tmp_path, targets, message):
    (tmp_path / "x.conllu").write_text(TREEBANK)
    with pytest.raises(SourceError, match=message):
        split_data([f"a={tmp_path}/x.conllu"], targets)


def test_the_token_of_each_row_is_a_target(tmp_path):
    batches = [
        {"input_ids": np.array([[5, 7, 0], [5, 5, 9]]), "attention_mask": np.array([[1, 1, 0], [1, 1, 1]])}
    ]
    (tmp_path / "b.py").write_text(
        f"import numpy as np\nfrom numpy import array\nbatches = [({batches[0]!r}, array([3, 4]))]\n"
    )
    with made(tmp_path, tokens, [f"{tmp_path}/b.py:batches"], ["token"], row="token") as store:
        assert store.targets["token"].tolist() == [5, 7, 5, 5, 9]
        assert store.targets["label"].tolist() == [3, 3, 4, 4, 4]
        np.testing.assert_array_equal(store.layers["hidden"][:][:, 0], store.targets["token"])
    with pytest.raises(SourceError, match="--target token is the token of each row, and a row is one example"):
        made(
            tmp_path,
            tokens,
            [f"{tmp_path}/b.py:batches"],
            ["token"],
            name="p.acts",
            reductions=ReductionSettings(pool=("last",)),
        )


def test_the_token_of_inputs_without_tokens_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 2), "f4"))
    with pytest.raises(SourceError, match="--target token needs inputs with input_ids"):
        made(
            tmp_path,
            lambda x: {"hidden": x},
            [tmp_path / "x.npy"],
            ["token"],
            row="token",
            axes=("hidden=position,feature",),
        )


def test_texts_are_kept_at_each_token_and_word(tmp_path):
    (tmp_path / "x.txt").write_text("ab c\nabc\n")

    def letters(texts):
        width = max(map(len, texts))
        return {"hidden": np.array([[[ord(one)] for one in text.ljust(width)] for text in texts], "f4")}

    with made(
        tmp_path,
        letters,
        [tmp_path / "x.txt"],
        row="token",
        axes=("hidden=position,feature",),
        keep_input="text",
        selfcheck=False,
    ) as store:
        assert store.inputs_kept.tolist() == ["ab c"] * 4 + ["abc"] * 4
        assert actstore.open(tmp_path / "o.acts").inputs_kept.tolist() == store.inputs_kept.tolist()


def test_python_says_what_the_command_line_says(tmp_path):
    with actstore.create(tmp_path / "o.acts", ["hidden"], keep_input="text") as store:
        store.dump(lengths, [["a b", "c"]])
    assert actstore.open(tmp_path / "o.acts").inputs_kept.tolist() == ["a b", "c"]
    with pytest.raises(DumpError, match="keep_input is 'texts'; expected text or thumbnail"):
        actstore.create(tmp_path / "p.acts", ["hidden"], keep_input="texts")


def test_a_target_called_token_already_is_refused(tmp_path):
    (tmp_path / "b.py").write_text(
        "from numpy import array\nbatches = [({'input_ids': array([[5, 7], [5, 9]])}, {'token': array([3, 4])})]\n"
    )
    with pytest.raises(SourceError, match="and the data has a target of that name; rename it"):
        made(tmp_path, tokens, [f"{tmp_path}/b.py:batches"], ["token"], row="token")


def test_every_step_has_what_was_kept(tmp_path):
    with actstore.create(tmp_path / "o.acts", ["hidden"], keep_input="text") as store:
        store.dump(lengths, [["a b", "c"]], step=1)
        store.dump(lambda texts: {"hidden": lengths(texts)["hidden"] * 2}, [["a b", "c"]], step=2)
    opened = actstore.open(tmp_path / "o.acts")
    assert opened.at(1).inputs_kept.tolist() == opened.at(2).inputs_kept.tolist() == ["a b", "c"]
    assert opened.inputs_kept.tolist() == ["a b", "c"]
