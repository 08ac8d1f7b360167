import contextlib
import io
import os
import re
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers.errors import ProbeFileError, ProblemError
from solvers.probing.probe import Probe
from solvers.probing.probe_file import refuse_existing
from solvers.probing.probes import Probes
from solvers.probing.records import ProbeMap, Proof, Provenance, Scores, Tried, Where
from solvers.probing.row_table import RowTable

PAGE = Path(__file__).parents[2] / "docs" / "probes.md"


@pytest.fixture
def probe():
    """A probe of 6 features and 3 classes whose numbers do not come from a fit."""
    generator = np.random.default_rng(0)
    return Probe(
        Where(("block/1.conv",), "letter", (2, 3), order=2, seed=7),
        ProbeMap(
            weights=generator.normal(size=(6, 3)), intercept=generator.normal(size=3), mean=generator.normal(size=6),
            classes=np.array(["a", "ccc", "é"]), scale=np.array([1.0, np.inf, 0.3, 2.0, 1e-300, 1e300]),
        ),
        Proof(
            C=0.1, status="converged", gap_nats=3e-7, loss=1 / 3, engine="numpy", engine_reason="the only one here",
            path=(Tried(0.1, 0.7, 3e-7, "converged", 12.5, 0.4), Tried(1.0, np.nan, np.inf, "not_fitted", 0.0, 0.0)),
        ),
        Scores(
            error={"train": 0.1, "test": 0.2}, cross_entropy={"train": 0.5, "test": float("nan")},
            majority={"train": 0.6, "test": 0.7}, rows={"train": 90, "test": 10},
            unlabelled={"train": 0, "test": 3}, unseen={"train": 0, "test": 1},
        ),
        Provenance("f00", "ba4", "probe fit x.h5 --target letter", "0.1.0", 1.5),
        metrics={"auroc": {"test": 0.5}},
    )  # fmt: skip


@pytest.fixture
def probes(probe):
    columns = np.array([1, 4])
    weights = np.where(np.isin(np.arange(6), columns)[:, None], probe.weights, 0)
    first = at(
        replace(probe, map=replace(probe.map, columns=columns, weights=weights)), layers=("input",), order=0
    )
    return Probes([probe, first], {"bad": "bad_data: 2 rows hold NaN or infinite values"})


def at(probe, **where):
    """A probe that is somewhere else."""
    return replace(probe, where=replace(probe.where, **where))


def with_classes(probe, classes):
    """A probe of as many classes, that are called something else."""
    count = len(classes)
    of_map = replace(
        probe.map, classes=classes, weights=probe.weights[:, :count], intercept=probe.intercept[:count]
    )
    return replace(probe, map=of_map)


def same(left, right):
    """Equal to the bit and of one type, NaN included, also within records."""
    if is_dataclass(left):
        return type(left) is type(right) and all(
            same(getattr(left, each.name), getattr(right, each.name)) for each in fields(left)
        )
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    return type(left) is type(right) and repr(left) == repr(right)


def test_probes_are_in_network_order_by_key(probes):
    assert list(probes) == [("input", "letter", 0), ("block/1.conv", "letter", 0)]
    assert probes["input", "letter", 0].layer == "input"
    assert len(probes) == 2
    table = repr(probes).splitlines()
    assert [line.split()[0] for line in table[:3]] == ["layer", "input", "block/1.conv"]
    assert table[3].startswith("layer 'bad' has no probe: bad_data")


def test_two_probes_of_one_key(probe):
    with pytest.raises(ProblemError, match=r"two probes have the key \('block/1.conv', 'letter', 0\)"):
        Probes([probe, probe])


def test_repr_is_one_line(probe):
    assert repr(probe) == (
        "<Probe of 'block/1.conv' for 'letter', step 0: 3 classes, C=0.1, "
        "converged with a gap of 3.0e-07 nats by numpy>"
    )


