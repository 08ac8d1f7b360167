"""What Python users call: keywords in the words of the command line, data and labels as they have them, progress."""

import inspect
import io
import pickle
import sys
import time

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score, train_test_split

import actstore
from actstore.dumping.dump import DumpSettings
from cli.store.dump import dump as dump_command
from solvers import LogisticProbe

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = np.arange(40) % 2
NOT_IN_DUMP = {
    "data": "data, which may be SPECs",
    "output": "out",
    "patterns": "layers",
    "arguments": "actstore.load_model(spec, arguments)",
    "weights": "actstore.load_model(spec, weights=)",
    "sample": "sample_rows",
    "help": "help(actstore.dump)",
    "json": "what dump gives is the store",
    "debug": "an error has its traceback",
}
NOT_IN_CREATE = NOT_IN_DUMP | {
    "skip_bad": "actstore.dump: what is left out is found before the first row, which store.dump has not the time for",
    "rank": "actstore.dump: a rank's share is of all the data",
    "world_size": "actstore.dump",
}


def model(batch):
    return {"double": 2 * batch, "grid": np.repeat(batch[:, :, None], 4, 2), "half": batch / 2}


def test_every_option_of_the_command_is_a_keyword():
    options = {option.name for option in dump_command.params}
    dump = set(inspect.signature(actstore.dump).parameters)
    assert {name for name in options - dump if name not in NOT_IN_DUMP} == {"targets"} - dump
    create = set(inspect.signature(actstore.create).parameters)
    create |= set(inspect.signature(actstore.Recording.dump).parameters)
    assert options - create - set(NOT_IN_CREATE) == set()
    assert {"sample_rows", "layers", "out"} <= dump
    named = {name for name in (*NOT_IN_DUMP, *NOT_IN_CREATE) if name not in options}
    assert named <= {"help", "json", "debug"}, "exceptions for options that there are not"


def test_every_keyword_has_the_default_of_the_settings():
    given = inspect.signature(actstore.dump).parameters
    for name, default in vars(DumpSettings(("*",))).items():
        if name in given and name not in ("layers", "reductions"):
            assert given[name].default == default, name
    for name, default in vars(actstore.Reductions()).items():
        assert given[name].default == default, name


@pytest.mark.parametrize(
    ("keywords", "shapes", "dtypes"),
    [
        ({"pool": {"grid": "mean"}}, {"grid": (3,)}, {"grid": "float32"}),
        ({"pool": ["grid=max"], "dtype": "float16"}, {"grid": (3,)}, {"grid": "float16", "double": "float16"}),
        ({"pool": "grid=mean"}, {"grid": (3,)}, {}),
        ({"random_features": 2, "seed": 3}, {"grid": (2,), "double": (2,)}, {}),
        ({"random_projection": 2}, {"grid": (2,), "half": (2,)}, {}),
        ({"reductions": actstore.Reductions(pool="grid=mean")}, {"grid": (3,)}, {}),
        ({"sample_rows": 0.5, "limit": 30}, {}, {}),
        ({"exclude_layers": "gr*"}, {"double": (3,)}, {}),
    ],
)
@pytest.mark.parametrize("door", ["dump", "create"])
def test_keywords_do_what_the_settings_do(tmp_path, door, keywords, shapes, dtypes):
    axes = {"grid": ("channel", "position")}
    if door == "dump":
        store = actstore.dump(model, X, tmp_path / "a.h5", "**", axes=axes, **keywords)
    else:
        recording = actstore.create(tmp_path / "a.h5", "**", axes=axes, **keywords)
        recording.dump(model, X)
        store = recording.close()
    assert {name: store.layers[name].shape[1:] for name in shapes} == shapes
    assert {name: store.layers[name].stored_dtype for name in dtypes} == dtypes
    assert ("grid" in store.layers) != ("exclude_layers" in keywords)
    assert (store.rows < 30) == ("limit" in keywords)
    settings = DumpSettings(("**",), axes=("grid=channel,position",), **_settings(keywords))
    from actstore.dumping.dump import dump
    from actstore.sources.python import from_object

    same = dump(model, [actstore.SplitData("", from_object(X, "x"))], tmp_path / "b.h5", settings)
    assert same.ids.tolist() == store.ids.tolist()
    for name in store.layers:
        np.testing.assert_array_equal(store.layers[name][:], same.layers[name][:], strict=True)


