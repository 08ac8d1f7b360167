"""Splits and groups by the name of a column or of a target."""

import json
import warnings

import numpy as np
import pytest

import actstore
from actstore.activations import Captured
from actstore.adapters import adapt
from actstore.dumping.dump import DumpSettings, dump
from actstore.dumping.plan import LoopSettings, make_plan
from actstore.dumping.reading import Reading
from actstore.dumping.rows import row_batch
from actstore.errors import DumpError, SourceError, StoreError
from actstore.exchange.export import export
from actstore.exchange.run import import_files
from actstore.sources import Batch, RowColumns, SplitData, split_data
from actstore.store.writing.pack import pack_store

ROWS = 12
FOLD = ["train", "train", "validation", "test"] * 3
PAIR = [f"p{row // 2}" for row in range(ROWS)]
TEXTS = [f"text {'x' * row}" for row in range(ROWS)]


def model(texts):
    """The length of each text, or the row itself."""
    return {"out": np.array([[len(text)] for text in texts], "float32")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The same rows as a table, as JSON and as Python's own batches."""
    monkeypatch.chdir(tmp_path)
    records = [{"text": TEXTS[row], "fold": FOLD[row], "pair": PAIR[row], "y": row % 2} for row in range(ROWS)]
    lines = [",".join(map(str, record.values())) for record in records]
    (tmp_path / "d.csv").write_text("\n".join([",".join(records[0]), *lines]) + "\n")
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "d.py").write_text(
        f"import numpy as np\nfold, pair, texts = {FOLD}, {PAIR}, {TEXTS}\n"
        "labels = lambda rows: {'fold': fold[rows], 'pair': pair[rows], 'y': np.arange(12)[rows] % 2}\n"
        "batches = [(texts[rows], labels(rows)) for rows in (slice(0, 5), slice(5, 12))]\n"
    )
    (tmp_path / "d.txt").write_text("".join(text + "\n" for text in TEXTS))
    np.save("fold.npy", FOLD)
    np.save("pair.npy", PAIR)
    return tmp_path


DATA = {
    "csv": (["d.csv"], ["y=d.csv:y"]),
    "jsonl": (["d.jsonl:text"], ["y=d.jsonl:y"]),
    "batches": (["d.py:batches"], []),
    "targets": (["d.txt"], ["fold=fold.npy", "pair=pair.npy"]),
}


def dumped(path, data, columns, **settings):
    return dump(model, split_data(*data, columns), path, DumpSettings(("out",), 5, **settings))


@pytest.mark.parametrize("kind", DATA)
def test_splits_and_groups_of_examples(folder, kind):
    with dumped(folder / "s.acts", DATA[kind], RowColumns("fold", "pair")) as store:
        assert store.splits.tolist() == FOLD
        assert store.groups.tolist() == PAIR
        assert store.positions is None
        assert store.ids.tolist() == [str(row) for row in range(ROWS)]
        assert store.layers["out"][:].ravel().tolist() == [len(text) for text in TEXTS]
        assert (store.provenance["split_by"], store.provenance["group_by"]) == ("fold", "pair")
    assert not actstore.verify(folder / "s.acts").damages


def test_a_sample_a_limit_and_another_batch_size_change_nothing(folder):
    with dumped(folder / "s.acts", DATA["csv"], RowColumns("fold", "pair"), limit=9, sample=0.6) as store:
        rows = [int(row_id) for row_id in store.ids]
        assert len(rows) < 9
        assert store.splits.tolist() == [FOLD[row] for row in rows]
        assert store.groups.tolist() == [PAIR[row] for row in rows]


def test_ranks_have_the_groups_of_their_rows(folder):
    for rank in (0, 1):
        settings = {"rank": rank, "world_size": 2}
        dumped(folder / "s.acts", DATA["csv"], RowColumns("fold", "pair"), **settings).close()
    with actstore.open(folder / "s.acts") as store:
        assert (store.splits.tolist(), store.groups.tolist()) == (FOLD, PAIR)


def test_a_store_that_is_packed_or_exported_keeps_groups_without_positions(folder):
    dumped(folder / "s.h5", DATA["csv"], RowColumns("fold", "pair")).close()
    dumped(folder / "s.acts", DATA["csv"], RowColumns("fold", "pair")).close()
    with actstore.open(folder / "s.acts") as store:
        export(store, ["out"], folder / "e.npz")
    pack_store(folder / "s.acts", folder / "p.h5")
    import_files([f"{folder}/e.npz"], folder / "i.acts").close()
    for name in ("s.h5", "p.h5", "i.acts"):
        with actstore.open(folder / name) as store:
            assert (store.groups.tolist(), store.splits.tolist(), store.positions) == (PAIR, FOLD, None)