def test_predict_on_raw_activations(probe):
    activations = np.random.default_rng(1).normal(size=(20, 2, 3)).astype(np.float32)
    logits = (activations.reshape(20, 6).astype(np.float64) - probe.mean) @ probe.weights + probe.intercept
    assert np.array_equal(probe.logits(activations), logits)
    assert np.array_equal(probe.logits(activations.reshape(20, 6)), logits)
    assert np.array_equal(probe.predict(activations), probe.classes[logits.argmax(axis=1)])
    odds = np.exp(logits)
    # The softmax by its formula; both sum three float64 numbers.
    assert probe.predict_proba(activations) == pytest.approx(odds / odds.sum(axis=1, keepdims=True), rel=1e-13)


def test_predict_ignores_columns_that_were_not_drawn(probes):
    drawn = probes["input", "letter", 0]
    activations = np.random.default_rng(1).normal(size=(20, 6))
    expected = drawn.predict(activations)
    activations[:, [0, 2, 3, 5]] = np.nan
    assert np.array_equal(drawn.predict(activations), expected)


def test_predict_on_rows_of_another_layer(probe):
    with pytest.raises(
        ProblemError, match=r"takes activations of shape \(rows, 2, 3\) but got \(4, 3, 2\); give it rows"
    ):
        probe.predict(np.zeros((4, 3, 2)))


def test_table(probes):
    table = probes.table()
    narrow = ["layer", "error_train", "error_test", "C", "gap_nats"]
    assert table.columns.tolist() == narrow
    assert probes.table(wide=True).columns.tolist() == [
        *narrow, "status", "engine", "cross_entropy_train", "cross_entropy_test", "rows_train", "rows_test"
    ]  # fmt: skip
    assert "..." not in repr(table)
    assert max(map(len, repr(table).split("\n"))) <= 80
    assert table["layer"].tolist() == ["input", "block/1.conv"]
    assert table["error_test"].tolist() == [0.2, 0.2]


def test_table_without_pandas(probes, monkeypatch):
    expected = probes.table().to_dict("records")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert repr(probes.table()) == repr(expected)


CLASSES = [
    np.array(["a", "ccc", "é"]),
    np.array(["", "b c", "日本"]),
    np.array([b"", b"a", b"\xff"]),
    np.array([-1, 0, 2**62]),
    np.array([3, 2**63, 2**63 + 1], "u8"),
    np.array([-(2**63), 2**53 + 1, 2**63 - 1]),
    np.array([0, 1, 255], "u1"),
    np.array([0.1, 1.5, 1e300]),
    np.array([0.1, 1.5, 7], "f2"),
]


@pytest.mark.parametrize("classes", CLASSES, ids=repr)
def test_round_trip_is_exact(probes, classes, tmp_path):
    before = Probes([with_classes(probe, classes) for probe in probes.values()], probes.failures)
    before.save(tmp_path / "probes.h5")
    after = solvers.load(tmp_path / "probes.h5")
    assert after.failures == before.failures
    assert list(after) == list(before)
    for key in before:
        for field in fields(Probe):
            assert same(getattr(after[key], field.name), getattr(before[key], field.name)), field.name


def test_two_classes_of_bools(probe, tmp_path):
    binary = with_classes(probe, np.array([False, True]))
    Probes([binary]).save(str(tmp_path / "probes.h5"))
    assert same(solvers.load(str(tmp_path / "probes.h5"))[binary.key].classes, binary.classes)


def test_failures_alone_can_be_saved(tmp_path):
    Probes([], {"all": "bad"}).save(tmp_path / "probes.h5")
    assert solvers.load(tmp_path / "probes.h5").failures == {"all": "bad"}


def test_the_example_of_the_page_reads_it_with_bare_h5py(probes, tmp_path, monkeypatch):
    probes.save(tmp_path / "probes.h5")
    monkeypatch.chdir(tmp_path)
    example, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert "solvers" not in example
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(example, names)  # the page's own lines
    last = probes["block/1.conv", "letter", 0]
    assert np.array_equal(names["weights"], last.weights)
    assert np.array_equal(names["intercept"], last.intercept)
    prediction = last.predict(np.zeros((3, 2, 3)))
    assert f"['block/1.conv'] 0.1 {{'train': 0.1, 'test': 0.2}} {prediction}" in printed.getvalue()


