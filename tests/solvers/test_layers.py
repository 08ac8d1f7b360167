import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError
from solvers.probing.holdout import set_aside

ROWS = 300
STRENGTHS = (0.01, 1.0, 100.0)


class Spy:
    """A row source that is nothing but slices, and remembers which rows were read."""

    def __init__(self, array):
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.reads = []

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            raise TypeError(rows)
        self.reads.append(range(*rows.indices(len(self.array))))
        return self.array[rows]

    def rows_read(self):
        return {row for read in self.reads for row in read}


@pytest.fixture
def layers(labels):
    """Two layers: the second tells the classes apart better than the first, and has two feature axes."""
    generator = np.random.default_rng(1)
    signal = np.eye(3)[labels]
    return {
        "input": (signal @ generator.normal(size=(3, 8)) + 2 * generator.normal(size=(ROWS, 8))).astype(
            np.float32
        ),
        "conv": (signal @ generator.normal(size=(3, 12)) + generator.normal(size=(ROWS, 12))).reshape(
            ROWS, 3, 4
        ),
    }


@pytest.fixture
def splits():
    """Scattered rows: about 60% train, 20% val, 20% test."""
    return np.random.default_rng(2).choice(["train", "val", "test"], size=ROWS, p=[0.6, 0.2, 0.2])


def test_it_is_what_solvers_fit_does_by_hand(layers, labels, splits):
    probes = solvers.fit_layers(layers, labels, splits=splits, C=STRENGTHS)
    assert list(probes) == [("input", "label", 0), ("conv", "label", 0)]
    train, val = splits == "train", splits == "val"
    for name, activations in layers.items():
        path = solvers.fit(
            activations[train],
            labels[train],
            C=STRENGTHS,
            scale=True,
            validation=(activations[val], labels[val]),
        )
        probe = probes[name, "label", 0]
        assert probe.C == path.best.C
        assert np.array_equal(probe.weights, path.best.weights)
        assert np.array_equal(probe.bias, path.best.bias)
        assert probe.gap_nats == path.best.gap_nats <= 1e-5
        assert [tried.C for tried in probe.path] == list(STRENGTHS)
        assert [tried.cross_entropy for tried in probe.path] == pytest.approx(
            path.validation_cross_entropy, nan_ok=True
        )
        for split in ("train", "val", "test"):
            rows = splits == split
            assert probe.error[split] == np.mean(path.best.predict(activations[rows]) != labels[rows])
            nats = -path.best.predict_log_proba(activations[rows])[np.arange(rows.sum()), labels[rows]]
            # The same sum of some sixty float64 numbers, in another order.
            assert probe.cross_entropy[split] == pytest.approx(nats.mean(), rel=1e-12)
            assert probe.rows[split] == rows.sum()
            assert probe.chance[split] == np.mean(labels[rows] != np.bincount(labels[train]).argmax())


def test_what_a_probe_says_of_itself(layers, labels):
    probes = solvers.fit_layers(
        layers, labels, C=1.0, target="kind", fingerprint="f00", command="probe fit x", seed=5
    )
    probe = probes["conv", "kind", 0]
    assert (probe.order, probe.shape, probe.width, probe.step) == (1, (3, 4), 12, 0)
    assert (probe.fingerprint, probe.command, probe.seed, probe.scaled) == ("f00", "probe fit x", 5, True)
    assert (probe.status, probe.columns) == ("converged", None)
    assert probe.engine in solvers.engines.choice.names()
    assert probe.engine_reason
    assert probe.seconds > 0
    assert probe.error["train"] < probes["input", "kind", 0].error["train"] < probe.chance["train"]