def test_what_was_said_of_rows_is_part_of_what_a_dump_is_resumed_with(folder):
    """The hash that `--resume` compares: other groups are other labels."""

    def seen(columns):
        reading = Reading()
        data, settings = split_data(*DATA["csv"], columns), LoopSettings(("out",), 5)
        return list(reading.batches(make_plan(adapt(model), data, settings, reading.ids)))[-1].seen

    assert seen(RowColumns("fold", "pair")) == seen(RowColumns("fold", "pair"))
    marks = [seen(RowColumns(*names)) for names in ((), ("fold",), (None, "pair"), (None, "y"), ("y", "fold"))]
    assert len({mark.targets for mark in marks}) == len(marks)
    assert len({mark.inputs for mark in marks}) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            RowColumns("fild"),
            r"--split-by 'fild' of d.csv: there is no such column or target; the nearest: 'fold'",
        ),
        (RowColumns(None, "zzz"), r"--group-by 'zzz' of d.csv: .* there are: 'text', 'fold', 'pair', 'y'"),
    ],
)
def test_a_column_that_is_not_there_is_named(folder, columns, message):
    with pytest.raises(SourceError, match=message):
        dumped(folder / "s.acts", DATA["csv"], columns)
    assert not (folder / "s.acts").exists()


def test_a_row_without_a_split_or_a_group_is_refused_before_anything_runs(folder):
    (folder / "g.csv").write_text("text,fold,pair\nhello there,train,1\nwhat,,2\nis,test,\n")
    with pytest.raises(SourceError, match=r"--split-by 'fold' of g.csv:text: row 1 has no split"):
        split_data(["g.csv:text"], (), RowColumns("fold"))
    with pytest.raises(SourceError, match=r"--group-by 'pair' of g.csv:text: row 2 has no group"):
        split_data(["g.csv:text"], (), RowColumns(None, "pair"))


def test_splits_are_named_once(folder):
    with pytest.raises(SourceError, match="the data has the split of 'train' already; keep one of them"):
        split_data(["train=d.csv"], (), RowColumns("fold"))
    with (
        pytest.raises(SourceError, match="already; keep one"),
        actstore.create(folder / "s.acts", ["out"]) as recording,
    ):
        recording.dump(model, {"train": [(TEXTS, {"fold": FOLD})]}, split_by="fold")


