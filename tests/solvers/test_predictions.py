"""Predictions are made in the scoring pass, kept in the file, and say to the row what the scores say of all rows."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

import solvers
from solvers import linear_map
from solvers.errors import ProbeFileError, ProblemError, UnknownNameError
from solvers.labels import UNSEEN
from solvers.linear_map import LinearMap
from solvers.probing.finished import parts as finished_parts
from solvers.probing.fit_layers import FitInterrupted
from solvers.probing.probes import Probes
from solvers.probing.row_table import Beside
from solvers.scoring import recording
from solvers.scoring.recording import Calibration, PredictionRecorder
from solvers.scoring.row_outputs import RowOutputs, fit_temperature
from solvers.scoring.split_score import LEFT_OUT, Scored, score_each

KEY = ("h", "label", 0)


def problem(classes=3, rows=240, width=6, seed=0):
    """Rows of classes that overlap, in three splits, the last eight of a class that training has none of."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    x = (generator.normal(size=(classes, width))[labels] + generator.normal(size=(rows, width))).astype("f4")
    splits = np.array(["train", "train", "val", "test"])[np.arange(rows) % 4]
    test = np.flatnonzero(splits == "test")
    labels[test[-8:]] = classes + 3
    return {"h": x}, labels, splits


def fitted(classes=3, **options):
    layers, labels, splits = problem(classes)
    given = {"splits": splits, "C": [0.1, 1.0], "engine": "numpy"} | options
    return layers, labels, splits, solvers.fit_layers(layers, labels, **given)


