"""Stores and probes beside torch and Hugging Face datasets: what is read, data sets and orders, probes as modules."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import actstore
import solvers

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.framework

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 6)).astype(np.float32)
SPLITS = {"train": X[:70], "test": X[70:]}
WORDS = np.ma.MaskedArray(np.array(["dog", "cat", "ant", "dog"] * 25), mask=np.arange(100) % 10 == 3)
NUMBERS = np.arange(100) % 3 + 5


def model(batch):
    return {"plain": batch, "half": batch.astype(np.float16), "grid": np.repeat(batch[:, :, None], 2, 2)}


@pytest.fixture(scope="module", params=["run.h5", "run.acts"])
def store(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / request.param
    targets = {name: {"train": y[:70], "test": y[70:]} for name, y in (("word", WORDS), ("number", NUMBERS))}
    return actstore.dump(model, SPLITS, path, "**", targets=targets)


def test_torch_takes_what_is_read_without_a_warning(store):
    layer = store.layers["plain"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rows in (layer[:], layer[3:9], layer[[5, 2]], np.asarray(layer)):
            for tensor in (torch.as_tensor(rows), torch.from_numpy(rows), torch.from_dlpack(rows)):
                tensor += 1
        torch.as_tensor(layer[3])
    np.testing.assert_array_equal(layer[:], X)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_over_a_layer_gives_every_row_once_with_its_label(store, workers):
    data = store.torch("plain", target="number", split="train")
    how = (
        {"num_workers": workers, "multiprocessing_context": "forkserver"} if workers else {}
    )  # JAX may be loaded here
    loader = torch.utils.data.DataLoader(data, batch_size=16, sampler=data.sampler(seed=1), **how)
    rows, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert len(loader.dataset) == len(rows) == 70
    places = [int(np.flatnonzero((row.numpy() == X[:70]).all(1))[0]) for row in rows]
    assert sorted(places) == list(range(70))
    assert labels.tolist() == NUMBERS[places].tolist()
    assert labels.dtype == torch.int64


def test_texts_are_numbers_into_the_classes_of_the_whole_store_and_rows_without_one_are_left_out(store):
    for split, rows in (("train", range(70)), ("test", range(70, 100))):
        data = store.torch("grid", target="word", split=split)
        assert data.classes == ["ant", "cat", "dog"]
        kept = [row for row in rows if row % 10 != 3]
        assert data.rows.tolist() == kept
        assert [data.classes[label] for _, label in data] == WORDS[kept].tolist()
        np.testing.assert_array_equal(data[-1][0], np.repeat(X[kept[-1]][:, None], 2, 1))


def test_without_a_target_an_item_is_a_row(store):
    data = store.torch("half", split="test")
    assert data[0].dtype == torch.float16
    np.testing.assert_array_equal(torch.stack(list(data)), X[70:].astype(np.float16))
    with pytest.raises(IndexError, match="item 30 is out of range: there are 30 rows"):
        data[30]
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again[3], data[3])


def test_what_there_is_not_is_named(store):
    for given, error, message in [
        ({"layer": "plane"}, actstore.LayerError, "there is no layer 'plane'.*'plain'"),
        ({"layer": "plain", "target": "words"}, actstore.TargetError, "there is no target 'words'.*'word'"),
        ({"layer": "plain", "split": "val"}, actstore.StoreError, "no rows of split 'val'"),
    ]:
        with pytest.raises(error, match=message):
            store.torch(**given)


def test_the_order_is_every_row_once_new_each_time_and_that_of_the_seed():
    from actstore.adapters.for_torch.dataset import BlockSampler

    order = BlockSampler(1003, 4, seed=3)
    first, second = list(order), list(order)
    assert sorted(first) == sorted(second) == list(range(1003))
    assert first != second
    assert first != sorted(first)
    assert list(BlockSampler(1003, 4, seed=3)) == first
    assert list(BlockSampler(1003, 4, seed=4)) != first
    assert len(order) == 1003
    assert list(BlockSampler(0, 4)) == []
    with pytest.raises(ValueError, match="block_rows is 0; expected 1 or more"):
        BlockSampler(10, 0)


def test_a_step_is_named_and_an_unfinished_one_has_fewer_rows(tmp_path):
    recording = actstore.create(tmp_path / "s.acts", "plain", selfcheck=False)
    recording.dump(model, X, step=1)
    recording.dump(lambda batch: {"plain": 2 * batch}, X, step=2)
    store = recording.close()
    with pytest.raises(actstore.LayerError, match=r"write layers\['plain', step\]"):
        store.torch("plain")
    np.testing.assert_array_equal(torch.stack(list(store.torch(("plain", 2)))), 2 * X)


LABELS = {"two": X[:, 0] > 0, "three": np.digitize(X[:, 0], [-0.5, 0.5])}


@pytest.mark.parametrize("target", ["two", "three"])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"random_features": 3}])
def test_a_probe_as_a_module_is_what_the_probe_is(target, settings):
    far = X * [1, 1e-3, 1, 1, 1, 1] + [0, 1e4, 0, 0, 0, 0]
    probe = solvers.fit_layers({"a": far.reshape(100, 3, 2)}, LABELS[target], C=1, **settings)["a"]
    module = probe.to_torch()
    rows = torch.from_numpy(far.reshape(100, 3, 2))
    assert f"in_features=6, out_features={len(probe.classes)}, dtype=float64" in repr(module)
    np.testing.assert_allclose(torch.softmax(module(rows), 1), probe.predict_proba(far), rtol=1e-12)
    assert [module.classes[place] for place in module(rows).argmax(1)] == probe.predict(far).tolist()
    single = probe.to_torch(dtype="float32")
    assert single(rows.float()).dtype == torch.float32
    near = solvers.fit_layers({"a": X}, LABELS[target], C=1, **settings)["a"]
    narrow = torch.softmax(near.to_torch(dtype="float32")(torch.from_numpy(X)), 1)
    np.testing.assert_allclose(narrow, near.predict_proba(X), rtol=1e-4, atol=1e-6)
    assert not list(filter(lambda each: each.requires_grad, module.parameters()))
    again = pickle.loads(pickle.dumps(module))
    np.testing.assert_array_equal(again(rows), module(rows))
    with pytest.raises(
        solvers.ProblemError, match=r"rows of shape \(2, 5\) have 5 features; the probe takes 6"
    ):
        module(torch.zeros(2, 5))
    with pytest.raises(solvers.ProblemError, match="dtype is 'float16'; expected 'float64'"):
        probe.to_torch("float16")


def test_the_gradient_by_the_rows_is_the_raw_direction():
    probe = solvers.fit_layers({"a": X}, LABELS["two"], C=1)["a"]
    rows = torch.from_numpy(X).double().requires_grad_()
    logits = probe.to_torch()(rows)
    (logits[:, 1] - logits[:, 0]).sum().backward()
    np.testing.assert_allclose(rows.grad[7], probe.direction(), rtol=1e-12)


def test_without_torch_the_message_says_what_to_install(tmp_path):
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import numpy as np, actstore, solvers
X = np.eye(4); probe = solvers.fit_layers({"a": X}, [0, 1, 0, 1], C=1)["a"]
store = actstore.dump(lambda b: {"a": b}, X, "a.h5", "a")
for ask in (lambda: store.torch("a"), probe.to_torch):
    try: ask()
    except (actstore.ActstoreError, solvers.SolverError) as error: print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("needs torch, which is not installed; pip install 'actstore[torch]'") == 2


def test_datasets_reads_a_single_file_by_the_features_that_the_store_says(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    bits = np.arange(100, dtype=np.uint16)[:, None] + np.zeros(3, np.uint16) + 0x3F80
    with actstore.create(tmp_path / "run.h5") as recording:
        layers = {
            "a/b.c": X,
            "grid": np.repeat(X[:, :, None], 2, 2),
            "one": X[:, 0],
            "narrow": actstore.Captured(bits, "bfloat16", ("feature",)),
        }
        groups = [f"g{row // 4}" for row in range(100)]
        splits = ["train"] * 70 + ["test"] * 30
        recording.append(layers, targets={"word": WORDS, "number": NUMBERS}, splits=splits, groups=groups)
    store = actstore.open(tmp_path / "run.h5")
    found = datasets.load_dataset(
        "hdf5",
        data_files=str(tmp_path / "run.h5"),
        features=store.features(),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    ).flatten()
    arrays = found.with_format("numpy")[:]
    np.testing.assert_array_equal(arrays["layers.a%2Fb.c"], X, strict=True)
    np.testing.assert_array_equal(arrays["layers.grid"], np.repeat(X[:, :, None], 2, 2), strict=True)
    np.testing.assert_array_equal(arrays["layers.one"], X[:, 0], strict=True)
    np.testing.assert_array_equal(arrays["layers.narrow"], store.layers["narrow"][:], strict=True)
    words = found.features["targets.word.codes"]
    assert [
        None if code < 0 else words.int2str(int(code)) for code in arrays["targets.word.codes"]
    ] == WORDS.tolist()
    numbers = found.features["targets.number.codes"]
    assert [int(numbers.int2str(int(code))) for code in arrays["targets.number.codes"]] == NUMBERS.tolist()
    names = found.features["rows.split.codes"]
    assert [names.int2str(int(code)) for code in arrays["rows.split.codes"]] == splits
    assert [row_id.decode() for row_id in found["rows.id"]] == store.ids.tolist()
    few = store.features(["one"])
    assert list(few["layers"]) == ["one"]
    with pytest.raises(actstore.LayerError, match=r"has no layer 'two'; .*'one'"):
        store.features("two")


def test_features_are_of_a_single_file(tmp_path):
    pytest.importorskip("datasets")
    store = actstore.dump(model, X, tmp_path / "a.acts", "plain")
    with pytest.raises(actstore.StoreError, match=r"is a folder of files with codes of their own; pack it"):
        store.features()