def test_in_python_likewise(folder):
    batches = [
        (TEXTS[:5], {"fold": FOLD[:5], "pair": np.arange(5) // 2}),
        (TEXTS[5:], {"fold": FOLD[5:], "pair": np.arange(5, 12) // 2}),
    ]
    with actstore.create(folder / "s.acts", ["out"]) as recording:
        recording.dump(model, batches, split_by="fold", group_by="pair")
    with actstore.open(folder / "s.acts") as store:
        assert store.splits.tolist() == FOLD
        assert store.groups.tolist() == [str(row // 2) for row in range(ROWS)]
        assert store.targets["pair"].tolist() == [row // 2 for row in range(ROWS)]


def test_append_takes_groups(tmp_path):
    rows = {"a": np.zeros((4, 2), "float32")}
    with actstore.create(tmp_path / "a.acts") as recording:
        recording.append(rows, groups=[0, 0, 1, 1], splits=["train", "train", "dev", "dev"])
        recording.append(rows, groups=["x", "x", "y", "y"])
    assert actstore.open(tmp_path / "a.acts").groups.tolist() == ["0", "0", "1", "1", "x", "x", "y", "y"]
    for groups, error, message in (
        ([0, 0, 1], DumpError, "4 rows of activations come with 3 groups; expected one per row"),
        ([0, None, 1, 1], SourceError, "row 1 has no group"),
    ):
        with pytest.raises(error, match=message), actstore.create(tmp_path / "b.acts") as recording:
            recording.append(rows, groups=groups)
    with (
        pytest.raises(SourceError, match="row 2 has no split"),
        actstore.create(tmp_path / "b.acts") as recording,
    ):
        recording.append(rows, splits=["a", "b", None, "a"])
    recording = actstore.create(tmp_path / "c.acts")
    recording.append(rows, groups=[0, 0, 1, 1])
    with pytest.raises(StoreError, match="comes without groups"):
        recording.append(rows)


SENTENCE = "1\tOne\t_\tNUM\t_\t_\t2\tx\t_\t_\n2\ttwo\t_\tNOUN\t_\t_\t0\troot\t_\t_\n\n"
TREEBANK = (
    "# newdoc id = A\n# sent_id = 1\n# speaker = s\n"
    + SENTENCE
    + "# just a note\n# speaker = t\n"
    + SENTENCE
    + "# newdoc\n# newpar\n# speaker = s\n# fold = dev\n"
    + SENTENCE
)


def test_the_comments_of_a_treebank(tmp_path):
    (tmp_path / "t.conllu").write_text(TREEBANK)
    (item,) = split_data([f"{tmp_path}/t.conllu"])
    said = {name: item.source.column(name).tolist() for name in item.source.columns}
    assert said == {
        "newdoc": ["A", "A", "newdoc 2"],
        "newpar": [None, None, "newpar 1"],
        "sent_id": ["1", None, None],
        "speaker": ["s", "t", "s"],
        "fold": [None, None, "dev"],
    }
    assert item.source.column("upos") is None
    with pytest.raises(SourceError, match=r"--split-by 'fold' of .*t.conllu: row 0 has no split"):
        split_data([f"{tmp_path}/t.conllu"], (), RowColumns("fold"))


class Sentences:
    """Named in messages, never read."""

    spec, rows, row_unit = "sentences", 2, "word"


def test_words_keep_their_sentence_as_group_and_the_wider_one_is_a_target(tmp_path):
    columns = RowColumns("fold", "speaker")
    batch = Batch(
        ["ab", "c"], 2, {"y": np.array([1, 0])}, splits=np.array(["u", "v"]), groups=np.array(["s", "s"])
    )

    class Rows:
        spots = type("Spots", (), {"examples": np.array([0, 0, 1]), "positions": np.array([0, 1, 0])})

        def __len__(self):
            return 3

    item = SplitData("", Sentences(), columns=columns)
    layers = {"a": Captured(np.zeros((3, 2), "float32"), "float32", ("feature",))}
    found = row_batch(layers, batch, ["0", "1"], item, Rows())
    assert list(found.ids) == ["0/0", "0/1", "1/0"]
    assert list(found.groups) == ["0", "0", "1"]
    assert list(found.splits) == ["u", "u", "v"]
    assert {name: values.tolist() for name, values in found.targets.items()} == {
        "y": [1, 1, 0],
        "speaker": ["s", "s", "s"],
    }


def test_a_target_of_words_that_is_one_per_sentence(tmp_path):
    batch = Batch(["a b", "c"], 2, {"speaker": np.array(["s", "s", "t"])}, words=np.array([2, 1]))
    source = Sentences()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RowColumns(None, "speaker").complete(batch, source).groups.tolist() == ["s", "t"]
    batch = Batch(["a b", "c"], 2, {"tag": np.array(["x", "y", "x"])}, words=np.array([2, 1]))
    with pytest.raises(SourceError, match="differs between the words of a sentence"):
        RowColumns("tag").complete(batch, source)


def test_a_dump_of_tokens_keeps_both(tmp_path):
    ids = np.arange(12).reshape(4, 3)
    batches = [
        (
            {"input_ids": ids, "attention_mask": np.ones_like(ids)},
            {"speaker": [7, 7, 8, 8], "fold": list("aabb")},
        )
    ]
    network = lambda batch: {"out": np.repeat(batch["input_ids"][..., None], 2, 2).astype("float32")}  # noqa: E731
    with actstore.create(tmp_path / "t.acts", ["out"], row="token") as recording:
        recording.dump(network, batches, split_by="fold", group_by="speaker")
    with actstore.open(tmp_path / "t.acts") as store:
        assert store.groups.tolist() == [str(example) for example in range(4) for _ in range(3)]
        assert store.positions.tolist() == [0, 1, 2] * 4
        assert store.splits.tolist() == ["a"] * 6 + ["b"] * 6
        assert store.targets["speaker"].tolist() == [7] * 6 + [8] * 6
        assert store.provenance["group_by"] == "speaker"