def _settings(keywords):
    reduced = ("pool", "random_features", "random_projection", "dtype", "seed")
    apart = {name: keywords[name] for name in reduced if name in keywords}
    pool = apart.get("pool")
    if isinstance(pool, dict):
        apart["pool"] = tuple(f"{pattern}={how}" for pattern, how in pool.items())
    settings = {"reductions": keywords.get("reductions") or actstore.Reductions(**apart)}
    return (
        settings
        | {
            {"sample_rows": "sample"}.get(name, name): value
            for name, value in keywords.items()
            if name in ("limit", "sample_rows")
        }
        | ({"exclude_layers": (keywords["exclude_layers"],)} if "exclude_layers" in keywords else {})
    )


WRONG = [
    ({"pol": "mean"}, TypeError, r"dump\(\) got an unexpected keyword 'pol'; did you mean 'pool'\?"),
    ({"Dtype": "float16"}, TypeError, "did you mean 'dtype'"),
    ({"pool": "avg"}, actstore.DumpError, "pool 'avg' is not of the form"),
    ({"pool": 3}, actstore.DumpError, "pool holds 3; expected text, such as 'mean'"),
    ({"pool": {"grid": "avg"}}, actstore.DumpError, "pool 'grid=avg' is not of the form"),
    (
        {"pool": "mean", "reductions": actstore.Reductions()},
        actstore.DumpError,
        "reductions and pool were given",
    ),
    ({"reductions": "mean"}, actstore.DumpError, "expected actstore.Reductions"),
    ({"dtype": "f16"}, actstore.DumpError, "dtype 'f16' is none to cast to"),
    ({"progress": 3}, TypeError, "progress is 3; expected True, False"),
    ({"layers": ["double", 3]}, actstore.DumpError, "layers holds 3; expected text"),
    ({"layers": ()}, actstore.DumpError, "layers is missing: which are to be stored"),
    ({"layers": "dubble"}, actstore.LayerError, "no layer matches 'dubble'; the nearest: 'double'"),
    ({"data": (X, Y)}, actstore.SourceError, r"a tuple of arrays \(40, 3\) and \(40,\) was given as data"),
    ({"data": {}}, actstore.SourceError, "data are an empty mapping"),
    ({"data": {1: X}}, actstore.SourceError, "data have the split 1; expected text"),
    ({"data": "digts"}, actstore.SourceError, "data 'digts' is not understood"),
    ({"targets": {"y": Y[:3]}}, actstore.SourceError, "target 'y' has 3 labels"),
    ({"targets": {"y": {"train": Y}}}, actstore.SourceError, "the data has no split: give the labels alone"),
    (
        {"targets": {"y": "labels.npy"}},
        actstore.SourceError,
        "target 'y' is 'labels.npy'; expected one label per row",
    ),
    ({"targets": 3}, actstore.SourceError, "expected labels by name"),
    ({"targets": {"y": Y}, "data": "digits"}, actstore.SourceError, "beside data that are named by SPECs"),
    ({"targets": {"y": Y}, "data": {"a": X, "b": X}}, actstore.SourceError, r"give \{split: labels\} for each"),
    ({"data": {"a": X}, "split": "b"}, actstore.SourceError, "split is 'b', but the data say theirs, 'a'"),
    ({"data": "digits", "target": "digit"}, actstore.SourceError, "which names the labels in batches"),
    ({"layers": DumpSettings(("**",)), "pool": "mean"}, actstore.DumpError, "DumpSettings and pool were given"),
]