@pytest.mark.parametrize("kind", [Probe, Where, ProbeMap, Proof, Scores, Provenance, Tried, RowTable])
def test_the_page_names_every_field(kind):
    page = PAGE.read_text()
    inside = {"extra", "arrays"}  # what this version does not know
    assert not [each.name for each in fields(kind) if f"`{each.name}" not in page and each.name not in inside]


def test_an_existing_file_is_kept(probes, tmp_path):
    path = tmp_path / "probes.h5"
    path.write_text("precious")
    with pytest.raises(
        ProbeFileError, match=r"probes.h5 exists already; choose another name, or say `--overwrite`"
    ):
        probes.save(path)
    with pytest.raises(
        ProbeFileError, match=r"probes.h5 is no probe file, and only a probe file is overwritten"
    ):
        probes.save(path, overwrite=True)
    assert path.read_text() == "precious"
    path.unlink()
    probes.save(path)
    probes.save(path, overwrite=True)
    assert len(solvers.load(path)) == 2
    assert os.listdir(tmp_path) == ["probes.h5"]


def test_where_a_file_can_not_go(tmp_path):
    with pytest.raises(
        ProbeFileError, match="is a folder, but probes are saved to one file; give it a name such as"
    ):
        refuse_existing(tmp_path, overwrite=True)
    with pytest.raises(
        ProbeFileError, match=r"the folder .*none of the probe file p.h5 does not exist; make it first"
    ):
        refuse_existing(tmp_path / "none" / "p.h5", overwrite=False)


def test_a_full_disk_leaves_nothing(probes, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ProbeFileError, match="could not be written: No space left on device; make room or choose"
    ):
        probes.save(tmp_path / "probes.h5")
    assert os.listdir(tmp_path) == []


def test_classes_that_the_file_can_not_hold(probe, tmp_path):
    dates = with_classes(probe, np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[D]"))
    with pytest.raises(
        ProbeFileError, match=r"classes of type datetime64\[D\] cannot be saved; label with ints"
    ):
        Probes([dates]).save(tmp_path / "probes.h5")
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ProbeFileError, match=r"there is no probe file .*none.h5; make one with `probe fit`"):
        solvers.load(tmp_path / "none.h5")


def test_a_file_that_is_not_hdf5(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(
        ProbeFileError, match=r"text.h5 is not a whole HDF5 file .*; copy it again, or fit the probes"
    ):
        solvers.load(tmp_path / "text.h5")


def test_every_truncation_is_refused(probes, tmp_path):
    probes.save(tmp_path / "probes.h5")
    image = (tmp_path / "probes.h5").read_bytes()
    for length in range(0, len(image), 97):
        (tmp_path / "cut.h5").write_bytes(image[:length])
        with pytest.raises(ProbeFileError, match="is not a whole HDF5 file"):
            solvers.load(tmp_path / "cut.h5")


def test_a_probe_of_a_slice_knows_the_layer_that_is_stored(probe, tmp_path):
    slices = [at(probe, layers=("attn@1",), order=head, slice=head) for head in (0, 12)]
    Probes([probe, *slices]).save(tmp_path / "p.h5")
    loaded = solvers.load(tmp_path / "p.h5")
    assert {key[0]: (found.head, found.stored_layer) for key, found in loaded.items()} == {
        "attn@1@0": (0, "attn@1"),
        "attn@1@12": (12, "attn@1"),
        "block/1.conv": (None, "block/1.conv"),
    }


def test_a_gap_without_a_penalty_is_not_shown(probe):
    free = replace(probe, proof=replace(probe.proof, C=np.inf, status="unpenalised", gap_nats=np.inf))
    assert (probe.penalised, free.penalised) == (True, False)
    assert repr(free).endswith("3 classes, C=inf, unpenalised by numpy>")
