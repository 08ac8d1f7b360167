"""A probe file keeps what its reader does not know, tables of rows and predictions, and more than memory holds."""

import errno
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import solvers
from solvers.errors import ProbeFileError
from solvers.probing.probe import Probe
from solvers.probing.probes import Probes
from solvers.probing.records import ProbeMap, Proof, Scores, Where
from solvers.probing.row_table import Beside, RowTable

HOUSE = Path(__file__).parents[2]
ROWS = 7


def probe(layer="fc", classes=3, width=4, **changes):
    """A probe whose numbers do not come from a fit."""
    generator = np.random.default_rng(0)
    kinds = np.arange(classes)
    of_map = ProbeMap(
        generator.normal(size=(width, classes)),
        generator.normal(size=classes),
        generator.normal(size=width),
        kinds,
        scale=np.ones(width),
    )
    proof = Proof(1.0, "converged", 1e-7, 0.5, "numpy", "asked for", ())
    made = Probe(Where((layer,), "kind", (width,)), of_map, proof, Scores(*[{"test": 1}] * 6))
    return replace(made, **changes)


def rows(**changes):
    """Seven test rows of the target, two of a class that training had none of."""
    arrays = {
        "index": np.arange(10, 10 + ROWS),
        "truth": np.array([0, 1, 2, 3, 3, 1, 0], "i4"),
        "group": np.array([0, 0, 1, 1, 2, 2, 2]),
    }
    return replace(RowTable("kind", "test", arrays, classes=np.array([0, 1, 2, 9])), **changes)


def header_of(path):
    with h5py.File(path) as file:
        return json.loads(file["header"][()].tobytes())


def change(path, edit):
    """Edit a probe file as another program would: ``edit(header, file)``."""
    with h5py.File(path, "r+") as file:
        header = json.loads(file["header"][()].tobytes())
        edit(header, file)
        del file["header"]
        file["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)


def test_what_is_not_known_is_written_back_at_every_level(tmp_path):
    path = tmp_path / "p.h5"
    Probes([probe("b"), probe("a")], beside=Beside((rows(),))).save(path)

    def add(header, file):
        header["report"] = {"title": "x"}
        entry = header["probes"][1]
        entry["intervals"] = [1, 2]
        entry["metrics"]["auroc"] = {"test": [0.5, None]}
        for record in ("where", "map", "proof", "scores", "provenance"):
            entry[record]["later"] = record
        header["tables"][0]["sampled"] = True
        file["covariance.1"] = np.arange(16.0).reshape(4, 4)
        file["history"] = np.arange(3, dtype="u2")
        file["rows.weight.0"] = np.arange(ROWS, dtype="f4")
        file["surprise.1.0"] = np.arange(ROWS, dtype="f4")

    change(path, add)
    loaded = solvers.load(path)
    found = loaded["a", "kind", 0]
    assert found.metrics["auroc"] == {"test": [0.5, None]}
    # Written back with fewer probes, so that entry 1 is entry 0 now.
    Probes([found], beside=loaded.beside).save(tmp_path / "again.h5")
    header = header_of(tmp_path / "again.h5")
    assert header["report"] == {"title": "x"}
    assert header["tables"][0]["sampled"] is True
    (entry,) = header["probes"]
    assert entry["intervals"] == [1, 2]
    assert [entry[record]["later"] for record in ("where", "map", "proof")] == ["where", "map", "proof"]
    with h5py.File(tmp_path / "again.h5") as file:
        assert np.array_equal(file["covariance.0"], np.arange(16.0).reshape(4, 4))
        assert np.array_equal(file["history"], np.arange(3))
        assert np.array_equal(file["rows.weight.0"], np.arange(ROWS))
        assert np.array_equal(file["surprise.0.0"], np.arange(ROWS))
        assert file["history"].dtype == "u2"


def test_a_table_of_rows_and_predictions_come_back(tmp_path):
    table = rows()
    logits = {"logits": np.random.default_rng(1).normal(size=(ROWS, 3)).astype("f4")}
    said = probe(predictions={table.key: logits})
    Probes([said, probe("other")], beside=Beside((rows(split="train"), table))).save(tmp_path / "p.h5")
    loaded = solvers.load(tmp_path / "p.h5")
    assert [each.key for each in loaded.beside.tables] == [("kind", "train", None), ("kind", "test", None)]
    found = loaded.beside.tables[1]
    assert np.array_equal(found.classes, [0, 1, 2, 9])
    for name, array in table.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)
    assert np.array_equal(loaded["fc", "kind", 0].predictions["kind", "test", None]["logits"], logits["logits"])
    assert loaded["other", "kind", 0].predictions == {}


