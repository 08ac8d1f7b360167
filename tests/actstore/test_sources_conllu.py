"""Treebanks as inputs: sentences of words, with the labels of every word."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.sources import RowChoice, read_labels, split_data
from actstore.sources.base import SlicedSource

EWT = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ewt"

BANK = """\
# sent_id = one
# text = She don't see it
1\tShe\tshe\tPRON\tPRP\tCase=Nom|Number=Sing\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\tMood=Ind\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\tsee\tsee\tVERB\tVB\tVerbForm=Inf\t0\troot\t_\tSpaceAfter=No
4.1\tsaw\tsee\tVERB\tVB\t_\t_\t_\t0:root\t_
5\tit\tit\tPRON\tPRP\tCase=Acc|Number=Sing\t4\tobj\t_\t_

# sent_id = two
1\t_\t_\tSYM\t_\t_\t0\troot\t_\t_

1\tRun\trun\tVERB\tVB\t_\t0\troot\t_\t_
2\taway\taway\tADV\tRB\tDegree=Pos|Number[psor]=Plur\t1\tcompound:prt\t_\t_
"""
SENTENCES = [["She", "do", "n't", "see", "it"], ["_"], ["Run", "away"]]
LABELS = {
    "upos": ["PRON", "AUX", "PART", "VERB", "PRON", "SYM", "VERB", "ADV"],
    "xpos": ["PRP", "VBP", "RB", "VB", "PRP", None, "VB", "RB"],
    "deprel": ["nsubj", "aux", "advmod", "root", "obj", "root", "root", "compound:prt"],
    "head_distance": [3, 2, 1, 0, -1, 0, 0, -1],
}


@pytest.fixture
def bank(tmp_path):
    """Writes a treebank; gives its SPEC."""

    def write(text=BANK, name="bank.conllu"):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return str(tmp_path / name)

    return write


def take(spec, *places):
    (item,) = split_data([spec])
    with item.source.slicing() as taking:
        return taking(np.array(places))


@pytest.mark.parametrize("name", ["bank.conllu", "bank.conllu.gz"])
@pytest.mark.parametrize(
    "text",
    [BANK, BANK + "\n", BANK.replace("\n", "\r\n"), "\ufeff" + BANK, "\n# nothing\n\n" + BANK + "\n\n"],
    ids=["plain", "ended", "crlf", "bom", "blank lines"],
)
def test_sentences_are_examples_and_words_are_rows(bank, name, text):
    batch = take(bank(text, name), 0, 1, 2)
    assert (batch.inputs, batch.rows, batch.words.tolist()) == (SENTENCES, 3, [5, 1, 2])
    assert batch.words.dtype == np.int64
    assert {name: labels.tolist() for name, labels in batch.targets.items()} == LABELS


def test_any_sentences_can_be_read_without_the_others(bank):
    (item,) = split_data([bank()])
    assert isinstance(item.source, SlicedSource)
    assert (item.source.rows, item.source.row_unit) == (3, "word")
    assert item.source.word_counts.tolist() == [5, 1, 2]
    batch = take(bank(), 0, 2)
    assert (batch.inputs, batch.words.tolist()) == ([SENTENCES[0], SENTENCES[2]], [5, 2])
    for name, labels in batch.targets.items():
        assert labels.tolist() == LABELS[name][:5] + LABELS[name][6:]
    assert [batch.inputs for batch in item.batches(2, RowChoice())] == [SENTENCES[:2], SENTENCES[2:]]


def test_writing_into_a_batch_changes_nothing(bank):
    (item,) = split_data([bank()])
    with item.source.slicing() as taking:
        batch = taking(np.array([0]))
        batch.inputs[0][0] = "changed"
        batch.targets["upos"][0] = "changed"
        again = taking(np.array([0]))
    assert again.inputs == SENTENCES[:1]
    assert again.targets["upos"].tolist() == LABELS["upos"][:5]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        *LABELS.items(),
        ("Case", ["Nom", None, None, None, "Acc", None, None, None]),
        ("Number", ["Sing", None, None, None, "Sing", None, None, None]),
        ("Number[psor]", [None] * 7 + ["Plur"]),
    ],
)
def test_labels_by_name(bank, name, labels):
    found = read_labels(f"{bank()}:{name}")
    assert found.tolist() == labels
    assert found.mask.tolist() == [label is None for label in labels]


def test_a_column_without_labels_is_unlabelled(bank):
    batch = take(bank("1\tone\t_\t_\t_\t_\t_\t_\t_\t_\n"), 0)
    assert {name: labels.tolist() for name, labels in batch.targets.items()} == {
        name: [None] for name in LABELS
    }


WORD = "1\tone\t_\t_\t_\t_\t0\t_\t_\t_\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 one\n", r"line 1: 1 columns, expected 10, separated by tabs; mend the file \(CoNLL-U\)"),
        (WORD + WORD, r"line 2: word 1, expected word 2 of the sentence \(a blank line ends a"),
        (WORD.replace("1", "2"), "line 1: word 2, expected word 1 of the sentence"),
        (WORD.replace("1", "one"), "line 1: the ID 'one', expected 1, 1-2 or 1.1"),
        (WORD.replace("1", "01"), "line 1: the ID '01'"),
        (WORD.replace("one", ""), "line 1: word without a FORM"),
        (WORD.replace("\t0\t", "\t1\t"), "line 1: the HEAD '1', expected 0, _ or another word's ID"),
        (WORD.replace("\t0\t", "\t-1\t"), "line 1: the HEAD '-1'"),
        (WORD.replace("\t0\t", "\t\t"), "line 1: the HEAD ''"),
        ("# c\n" + WORD.replace("\t0\t", "\t7\t") + "\n" + WORD, "line 2: the sentence that ends here has 1 words, b"),
        (WORD.replace("\t0\t", "\t7\t"), "line 1: the sentence that ends here has 1 words, but a HEAD is 7"),
        ("# only a comment\n\n", "has no words; expected sentences in the CoNLL-U format"),
        ("", "has no words"),
        (WORD.replace("one", "é").encode("latin-1"), r"cannot be read as CoNLL-U \(UTF-8\): .*invalid continuation"),
    ],
)  # fmt: skip
def test_what_is_no_treebank_is_refused(bank, text, message):
    with pytest.raises(SourceError, match=rf"bank.conllu,? {message}") as caught:
        split_data([bank(text)])
    assert "\n" not in str(caught.value)


def test_files_that_can_not_be_read_are_named(bank, tmp_path):
    with pytest.raises(SourceError, match=r"there is no file .*none.conllu"):
        split_data([f"{tmp_path}/none.conllu"])
    whole = Path(bank(name="whole.conllu.gz")).read_bytes()
    (tmp_path / "cut.conllu.gz").write_bytes(whole[:-20])
    (tmp_path / "plain.conllu.gz").write_text(BANK)
    with pytest.raises(SourceError, match=r"cut.conllu.gz cannot be unpacked \(gzip\): "):
        split_data([f"{tmp_path}/cut.conllu.gz"])
    split_data([f"{tmp_path}/plain.conllu.gz"])  # told by its bytes, not by its name


def test_names_that_are_not_there_say_which_are(bank):
    with pytest.raises(SourceError, match=r"bank.conllu has no 'Cases'; the nearest: 'Case'"):
        read_labels(f"{bank()}:Cases")
    with pytest.raises(SourceError, match=r"does not say which labels: FILE.conllu:NAME; there are: 'upos', "):
        read_labels(bank())
    with pytest.raises(
        SourceError, match=r"bank.conllu:upos names labels; data is the words of .*bank.conllu, labels"
    ):
        split_data([f"{bank()}:upos"])
    (item,) = split_data([bank()])
    with pytest.raises(SourceError, match=r"bank.conllu holds sentences; expected an array"):
        item.source.opened()


@pytest.mark.skipif(not EWT.is_dir(), reason="the EWT treebank is not beside the repository")
@pytest.mark.parametrize(("split", "sentences", "words"), [("dev", 2_001, 25_147), ("test", 2_077, 25_094)])
def test_a_real_treebank_has_the_words_it_is_known_to_have(split, sentences, words):
    (item,) = split_data([f"{EWT}/{split}.conllu.gz"])
    batches = list(item.batches(500, RowChoice()))
    with item.source.slicing() as taking:
        whole = taking(np.arange(sentences))
    assert (item.source.rows, int(whole.words.sum())) == (sentences, words)
    assert sum(len(sentence) for batch in batches for sentence in batch.inputs) == words
    assert len(set(whole.targets["upos"].tolist())) == 17
    # One root to each sentence, as the format demands of dependency trees.
    assert int((whole.targets["head_distance"] == 0).sum()) == sentences
    assert len(read_labels(f"{EWT}/{split}.conllu.gz:Number")) == words