@pytest.mark.parametrize(("keywords", "error", "message"), WRONG)
def test_a_wrong_word_is_answered_in_one_line_and_writes_nothing(tmp_path, keywords, error, message):
    given = {"data": X, "layers": "**"} | keywords
    with pytest.raises(error, match=message) as caught:
        actstore.dump(model, given.pop("data"), tmp_path / "a.h5", given.pop("layers"), **given)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_labels_of_arrays_go_by_name_and_split(tmp_path):
    data = {"train": X[:30], "test": X[30:]}
    labels = {"digit": {"train": Y[:30], "test": Y[30:]}, "word": {"train": ["a", "b", "none"] * 10}}
    store = actstore.dump(model, data, tmp_path / "a.h5", "double", targets=labels, ignore_label="none")
    assert store.targets["digit"].tolist() == Y.tolist()
    assert store.targets["word"].tolist() == ["a", "b", None] * 10 + [None] * 10
    assert store.rows_of("test").tolist() == list(range(30, 40))
    with pytest.raises(actstore.StoreError, match="has no rows of split 'tets'; the nearest: 'test'"):
        store.rows_of("tets")


def test_data_by_spec_are_those_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("y.npy", Y)
    for data, targets in (
        ("train=x.npy", {"train:digit": "y.npy"}),
        (["train=x.npy"], "train:digit=y.npy"),
        ({"train": "x.npy"}, ["digit=y.npy"]),
    ):
        store = actstore.dump(model, data, "a.h5", ["double"], targets=targets, overwrite=True)
        assert store.targets["digit"].tolist() == Y.tolist()
        assert store.splits.tolist() == ["train"] * 40
        np.testing.assert_array_equal(store.layers["double"][:], 2 * X)
    with pytest.raises(actstore.StoreError):
        actstore.dump(model, "x.npy", "x.npy", ["double"], overwrite=True)
    np.testing.assert_array_equal(np.load("x.npy"), X)


def test_resume_and_overwrite_are_those_of_the_command(tmp_path):
    runs = []

    def net(batch):
        runs.append(len(batch))
        return {"double": 2 * batch}

    given = {"layers": "double", "selfcheck": False, "targets": {"digit": Y}}
    actstore.dump(net, X, tmp_path / "a.acts", **given)
    with pytest.raises(actstore.StoreError, match="already exists; pass overwrite=True"):
        actstore.dump(net, X, tmp_path / "a.acts", **given)
    before = len(runs)
    assert actstore.dump(net, X, tmp_path / "a.acts", resume=True, **given).rows == 40
    assert sum(runs[before:]) < 40  # whole already: at most a look at the first rows
    with pytest.raises(actstore.ActstoreError, match=r"digit|label|other|differ|input"):
        actstore.dump(net, X[::-1], tmp_path / "a.acts", resume=True, **given)
    assert actstore.dump(net, X[::-1], tmp_path / "a.acts", overwrite=True, **given).rows == 40


@pytest.mark.parametrize(
    "options", [{"pool": "mean"}, {"dtype": "float16"}, {"limit": 3}, {"sample_rows": 0.5}]
)
def test_append_refuses_what_only_dump_does(tmp_path, options):
    recording = actstore.create(tmp_path / "a.acts", **options)
    message = f"append stores activations as they are given.*{next(iter(options))}="
    with pytest.raises(actstore.DumpError, match=message):
        recording.append({"a": X})


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_quiet_unless_asked_for(tmp_path, capsys):
    actstore.dump(model, X, tmp_path / "a.h5", "**", batch_size=4)
    assert capsys.readouterr() == ("", "")