def test_validation_chooses_c(layers, labels, splits):
    chosen = solvers.fit_layers(layers, labels, splits=splits, C=STRENGTHS, full_path=True)
    for probe in chosen.values():
        losses = [tried.cross_entropy for tried in probe.path]
        assert STRENGTHS[int(np.argmin(losses))] == probe.C
        assert probe.cross_entropy["val"] == pytest.approx(min(losses), rel=1e-9)
        for strength, loss in zip(STRENGTHS, losses, strict=True):
            single = solvers.fit_layers(
                {probe.layer: layers[probe.layer]}, labels, splits=splits, C=strength, gap_nats=1e-8
            )
            (alone,) = single.values()
            # Points of a path are held to 1e-3 nats; on 60 rows the losses may differ by about its root.
            assert alone.cross_entropy["val"] == pytest.approx(loss, abs=0.03)


def test_a_tenth_is_set_aside_and_not_trained_on(layers, labels):
    probes = solvers.fit_layers(layers, labels, C=STRENGTHS, seed=3, holdout=0.1)
    held = set_aside(labels, seed=3)
    for name, activations in layers.items():
        probe = probes[name, "label", 0]
        assert probe.rows == {"train": 270, "val": 30}
        alone = solvers.fit(activations[~held], labels[~held], C=probe.C, scale=True)
        # Both lie within 1e-5 nats of one optimum.
        assert abs(probe.loss - alone.loss) <= probe.gap_nats + alone.gap_nats


def test_a_single_c_trains_on_every_row(layers, labels):
    (probe,) = solvers.fit_layers({"input": layers["input"]}, labels, C=[1.0]).values()
    assert probe.rows == {"train": ROWS}
    assert [tried.C for tried in probe.path] == [1.0]
    assert np.isnan(probe.path[0].cross_entropy)


def test_the_default_sweep(layers, labels, splits):
    (probe,) = solvers.fit_layers({"input": layers["input"]}, labels, splits=splits).values()
    assert [tried.C for tried in probe.path] == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1e3, 1e4])


def test_groups_never_straddle(layers, labels):
    groups = np.arange(ROWS) // 5
    probes = solvers.fit_layers(layers, labels, groups=groups, C=STRENGTHS, holdout=0.1)
    held = set_aside(labels, groups)
    (rows,) = {(probe.rows["train"], probe.rows["val"]) for probe in probes.values()}
    assert rows == ((~held).sum(), held.sum())
    assert not set(groups[held]) & set(groups[~held])


def test_the_test_split_is_read_once_at_the_end(layers, labels):
    spy = Spy(layers["input"])
    splits = {"test": np.arange(0, 60), "train": np.arange(60, ROWS)}
    solvers.fit_layers({"input": spy}, labels, splits=splits, C=STRENGTHS)
    with_test = [index for index, read in enumerate(spy.reads) if read.start < 60]
    assert with_test == [len(spy.reads) - 1]
    assert spy.reads[-1] == range(60)


def test_a_contiguous_split_reads_nothing_else(layers, labels):
    spy = Spy(layers["input"])
    solvers.fit_layers(
        {"input": spy}, labels, splits={"train": range(10, 200), "test": range(220, ROWS)}, C=1.0
    )
    assert spy.rows_read() == {*range(10, 200), *range(220, ROWS)}


def test_scattered_rows_are_read_in_runs_not_one_by_one(layers, labels):
    spy = Spy(layers["input"])
    solvers.fit_layers({"input": spy}, labels, C=STRENGTHS, engine="numpy")
    assert {len(read) for read in spy.reads} & {1} == set()
    assert len(spy.reads) < 100


def test_source_array_and_memory_map_give_the_same(layers, labels, tmp_path):
    np.save(tmp_path / "input.npy", layers["input"])
    mapped = np.load(tmp_path / "input.npy", mmap_mode="r")
    sources = {
        "array": layers["input"],
        "map": mapped,
        "spy": Spy(layers["input"]),
        "list": layers["input"].tolist(),
    }
    probes = solvers.fit_layers(sources, labels, C=STRENGTHS, holdout=0.1)
    losses = {probe.layer: probe.cross_entropy["val"] for probe in probes.values()}
    assert losses["array"] == losses["map"] == losses["spy"]