def test_logits_are_the_probe_s_up_to_a_constant_a_row():
    layers, labels, splits, probes = fitted()
    said = probes.predictions(KEY, "test")
    rows = np.flatnonzero(splits == "test")
    exact = probes[KEY].logits(layers["h"][rows])
    # float32 keeps seven digits of logits below 100.
    np.testing.assert_allclose(said.logits, exact - exact.max(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_array_equal(said.logits.argmax(axis=1), exact.argmax(axis=1))
    np.testing.assert_array_equal(said.index, rows)
    np.testing.assert_array_equal(said.classes, [0, 1, 2, 6])
    np.testing.assert_array_equal(said.classes[said.truth], labels[rows])
    assert (len(said), said.outputs, said.group) == (60, 3, None)


@pytest.mark.parametrize("classes", [3, 40])
def test_the_scores_are_functions_of_them(classes):
    _, _, _, probes = fitted(classes)
    probe = probes[KEY]
    for split in ("val", "test"):
        said = probes.predictions(KEY, split)
        predicted = said.predicted if said.logits is None else said.logits.argmax(axis=1)
        assert np.mean(predicted != said.truth) == probe.error[split]
        seen = said.truth < said.outputs
        nats = said.nats if said.logits is None else -log_softmax(said.logits, axis=1)[seen, said.truth[seen]]
        # Kept in float32.
        assert np.mean(nats[np.isfinite(nats)]) == pytest.approx(probe.cross_entropy[split], rel=1e-5)


def test_of_many_classes_four_numbers_a_row_are_kept():
    layers, labels, splits, probes = fitted(40)
    said = probes.predictions(KEY, "test")
    rows = splits == "test"
    logits = probes[KEY].logits(layers["h"][rows])
    known = np.isin(labels[rows], probes[KEY].classes)
    own = logits[np.arange(60), np.where(known, said.truth, 0)]
    assert said.logits is None
    assert not known.all()
    np.testing.assert_array_equal(said.predicted, logits.argmax(axis=1))
    np.testing.assert_array_equal(said.rank, np.where(known, (logits > own[:, None]).sum(axis=1), said.outputs))
    total = logsumexp(logits, axis=1)
    np.testing.assert_allclose(said.nats, np.where(known, total - own, np.inf), rtol=1e-5)
    np.testing.assert_allclose(said.confidence, np.exp(logits.max(axis=1) - total), rtol=1e-5)
    assert said.predicted.dtype == said.rank.dtype == np.uint16


def test_wider_codes_above_65535_classes():
    assert {each.dtype for each in PredictionRecorder(2, 1 << 16).arrays.values()} == {
        np.dtype("u4"),
        np.dtype("f4"),
    }


@pytest.mark.parametrize("classes", [3, 40])
def test_they_come_back_from_a_file_as_they_were(tmp_path, classes):
    _, _, _, probes = fitted(
        classes, notice=lambda _: None, groups=np.arange(240) // 8, ids=[f"r{n}" for n in range(240)]
    )
    probes.save(tmp_path / "p.h5")
    loaded = solvers.load(tmp_path / "p.h5")
    for split in ("val", "test"):
        before, after = probes.predictions(KEY, split), loaded.predictions(KEY, split)
        for name in ("classes", "truth", "index", "group", "logits", "predicted", "rank", "nats", "confidence"):
            one, two = getattr(before, name), getattr(after, name)
            assert (one is None) == (two is None)
            if one is not None:
                assert one.dtype == two.dtype
                np.testing.assert_array_equal(one, two)
        assert before.temperature == after.temperature != 1.0


def test_of_train_only_when_asked_for_and_of_nothing_when_not():
    _, _, _, probes = fitted()
    assert probes.predictions(KEY, "train") is None
    assert fitted(predictions="all")[3].predictions(KEY, "train").logits.shape == (120, 3)
    none = fitted(predictions=False)[3]
    assert [none.predictions(KEY, split) for split in ("train", "val", "test")] == [None] * 3
    for each in (none, probes):
        with pytest.raises(UnknownNameError, match="there is no split 'tset'; the nearest: 'test'"):
            each.predictions(KEY, "tset")
    with pytest.raises(KeyError):
        probes.predictions(("x", "label", 0), "test")
    with pytest.raises(ProblemError, match=r"predictions is 'yes'; expected True, False, or 'all'"):
        fitted(predictions="yes")


def test_each_target_has_its_own_rows():
    layers, labels, splits = problem()
    some = np.ma.masked_array(labels % 2, np.arange(240) % 5 == 0)
    probes = solvers.fit_layers(layers, {"label": labels, "odd": some}, splits=splits, C=1.0)
    alone = solvers.fit_layers(layers, some, target="odd", splits=splits, C=1.0)
    one, two = (each.predictions(("h", "odd", 0), "test") for each in (probes, alone))
    np.testing.assert_array_equal(one.index, np.flatnonzero((splits == "test") & (np.arange(240) % 5 > 0)))
    np.testing.assert_array_equal(one.index, two.index)
    # Each fitted to its own gap.
    np.testing.assert_allclose(one.logits, two.logits, atol=0.05)


def test_slices_and_subsets_say_what_their_probes_say():
    layers, labels, splits = problem()
    for options in ({"split_features": 2}, {"feature_subset": 2}, {"random_projection": 2}):
        probes = solvers.fit_layers(layers, labels, splits=splits, C=1.0, **options)
        for key, probe in probes.items():
            said = probes.predictions(key, "test").logits
            exact = probe.logits(layers["h"][splits == "test"])
            np.testing.assert_allclose(said, exact - exact.max(axis=1, keepdims=True), atol=1e-5)


def test_rounding_makes_no_tie_and_keeps_those_that_are():
    logits = np.array([[1e9, 1e9 + 1e-6, 0], [2.0, 2.0, 1.0], [0.0, 1e-60, -1.0], [1e-60, 0.0, 0.0]])
    kept = RowOutputs.of(logits.copy(), np.zeros(4, int)).kept_logits()
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept.argmax(axis=1), logits.argmax(axis=1))
    assert kept[1, 0] == kept[1, 1]
    assert kept[2, 0] < kept[2, 1]


def test_block_size_and_rows_left_out_do_not_matter(monkeypatch):
    generator = np.random.default_rng(0)
    x, codes = generator.normal(size=(100, 4)), generator.integers(-2, 40, 100)
    probe = LinearMap(generator.normal(size=(4, 40)), generator.normal(size=40), np.zeros(4))

    def taken_down():
        recorder = PredictionRecorder(int(np.sum(codes != LEFT_OUT)), 40)
        (found,) = score_each(x, [Scored(codes, probe, recorder)])
        return recorder.arrays, found

    whole, score = taken_down()
    assert UNSEEN in codes
    monkeypatch.setattr(linear_map, "BLOCK_ELEMENTS", 280)
    parts, again = taken_down()
    assert score.error == again.error
    for name, array in whole.items():
        np.testing.assert_allclose(array, parts[name], rtol=1e-6)


def test_memory_is_that_of_a_block_whatever_the_rows_and_classes():
    """60,000 rows of 1,000 classes are 480 MB of logits."""
    generator = np.random.default_rng(0)
    rows, classes = 60_000, 1000
    x = generator.normal(size=(rows, 4)).astype("f4")
    probe = LinearMap(generator.normal(size=(4, classes)), np.zeros(classes), np.zeros(4))
    recorder, calibration = PredictionRecorder(rows, classes), Calibration(rows, classes)
    tracemalloc.start()
    score_each(x, [Scored(np.arange(rows) % classes, probe, recorder, calibration)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150e6
    assert sum(array.nbytes for array in recorder.arrays.values()) == 12 * rows


@pytest.mark.parametrize(("mapped_bytes", "maps"), [(1, 256), (1, 1), (1 << 20, 256)])
def test_parts_keep_them_and_the_joined_file_has_them(tmp_path, monkeypatch, mapped_bytes, maps):
    """In memory where they are small, or where many files would be held open; else in the parts."""
    monkeypatch.setattr(finished_parts, "_MAPPED_BYTES", mapped_bytes)
    monkeypatch.setattr(finished_parts, "_MOST_MAPS", maps)
    layers, labels, splits = problem()
    both = {"a": layers["h"], "b": layers["h"][:, ::-1]}

    def stop(progress):
        if progress.layer == "b":
            raise KeyboardInterrupt

    options = {"splits": splits, "C": 1.0, "parts": tmp_path / "p.parts", "notice": lambda _: None}
    with pytest.raises(FitInterrupted):
        solvers.fit_layers(both, labels, progress=stop, **options)
    resumed = solvers.fit_layers(both, labels, **options)
    mapped = [not each.predictions["label", "test", None]["logits"].flags.owndata for each in resumed.values()]
    assert sum(mapped) == (min(2, maps) if mapped_bytes == 1 else 0)
    resumed.save(tmp_path / "p.h5")
    assert not (tmp_path / "p.parts").exists()
    straight = solvers.fit_layers(both, labels, splits=splits, C=1.0)
    for probes in (resumed, solvers.load(tmp_path / "p.h5")):
        for key in straight:
            one, two = straight.predictions(key, "test"), probes.predictions(key, "test")
            np.testing.assert_array_equal(one.logits, two.logits)
            np.testing.assert_array_equal(one.truth, two.truth)


def test_what_does_not_fit_the_probe_is_refused():
    _, _, _, probes = fitted()
    for change, said in (
        ({"logits": np.zeros((60, 2), "f4")}, r"have logits of shape \(60, 2\)"),
        ({"logits": np.full((60, 3), np.nan, "f4")}, "have logits that are not finite"),
        (
            dict.fromkeys(("predicted", "rank"), np.full(60, -1))
            | dict.fromkeys(("nats", "confidence"), np.zeros(60)),
            "are of classes that the probe does not have",
        ),
        ({"predicted": np.zeros(60, "u2")}, "have no `rank` for each row"),
        (
            dict.fromkeys(("predicted", "rank"), np.full(60, 9))
            | dict.fromkeys(("nats", "confidence"), np.zeros(60)),
            "are of classes that the probe does not have",
        ),
    ):
        key = ("label", "test", None)
        bad = probes.changed(lambda probe, change=change, key=key: replace(probe, predictions={key: change}))
        with pytest.raises(ProbeFileError, match=said):
            bad.predictions(KEY, "test")
    backwards = [
        replace(each, arrays={**each.arrays, "index": each.arrays["index"][::-1]})
        for each in probes.beside.tables
    ]
    with pytest.raises(ProbeFileError, match="are of rows that are not in ascending order"):
        Probes(probes.values(), beside=Beside(tuple(backwards))).predictions(KEY, "test")
    tables = [
        replace(table, arrays={**table.arrays, "truth": table.arrays["truth"] + 2})
        for table in probes.beside.tables
    ]
    shifted = Probes(probes.values(), beside=Beside(tuple(tables)))
    with pytest.raises(ProbeFileError, match="whose truth is none of the classes"):
        shifted.predictions(KEY, "test")


def test_a_split_without_labels_has_no_rows(tmp_path):
    layers, labels, splits = problem()
    some = np.ma.masked_array(labels, splits == "test")
    probes = solvers.fit_layers(layers, some, splits=splits, C=[0.1, 1.0])
    probes.save(tmp_path / "p.h5")
    said = solvers.load(tmp_path / "p.h5").predictions(KEY, "test")
    assert (len(said), said.logits.shape) == (0, (0, 3))


# the temperature


def overconfident(rows=2000, factor=3.0, seed=0):
    """Logits that are `factor` times those that the labels were drawn by."""
    generator = np.random.default_rng(seed)
    z = generator.normal(size=(rows, 4)) * 2
    gumbel = generator.gumbel(size=z.shape)
    return factor * z, (z + gumbel).argmax(axis=1)


def test_the_temperature_makes_rows_likeliest():
    logits, truth = overconfident()
    found = fit_temperature(logits, truth)
    best = minimize_scalar(
        lambda t: -log_softmax(logits / t, axis=1)[np.arange(len(truth)), truth].mean(),
        bounds=(0.1, 20), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    assert found == pytest.approx(best.x, rel=1e-5)
    assert found == pytest.approx(3, rel=0.1)  # drawn at random: 2,000 rows tell it to some percent
    assert fit_temperature(5 * logits, truth) == pytest.approx(5 * found, rel=1e-6)
    assert fit_temperature(logits + 7, truth) == pytest.approx(found, rel=1e-6)


def test_the_temperature_of_rows_told_apart_without_an_error_is_bounded():
    logits = np.eye(3)[[0, 1, 2]]
    assert fit_temperature(logits, np.array([0, 1, 2])) == pytest.approx(0.01, rel=1e-6)
    assert fit_temperature(logits, np.array([1, 2, 0])) == pytest.approx(100, rel=1e-6)
    assert fit_temperature(logits, np.full(3, UNSEEN)) is None


def test_the_temperature_is_of_val_or_of_the_rows_held_out_from_folds():
    layers, labels, splits, probes = fitted()
    rows = splits == "val"
    expected = fit_temperature(probes[KEY].logits(layers["h"][rows]), labels[rows])
    assert probes[KEY].scores.temperature == pytest.approx(expected, rel=1e-4)  # logits kept in float32
    without = {"splits": {"train": np.flatnonzero(splits != "test")}}
    assert solvers.fit_layers(layers, labels, C=1.0, **without)[KEY].scores.temperature is None
    folds = solvers.fit_layers(layers, labels, C=[0.1, 1.0], folds=3, **without)[KEY]
    assert 0.5 < folds.scores.temperature < 2
    given = solvers.fit_layers(layers, labels, splits=splits, C=1.0)
    assert given[KEY].scores.temperature == given.predictions(KEY, "test").temperature != 1


def test_the_temperature_is_fitted_on_rows_evenly_spaced_where_there_are_many(monkeypatch):
    logits, truth = overconfident(6000)
    probe = LinearMap(np.eye(4), np.zeros(4), np.zeros(4))
    monkeypatch.setattr(recording, "_MOST_CALIBRATED", 8000)
    monkeypatch.setattr(linear_map, "BLOCK_ELEMENTS", 4 * 77)  # no multiple of the stride
    calibration = Calibration(6000, 4)
    score_each(logits, [Scored(truth, probe, None, calibration)])
    assert calibration.temperature() == pytest.approx(fit_temperature(logits[::3], truth[::3]), rel=1e-4)