def test_a_regression_and_layers_side_by_side_have_their_place(tmp_path):
    values = np.random.default_rng(2).normal(size=(ROWS, 3))
    table = rows(classes=None, arrays={"index": np.arange(ROWS), "truth": values})
    made = probe()
    where = replace(made.where, layers=("a", "b"), method="ridge", fold=2)
    made = replace(made, where=where, map=replace(made.map, classes=None))
    Probes([made], beside=Beside((table,))).save(tmp_path / "p.h5")
    loaded = solvers.load(tmp_path / "p.h5")
    found = loaded["a+b", "kind", 0]
    assert found.where == where
    assert found.classes is None
    x = np.ones((2, 4))
    assert np.array_equal(found.predict(x), (x - made.mean) @ made.weights + made.intercept)
    assert "3 values" in repr(found)
    assert np.array_equal(loaded.beside.tables[0].arrays["truth"], values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda header, file: header["tables"].clear(), "belongs to no entry"),
        (lambda header, file: file.create_dataset("weights.07", data=np.zeros(3)), "numbered in another way"),
        (lambda header, file: file.create_dataset("x.0", data=[b"a"]), "is not of a type of plain numbers"),
        (lambda header, file: header["tables"][0].update(target="other"), "is not of the rows of table 0"),
        (lambda header, file: header["tables"][0].pop("split"), "KeyError"),
        (lambda header, file: header["probes"][0]["proof"].update(C="1"), "'1' is no number"),
        (lambda header, file: header["probes"][0]["proof"].update(C=True), "True is no number"),
        (lambda header, file: header["probes"][0]["where"].update(shape=[-2, -2]), "shape"),
        (lambda header, file: header["probes"][0]["where"].update(layers=[]), "layers"),
        (lambda header, file: header["probes"][0]["where"].update(target="\ud800"), "surrogates not allowed"),
        (lambda header, file: header["probes"][0]["scores"]["rows"].update(test=2**70), "no whole number"),
        (lambda header, file: header["probes"][0]["map"]["classes"].update(values=[0, 2, 1]), "ascending"),
        (
            lambda header, file: header["probes"][0]["map"]["classes"].update(type="int8", values=[0, 1, 300]),
            "out of bounds|not of type",
        ),
        (lambda header, file: header["probes"][0]["map"]["classes"].update(values=[0, 1, 2.5]), "not of type"),
        (lambda header, file: header["probes"][0]["map"].pop("classes"), None),
    ],
)
def test_what_does_not_describe_a_probe_is_refused(tmp_path, edit, message):
    table = rows()
    said = probe(predictions={table.key: {"logits": np.zeros((ROWS, 3), "f4")}})
    Probes([said], beside=Beside((table,))).save(tmp_path / "p.h5")
    change(tmp_path / "p.h5", edit)
    if message is None:  # a map without classes is one of a regression
        assert solvers.load(tmp_path / "p.h5")["fc", "kind", 0].classes is None
        return
    with pytest.raises(ProbeFileError, match=message) as caught:
        solvers.load(tmp_path / "p.h5")
    assert "\n" not in str(caught.value)


def test_metrics_may_be_deep_but_not_endless(tmp_path):
    deep = []
    for _ in range(50):
        deep = [deep]
    Probes([probe(metrics={"x": deep})]).save(tmp_path / "p.h5")
    assert solvers.load(tmp_path / "p.h5")["fc", "kind", 0].metrics == {"x": deep}
    for _ in range(400):
        deep = [deep]
    change(tmp_path / "p.h5", lambda header, file: header["probes"][0]["metrics"].update(x=deep))
    with pytest.raises(ProbeFileError, match="nested more than 64 levels deep; fit the probes again"):
        solvers.load(tmp_path / "p.h5")


def test_a_key_that_stands_twice(tmp_path):
    Probes([probe()]).save(tmp_path / "p.h5")
    text = json.dumps(header_of(tmp_path / "p.h5")).replace('"C": 1.0', '"C": 1.0, "C": 2.0')
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        del file["header"]
        file["header"] = np.frombuffer(text.encode(), np.uint8)
    with pytest.raises(ProbeFileError, match="a key stands twice in one object"):
        solvers.load(tmp_path / "p.h5")


