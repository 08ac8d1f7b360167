"""Labels go to the rows that their file says they are of, at every door, or are refused."""

import shutil

import numpy as np
import pandas as pd
import pytest

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import SourceError, TargetError
from actstore.labels import labels_for, place, read_file
from actstore.sources import split_data
from actstore.sources.python import RowOrderWarning
from actstore.sources.row_names import RowNamesWarning

ROWS = 20
Y = np.arange(ROWS) % 3
ORDER = np.random.default_rng(0).permutation(ROWS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Inputs `x.npy` and labels in many files."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.arange(2.0 * ROWS, dtype=np.float32).reshape(ROWS, 2))
    for name, form in (("split.csv", "train/{}"), ("plain.csv", "{}"), ("other.csv", "doc-{}")):
        lines = [f"{form.format(row)},{Y[row]},{row}" for row in ORDER]
        (tmp_path / name).write_text("\n".join(["id,y,place", *lines]) + "\n")
    (tmp_path / "counted.csv").write_text("\n".join(["id,y", *(f"{row},{Y[row]}" for row in range(ROWS))]))
    (tmp_path / "bare.csv").write_text("\n".join(["y,z", *(f"{label},0" for label in Y)]))
    return tmp_path


def targets_of(data, target):
    (item,) = split_data([data], [target])
    return np.ma.MaskedArray(item.targets["y"]).tolist()


@pytest.mark.parametrize(
    ("data", "file"),
    [
        ("train=x.npy", "split.csv"),
        ("x.npy", "plain.csv"),
        ("train=x.npy", "counted.csv"),
        ("x.npy", "counted.csv"),
        ("train=x.npy", "bare.csv"),
    ],
)
def test_labels_are_joined_where_ids_are_there_else_by_position(folder, data, file):
    assert targets_of(data, f"y={file}:y") == Y.tolist()


@pytest.mark.parametrize("file", ["plain.csv", "other.csv"])
def test_ids_of_other_rows_are_refused(folder, file):
    with pytest.raises(SourceError, match=rf"{file}:y has a column of ids, but 20 .* look like 'train/0'"):
        split_data(["train=x.npy"], [f"y={file}:y"])


def test_rows_that_the_file_leaves_out_have_no_label_and_twice_is_refused(folder):
    (folder / "some.csv").write_text("id,y\ntrain/4,1\ntrain/2,0\n")
    found = targets_of("train=x.npy", "y=some.csv:y")
    assert {row: label for row, label in enumerate(found) if label is not None} == {4: 1, 2: 0}
    (folder / "twice.csv").write_text("id,y\ntrain/4,1\ntrain/4,0\n")
    with pytest.raises(SourceError, match=r"twice.csv:y: 1 \('train/4'\) appears more than once"):
        split_data(["train=x.npy"], ["y=twice.csv:y"])


def test_ids_go_on_over_two_files_of_a_split(folder):
    for part, rows in (("a", range(ROWS)), ("b", range(ROWS, 2 * ROWS))):
        lines = [f"train/{row},{row}" for row in reversed(rows)]
        (folder / f"{part}.csv").write_text("\n".join(["id,y", *lines]))
    shutil.copy(folder / "x.npy", folder / "more.npy")
    first, second = split_data(["train=x.npy", "train=more.npy"], ["train:y=a.csv:y", "train:y=b.csv:y"])
    assert [*first.targets["y"], *second.targets["y"]] == list(range(2 * ROWS))


def test_labels_of_the_same_table_are_those_of_its_records(folder):
    """Whatever its ids: here they come twice."""
    (folder / "d.csv").write_text("id,text,y\n7,one word,3\n7,two words,4\n8,three,5\n")
    with pytest.warns(RowNamesWarning, match=r"ids of d.csv does not name its rows \(1 \('7'\)"):
        (item,) = split_data(["train=d.csv"], ["y=./d.csv:y"])
    assert (item.targets["y"].tolist(), item.row_ids) == ([3, 4, 5], None)


def test_the_ids_of_a_table_are_the_ids_of_the_store(folder):
    """Numbers in another order would else be taken for places by whoever joins labels later."""
    (folder / "d.csv").write_text("id,text\n2,two\n0,none\n1,one more\n")
    (folder / "l.csv").write_text("id,y\n0,10\n1,11\n2,12\n")
    (item,) = split_data(["d.csv"], ["y=l.csv:y"])
    assert item.targets["y"].tolist() == [12, 10, 11]
    model = lambda texts: {"out": np.array([[len(text)] for text in texts], "float32")}  # noqa: E731
    settings = DumpSettings(("out",))
    with dump(model, [item], folder / "s.acts", settings) as store:
        assert store.ids.tolist() == ["2", "0", "1"]
        assert labels_for("l.csv:y", store.ids.tolist(), "s.acts").tolist() == [12, 10, 11]
    with dump(model, split_data(["train=d.csv"]), folder / "t.acts", settings) as store:
        assert store.ids.tolist() == ["train/2", "train/0", "train/1"]
        assert split_data(["train=d.csv"], ["y=l.csv:y"])[0].targets["y"].tolist() == [12, 10, 11]


def test_ids_that_two_files_of_a_split_share_name_no_rows(folder):
    for name in ("d.csv", "e.csv"):
        (folder / name).write_text("id,text\n2,two\n0,none\n")
    with pytest.warns(RowNamesWarning, match="of split 'train' are counted instead"):
        items = split_data(["train=d.csv", "train=e.csv"])
    assert [item.row_ids for item in items] == [None, None]
    both = split_data(["train=d.csv", "test=e.csv"])
    assert [item.row_ids for item in both] == [["2", "0"], ["2", "0"]]


def test_a_series_says_whose_labels_it_has(folder):
    (folder / "s.py").write_text(
        "import numpy as np, pandas as pd\n"
        f"order = np.array({ORDER.tolist()})\n"
        "ids = pd.Series(order % 3, index=[f'train/{row}' for row in order])\n"
        "turned = pd.Series(order % 3, index=order)\n"
        f"plain = pd.Series(np.arange({ROWS}) % 3)\n"
    )
    assert targets_of("train=x.npy", "y=s.py:ids") == Y.tolist()
    assert targets_of("train=x.npy", "y=s.py:plain") == Y.tolist()
    for data in ("train=x.npy", "x.npy"):
        with pytest.raises(SourceError, match=r"s.py:turned is a pandas Series whose index is not 0, 1, 2"):
            split_data([data], ["y=s.py:turned"])


@pytest.fixture
def store(tmp_path):
    """Twenty rows without labels."""
    with actstore.create(tmp_path / "s.acts") as recording:
        recording.append({"a": np.zeros((ROWS, 2), "float32")}, splits="train")
    return actstore.open(tmp_path / "s.acts")


def test_attach_joins_a_series_by_its_index(store):
    ids = [f"train/{row}" for row in ORDER]
    store.attach("all", pd.Series(Y[ORDER], index=ids))
    store.attach("objects", pd.Series(Y[ORDER], index=pd.Index(ids, dtype=object)))
    store.attach("plain", pd.Series(Y))
    for name in ("all", "objects", "plain"):
        np.testing.assert_array_equal(store.targets[name], Y)
    store.attach("some", pd.Series(Y[ORDER], index=ids)[:5])
    assert np.flatnonzero(~store.targets["some"].mask).tolist() == sorted(ORDER[:5].tolist())
    store.attach("given", pd.Series(Y[ORDER], index=ORDER), ids=ids)  # what is said outright counts
    np.testing.assert_array_equal(store.targets["given"], Y)


@pytest.mark.parametrize(
    "index", [ORDER, range(1, ROWS + 1), [f"row {row}" for row in range(ROWS)], [f"train/{ROWS - 1}"] * ROWS]
)
def test_attach_refuses_an_index_that_is_neither_the_ids_nor_a_count(store, index):
    with pytest.raises(TargetError, match="'y'"):
        store.attach("y", pd.Series(Y, index=index))
    assert not store.targets


def test_append_joins_a_series_by_the_ids_it_is_given(tmp_path):
    ids = [f"r{row}" for row in range(ROWS)]
    rows = {"a": np.zeros((ROWS, 2), "float32")}
    with actstore.create(tmp_path / "a.acts") as recording:
        recording.append(rows, targets={"y": pd.Series(Y[ORDER], index=[f"r{row}" for row in ORDER])}, ids=ids)
    np.testing.assert_array_equal(actstore.open(tmp_path / "a.acts").targets["y"], Y)
    with (
        pytest.raises(SourceError, match="'y' is a pandas Series whose index"),
        actstore.create(tmp_path / "b.acts") as recording,
    ):
        recording.append(rows, targets={"y": pd.Series(Y, index=ORDER)})


def test_labels_for_a_store_are_joined_or_counted(folder, store):
    ids = store.ids.tolist()
    for spec in ("split.csv:y", "counted.csv:y", "bare.csv:y"):
        assert labels_for(spec, ids, "s.acts").tolist() == Y.tolist()
    for spec in ("plain.csv:y", "other.csv:y"):
        with pytest.raises(SourceError, match="has a column of ids"):
            labels_for(spec, ids, "s.acts")
    np.save("short.npy", Y[:5])
    with pytest.raises(SourceError, match=r"has 5 labels but s.acts has 20 rows"):
        labels_for("short.npy", ids, "s.acts")


class RandomSampler:
    """Called as torch's is."""


class Loader:
    """Batches as a shuffled DataLoader gives them."""

    def __init__(self, batches):
        self.batches, self.sampler = batches, RandomSampler()

    def __iter__(self):
        return iter(self.batches)


def test_a_shuffled_loader_is_warned_of_and_takes_no_labels_from_elsewhere(folder):
    (folder / "m.py").write_text(
        "import numpy as np\nclass RandomSampler: pass\n"
        "class Loader(list):\n    sampler = RandomSampler()\n"
        f"loader = Loader([(np.zeros(({ROWS}, 2), 'float32'), np.arange({ROWS}))])\n"
    )
    np.save("y.npy", Y)
    with pytest.raises(
        SourceError, match=r"m.py:loader shuffles its rows \(RandomSampler\), so labels of y.npy"
    ):
        split_data(["m.py:loader"], ["y=y.npy"])
    model = lambda x: {"out": np.asarray(x)}  # noqa: E731
    with pytest.warns(RowOrderWarning, match=r"m.py:loader shuffles its rows \(RandomSampler\)"):
        dump(model, split_data(["m.py:loader"]), folder / "a.acts", DumpSettings(("out",))).close()
    batches = Loader([(np.zeros((4, 2), "float32"), [0, 1, 0, 1])])
    with pytest.warns(RowOrderWarning), actstore.create(folder / "b.acts", ["out"]) as recording:
        recording.dump(model, batches)


@pytest.mark.parametrize("rows", [1, 4])
def test_rows_that_come_twice_are_warned_of(tmp_path, rows):
    """As two workers give them that both read all of an IterableDataset."""
    x = np.random.default_rng(0).normal(size=(ROWS, 2)).astype("float32")
    once = [x[start : start + rows] for start in range(0, ROWS, rows)]
    twice = [batch for batch in once for _ in range(2)]
    model = lambda x: {"out": x}  # noqa: E731
    with (
        pytest.warns(
            UserWarning, match="20 of 40 rows of loader list are in batches whose inputs appeared before"
        ),
        actstore.create(tmp_path / "a.acts", ["out"]) as recording,
    ):
        recording.dump(model, twice)
    with actstore.create(tmp_path / "b.acts", ["out"]) as recording:
        recording.dump(model, {"train": once, "test": once})  # another split is another matter
        recording.dump(model, np.zeros((40, 2), "float32"))  # and so are the rows of an array


def test_labels_for_rows_that_only_reading_tells(folder):
    (folder / "m.py").write_text(f"import numpy as np\nbatches = [np.zeros(({ROWS}, 2), 'float32')]\n")
    assert targets_of("train=m.py:batches", "y=counted.csv:y") == Y.tolist()
    with pytest.raises(SourceError, match="known only as they are read"):
        split_data(["train=m.py:batches"], ["y=split.csv:y"])


def test_ids_as_pandas_writes_them(folder):
    """The index of a frame that was shuffled, in a column without a name; and in another case."""
    frame = pd.DataFrame({"y": Y, "text": [f"text {row}" for row in range(ROWS)]}).iloc[ORDER]
    frame.to_csv("frame.csv")
    frame.rename_axis("ID").to_csv("upper.csv")
    for file in ("frame.csv", "upper.csv"):
        assert targets_of("x.npy", f"y={file}:y") == Y.tolist()
        with pytest.raises(SourceError, match="has a column of ids"):
            split_data(["train=x.npy"], [f"y={file}:y"])
        (item,) = split_data([f"{file}:text"], [f"y={file}:y"])
        assert item.row_ids == [str(row) for row in ORDER]
        assert item.targets["y"].tolist() == Y[ORDER].tolist()
    pd.DataFrame({"y": Y}).to_csv("plain_frame.csv")
    assert targets_of("train=x.npy", "y=plain_frame.csv:y") == Y.tolist()


@pytest.mark.parametrize("header", ["ID", "Id ", " id"])
def test_a_column_of_ids_may_be_written_with_blanks_and_capitals(folder, header):
    own = "\n".join(["ID,text", *(f"p{row},text {row}" for row in range(ROWS))])
    (folder / "own.csv").write_text(own)
    (folder / "z.csv").write_text("\n".join([f"{header},y", *(f"p{row},{Y[row]}" for row in ORDER)]))
    assert targets_of("own.csv:text", "y=z.csv:y") == Y.tolist()
    assert labels_for("z.csv:y", [f"p{row}" for row in range(ROWS)], "a store").tolist() == Y.tolist()


@pytest.mark.parametrize("header", ["prompt_id,y", "n,prompt_id,y"])
def test_ids_under_another_name_and_in_another_order_are_not_taken_by_position(folder, header):
    """The column in front counts the lines of the file, as pandas writes them."""
    ids = [f"p{row}" for row in range(ROWS)]
    (folder / "own.csv").write_text("\n".join(["id,text", *(f"{row_id},text" for row_id in ids)]))
    for order, name in ((ORDER, "z"), (range(ROWS), "same")):
        lines = [f"{line}," * header.startswith("n") + f"p{row},{Y[row]}" for line, row in enumerate(order)]
        (folder / f"{name}.csv").write_text("\n".join([header, *lines]))
    with pytest.raises(
        SourceError, match=r"its column 'prompt_id' holds names of the rows .* in another order"
    ):
        targets_of("own.csv:text", "y=z.csv:y")
    with pytest.raises(
        SourceError, match=r"its column 'prompt_id' holds names of the rows .* in another order"
    ):
        labels_for("z.csv:y", ids, "a store")
    assert targets_of("own.csv:text", "y=same.csv:y") == Y.tolist()
    assert labels_for("same.csv:y", ids, "a store").tolist() == Y.tolist()


def test_label_refuses_ids_that_stand_behind_a_column_that_counts(folder):
    ids = [f"p{row}" for row in range(ROWS)]
    lines = [f"{line},p{row},{Y[row]}" for line, row in enumerate(ORDER)]
    (folder / "z.csv").write_text("\n".join([",prompt_id,y", *lines]))
    with pytest.raises(SourceError, match="its column 'prompt_id' holds names of the rows"):
        place(read_file("z.csv", "y"), ids, "z.csv")


def test_an_index_of_ids_that_count_is_told_from_a_plain_one(tmp_path):
    """Ids 0, 1, 2, ... of rows that were shuffled, and labels of a table that was sorted by them."""
    ids = [str(row) for row in ORDER]
    table = pd.Series(Y, index=pd.Index(np.arange(ROWS), name="id"))
    with actstore.create(tmp_path / "run.acts") as store:
        store.append({"h": np.zeros((ROWS, 2))}, ids=ids, targets={"joined": table, "placed": pd.Series(Y)})
    store = actstore.open(tmp_path / "run.acts")
    assert store.targets["joined"].tolist() == Y[ORDER].tolist()
    assert store.targets["placed"].tolist() == Y.tolist()
    with pytest.raises(TargetError, match="has an index of the ids of the rows, in another order"):
        store.attach("y", table)
    store.attach("y", pd.Series(Y))
    assert store.targets["y"].tolist() == Y.tolist()