def test_progress_is_a_line_on_a_terminal_that_is_wiped(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    actstore.dump(model, X, tmp_path / "a.h5", "**", progress=True, batch_size=4)
    shown = sys.stderr.getvalue()
    assert "\n" not in shown
    assert "\r40 of 40 rows, 2.9 kB" in shown
    assert shown.endswith(" \r")


def test_progress_elsewhere_is_at_most_a_line_a_second(tmp_path, capsys, monkeypatch):
    now = iter(np.arange(0, 100, 0.4))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    actstore.dump(model, X, tmp_path / "a.h5", "**", progress=True, batch_size=2)
    out, lines = capsys.readouterr()
    assert out == ""
    assert "\r" not in lines
    assert 5 <= len(lines.splitlines()) <= 12  # 20 batches, 0.4 s apart
    assert lines.splitlines()[-1].startswith("40 of 40 rows")


def test_progress_of_one_s_own_is_called_and_not_kept_for_the_next_dump(tmp_path):
    seen = []
    with actstore.create(tmp_path / "a.acts", "**", batch_size=10) as recording:
        recording.dump(model, X, split="train", progress=seen.append)
        recording.dump(model, X, split="test")
    assert [one.rows for one in seen] == [10, 20, 30, 40]


def test_stores_and_layers_show_themselves_and_names_are_text(tmp_path):
    name = "<script>alert('x')</script>\x1b[31m"
    with actstore.create(tmp_path / "<b>.acts") as recording:
        recording.append({name: X}, targets={"<i>": Y}, splits="<u>")
    store = actstore.open(tmp_path / "<b>.acts")
    for html in (store._repr_html_(), store.layers[name]._repr_html_()):
        assert "<script>" not in html
        assert "\x1b" not in html
        assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;\\x1b[31m" in html
    assert "&lt;i&gt;" in store._repr_html_()
    assert "&lt;u&gt;: 40" in store._repr_html_()
    assert repr(store) == "<Store '<b>.acts': 40 rows, 1 layer>"


def test_names_complete_with_tab(tmp_path):
    store = actstore.dump(model, X, tmp_path / "a.h5", "**", targets={"digit": Y})
    assert store.layers._ipython_key_completions_() == ["double", "grid", "half"]
    assert store.targets._ipython_key_completions_() == ["digit"]
    assert list(store.layers.select("*l*", ["grid"])) == ["double", "grid", "half"]
    assert list(store.layers.select("re:d.*")) == ["double"]
    assert list(store.layers.select(exclude="g*")) == ["double", "half"]
    with pytest.raises(actstore.LayerError, match="no layers are left"):
        store.layers.select("grid", exclude=["g*"])
    with pytest.raises(actstore.LayerError, match="no layer matches 'grids'; the nearest: 'grid'"):
        store.layers.select("grids")
    with pytest.raises(AttributeError, match=r"has no attribute 'dumpp'; did you mean 'dump'\?"):
        _ = actstore.dumpp


def test_scikit_learn_takes_a_layer_as_it_is(tmp_path):
    labels = np.where(X[:, 0] > 0, "right", "left")
    layer = actstore.dump(model, X, tmp_path / "a.h5", "double").layers["double"]
    kept, held, kept_labels, held_labels = train_test_split(layer, labels, random_state=0, stratify=labels)
    np.testing.assert_array_equal(kept[:, 0] > 0, kept_labels == "right")
    np.testing.assert_array_equal(held[:, 0] > 0, held_labels == "right")
    scores = cross_val_score(LogisticProbe(C=10), layer, labels, cv=4)
    np.testing.assert_array_equal(scores, cross_val_score(LogisticProbe(C=10), 2 * X, labels, cv=4))
    assert scores.mean() > 0.9


def test_several_rows_are_asked_for_at_once(tmp_path):
    layer = actstore.dump(model, X, tmp_path / "a.h5", "double").layers["double"]
    rows = layer.__getitems__([3, 1, 3])
    assert isinstance(rows, list)
    np.testing.assert_array_equal(rows, 2 * X[[3, 1, 3]])
    np.testing.assert_array_equal(np.from_dlpack(layer[3:5]), 2 * X[3:5])


def test_warnings_and_settings_are_public_and_pickle():
    assert issubclass(actstore.SelfCheckWarning, UserWarning)
    assert pickle.loads(pickle.dumps(actstore.Reductions(pool="mean"))).pool == ("mean",)