def test_classes_that_ask_for_more_than_the_file_is_are_refused(tmp_path):
    """Each text takes as much as the longest: 9 MB of JSON would ask for 16 TB."""
    Probes([probe(classes=3)]).save(tmp_path / "p.h5")
    values = ["", *["b"] * (1 << 20), "c" * (1 << 22)]
    change(
        tmp_path / "p.h5",
        lambda header, file: header["probes"][0]["map"].update(classes={"type": "text", "values": values}),
    )
    tracemalloc.start()
    with pytest.raises(ProbeFileError, match="each as long as the longest, take more than"):
        solvers.load(tmp_path / "p.h5")
    assert tracemalloc.get_traced_memory()[1] < 1 << 28
    tracemalloc.stop()


def test_datasets_that_share_their_bytes_are_refused(tmp_path):
    """A small file would otherwise be as large in memory as it has names."""
    Probes([probe()]).save(tmp_path / "p.h5")
    change(tmp_path / "p.h5", lambda header, file: file.update({"more.0": file["weights.0"]}))
    with pytest.raises(ProbeFileError, match="shares its bytes with"):
        solvers.load(tmp_path / "p.h5")


def test_a_file_is_written_by_blocks(tmp_path):
    """Predictions of 240 MB that take no memory themselves."""
    count = 10_000_000
    table = rows(
        arrays={"index": np.broadcast_to(np.int64(3), count), "truth": np.broadcast_to(np.int32(1), count)}
    )
    said = probe(predictions={table.key: {"logits": np.broadcast_to(np.float32(2), (count, 3))}})
    tracemalloc.start()
    Probes([said], beside=Beside((table,))).save(tmp_path / "p.h5")
    written = tracemalloc.get_traced_memory()[1]
    loaded = solvers.load(tmp_path / "p.h5")
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "p.h5").stat().st_size > 240e6
    # Pieces of 8 MB, made contiguous.
    assert max(written, read) < 40e6
    assert loaded["fc", "kind", 0].predictions[table.key]["logits"][-1].tolist() == [2, 2, 2]


def test_many_probes_are_planned_in_time_that_grows_with_their_number(tmp_path):
    many = [probe(f"layer{number}") for number in range(2000)]
    Probes(many).save(tmp_path / "p.h5")
    assert len(solvers.load(tmp_path / "p.h5")) == 2000


def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(tmp_path):
    """The limit of the kernel on the size of a file, in a process of its own: HDF5 would crash there."""
    code = (
        "import resource, signal, sys\n"
        "from tests.solvers.test_probe_open import Probes, probe\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    Probes([probe(width=20_000)]).save(sys.argv[1])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p.h5")],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ProbeFileError the probe file ")
    assert (
        "File too large; raise the limit on the size of files (ulimit -f) or choose another place"
        in done.stdout
    )
    assert os.listdir(tmp_path) == []


def test_no_room_while_arrays_are_written(tmp_path, monkeypatch):
    pwrite = os.pwrite

    def full(descriptor, data, offset):
        if offset > 20_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(ProbeFileError, match="could not be written: No space left on device; make room"):
        Probes([probe(width=20_000)]).save(tmp_path / "p.h5")
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_taken_while_the_file_is_written_is_kept(tmp_path, monkeypatch):
    fsync = os.fsync

    def meanwhile(descriptor):
        (tmp_path / "p.h5").write_text("mine")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(ProbeFileError, match=r"p\.h5 exists already; choose another name"):
        Probes([probe()]).save(tmp_path / "p.h5")
    assert os.listdir(tmp_path) == ["p.h5"]
    assert (tmp_path / "p.h5").read_text() == "mine"
    (tmp_path / "q.h5").write_text("mine")
    with pytest.raises(ProbeFileError, match=r"q\.h5 is no probe file"):
        Probes([probe()]).save(tmp_path / "q.h5", overwrite=True)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links(tmp_path, monkeypatch, number):
    def no_links(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    Probes([probe()]).save(tmp_path / "p.h5")
    assert len(solvers.load(tmp_path / "p.h5")) == 1
    monkeypatch.setattr("solvers.probing.probe_file.refuse_existing", lambda *_: None)
    with pytest.raises(ProbeFileError, match="exists already"):
        Probes([probe("other")]).save(tmp_path / "p.h5")
    assert list(solvers.load(tmp_path / "p.h5")) == [("fc", "kind", 0)]
    assert os.listdir(tmp_path) == ["p.h5"]


def test_temporary_names_are_nobody_else_s(tmp_path, monkeypatch):
    seen = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append(os.listdir(tmp_path)), fsync(descriptor)))
    for name in ("a.h5", "b.h5"):
        Probes([probe()]).save(tmp_path / name)
    (first,), (second,) = seen[0], [name for name in seen[2] if name != "a.h5"]
    assert first.startswith(".a.h5.")
    assert first.endswith(".partial")
    assert first.split(".")[3] != second.split(".")[3]