def test_random_features_are_drawn_from_seed_and_name(layers, labels):
    layers = layers | {"again": layers["conv"]}
    probes = solvers.fit_layers(layers, labels, C=1.0, random_features=10, seed=1)
    assert probes["input", "label", 0].columns is None
    drawn, again = probes["conv", "label", 0], probes["again", "label", 0]
    assert drawn.columns.tolist() == sorted(set(drawn.columns))
    assert len(drawn.columns) == np.isfinite(drawn.scale).sum() == 10
    assert drawn.columns.tolist() != again.columns.tolist()
    repeated = solvers.fit_layers({"conv": layers["conv"]}, labels, C=1.0, random_features=10, seed=1)
    assert np.array_equal(repeated["conv", "label", 0].columns, drawn.columns)
    other = solvers.fit_layers({"conv": layers["conv"]}, labels, C=1.0, random_features=10, seed=2)
    assert not np.array_equal(other["conv", "label", 0].columns, drawn.columns)

    flat = layers["conv"].reshape(ROWS, 12)
    alone = solvers.fit(flat[:, drawn.columns], labels, C=1.0, scale=True)
    assert drawn.weights.shape == (12, 3)
    assert np.array_equal(drawn.weights[drawn.columns], alone.weights)
    assert not np.delete(drawn.weights, drawn.columns, axis=0).any()
    assert np.array_equal(drawn.predict(layers["conv"]), alone.predict(flat[:, drawn.columns]))


@pytest.mark.parametrize("kind", ["text", "bool", "float"])
def test_labels_of_any_type(layers, labels, kind):
    named = {"text": np.array(["ant", "bee", "cat"])[labels], "bool": labels == 1, "float": labels / 2}[kind]
    (probe,) = solvers.fit_layers({"conv": layers["conv"]}, named, C=1.0).values()
    assert probe.classes.tolist() == np.unique(named).tolist()
    assert probe.error["train"] == np.mean(probe.predict(layers["conv"]) != named)


def test_rows_without_a_label_are_skipped_and_counted(layers, labels, splits):
    missing = np.random.default_rng(3).random(ROWS) < 0.3
    masked = np.ma.masked_array(np.where(missing, 99, labels), mask=missing)
    probe = solvers.fit_layers(layers, masked, splits=splits, C=1.0)["conv", "label", 0]
    kept = solvers.fit_layers(
        {"conv": layers["conv"][~missing]}, labels[~missing], splits=splits[~missing], C=1.0
    )["conv", "label", 0]
    assert probe.rows == kept.rows
    assert probe.error == kept.error
    assert probe.unlabelled == {
        split: int(np.sum(missing[splits == split])) for split in ("train", "val", "test")
    }
    message = r"\d+ rows have no label for 'digit' \(\d+ of train, \d+ of val, \d+ of test\); label them, or"
    with pytest.raises(ProblemError, match=message):
        solvers.fit_layers(layers, masked, splits=splits, C=1.0, target="digit", require_all=True)


def test_classes_that_training_never_saw(layers, labels, splits):
    unknown = (splits != "train") & (np.arange(ROWS) % 10 == 0)
    probes = solvers.fit_layers(layers, np.where(unknown, 7, labels), splits=splits, C=STRENGTHS)
    known = solvers.fit_layers(
        {name: layer[~unknown] for name, layer in layers.items()},
        labels[~unknown],
        splits=splits[~unknown],
        C=STRENGTHS,
    )
    for key, probe in probes.items():
        assert probe.classes.tolist() == [0, 1, 2]
        assert probe.C == known[key].C
        assert probe.unseen == {
            split: int(np.sum(unknown[splits == split])) for split in ("train", "val", "test")
        }
        for split in ("val", "test"):
            wrong = known[key].error[split] * known[key].rows[split] + probe.unseen[split]
            assert probe.error[split] == pytest.approx(wrong / probe.rows[split])
            assert probe.cross_entropy[split] == pytest.approx(known[key].cross_entropy[split])
