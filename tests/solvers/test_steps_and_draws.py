"""Several steps and several draws of columns in one call and one file; and what must be exactly equal."""

import numpy as np
import pytest
from scipy import stats

import solvers
from solvers.errors import ProblemError
from solvers.probing.fit_layers import FitInterrupted
from solvers.probing.probes import Probes
from solvers.probing.row_table import Beside

ROWS = 300


def network(seed=0):
    """Labels, and the layers of a network at three steps: more and more to read off."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, ROWS)
    noise = {name: generator.normal(size=(ROWS, 10)) for name in ("a", "b")}
    steps = {
        step: {name: (signal * np.eye(3, 10)[labels] + noise[name]).astype("f4") for name in noise}
        for step, signal in ((0, 0.2), (500, 1.0), (2000, 1.02))
    }
    return labels, steps


OPTIONS = {"C": [0.01, 0.1, 1.0], "engine": "numpy", "gap_nats": 1e-7}


def test_all_steps_of_one_call_are_the_fits_of_each_on_the_same_rows_set_aside():
    labels, steps = network()
    together = solvers.fit_layers(steps, labels, holdout=0.2, seed=4, **OPTIONS)
    assert sorted(together) == sorted((name, "label", step) for step in steps for name in "ab")
    held_out = {key: together.predictions(key, "val").index.tolist() for key in together}
    assert len({tuple(each) for each in held_out.values()}) == 1
    for step, layers in steps.items():
        alone = solvers.fit_layers(layers, labels, step=step, holdout=0.2, seed=4, **OPTIONS)
        for key, probe in alone.items():
            assert (
                together.predictions(key, "val").index.tolist() == alone.predictions(key, "val").index.tolist()
            )
            assert together[key].C == probe.C
            assert abs(together[key].loss - probe.loss) <= together[key].gap_nats + probe.gap_nats
            assert together[key].rows_fingerprint == probe.rows_fingerprint


def test_each_step_starts_from_the_one_before():
    labels, steps = network()
    options = {"C": 10.0, "engine": "numpy", "gap_nats": 1e-9}
    together = solvers.fit_layers(steps, labels, **options)
    alone = solvers.fit_layers(steps[2000], labels, step=2000, **options)
    for key, probe in alone.items():
        assert together[key].path[0].passes < probe.path[0].passes
    again = solvers.fit_layers(
        steps[2000], labels, step=2000, warm_start=solvers.fit_layers(steps[500], labels, **options), **options
    )
    for key in again:
        assert again[key].path[0].passes <= together[key].path[0].passes + 2


def test_steps_that_were_interrupted_go_on(tmp_path):
    labels, steps = network()
    kept = {
        "parts": tmp_path / "p.parts",
        "notice": lambda _: None,
        "fingerprint": {0: "x", 500: "y", 2000: "z"},
    }

    def stop(progress):
        if progress.layer == "b (step 500)":
            raise KeyboardInterrupt

    with pytest.raises(
        FitInterrupted, match=r"interrupted at layer 'b \(step 500\)', with 3 of 6 layers fitted"
    ):
        solvers.fit_layers(steps, labels, progress=stop, **OPTIONS, **kept)
    resumed = solvers.fit_layers(steps, labels, **OPTIONS, **kept)
    straight = solvers.fit_layers(steps, labels, **OPTIONS)
    assert list(resumed) == list(straight)
    for key, probe in straight.items():
        np.testing.assert_array_equal(probe.weights, resumed[key].weights)
        assert resumed[key].fingerprint == kept["fingerprint"][key[2]]


def test_a_layer_that_fails_at_one_step_is_named_with_it():
    labels, steps = network()
    steps[500]["a"][7, 3] = np.nan
    probes = solvers.fit_layers(steps, labels, **OPTIONS)
    assert list(probes.failures) == ["a (step 500)"]
    assert ("a", "label", 2000) in probes
    assert ("a", "label", 500) not in probes


def test_one_c_is_that_of_all_steps():
    labels, steps = network()
    probes = solvers.fit_layers(steps, labels, one_C=True, **OPTIONS)
    assert len({probe.C for probe in probes.values()}) == 1
    assert {probe.proof.chosen["one_C"] for probe in probes.values()} == {6}


def test_steps_and_step_exclude_each_other():
    labels, steps = network()
    with pytest.raises(
        ProblemError, match="layers are by step, 0, 500, 2000, and step is 7, too; leave out one"
    ):
        solvers.fit_layers(steps, labels, step=7, **OPTIONS)


# joining


def test_probes_of_two_steps_are_joined(tmp_path):
    labels, steps = network()
    one, two = (solvers.fit_layers(steps[step], labels, step=step, holdout=0.2, **OPTIONS) for step in (0, 500))
    both = one | two
    both.save(tmp_path / "p.h5")
    loaded = solvers.load(tmp_path / "p.h5")
    assert list(loaded) == list(both)
    for key in both:
        one_of = (one if key in one else two).predictions(key, "val")
        np.testing.assert_array_equal(loaded.predictions(key, "val").logits, one_of.logits)


def test_what_clashes_is_not_joined():
    labels, steps = network()
    one = solvers.fit_layers(steps[0], labels, holdout=0.2, **OPTIONS)
    with pytest.raises(ProblemError, match=r"both have a probe of the key \('a', 'label', 0\)"):
        one | one
    other = solvers.fit_layers(steps[500], labels, step=500, holdout=0.2, seed=1, **OPTIONS)
    with pytest.raises(
        ProblemError, match="scored on different rows of target 'label', split 'train', so they cannot"
    ):
        one | other
    with pytest.raises(ProblemError, match="both hold 'x', which this version does not know how to join"):
        Probes([], beside=Beside(extra={"x": 1})) | Probes([], beside=Beside(extra={"x": 2}))
    failed = Probes([], {"c": "bad"}) | Probes([], {"c": "worse", "d": "bad"})
    assert failed.failures == {"c": "bad; worse", "d": "bad"}
    with pytest.raises(TypeError):
        one | {}


# draws


@pytest.mark.parametrize("drawn", [{"feature_subset": 3}, {"random_projection": 3}])
def test_every_seed_is_a_probe_of_its_own_over_the_same_rows(tmp_path, drawn):
    labels, steps = network()
    layers = {**steps[500], "narrow": steps[500]["a"][:, :3]}
    options = OPTIONS | drawn | {"holdout": 0.2}
    probes = solvers.fit_layers(layers, labels, seed=5, seeds=3, **options)
    probes.save(tmp_path / "p.h5")
    loaded = solvers.load(tmp_path / "p.h5")
    drawn_keys = [(name, "label", 0, seed) for name in "ab" for seed in (5, 6, 7)]
    assert list(loaded) == list(probes) == [*drawn_keys, ("narrow", "label", 0)]
    assert len({probes[key].weights.tobytes() for key in drawn_keys[:3]}) == 3
    assert len({tuple(probes.predictions(key, "val").index) for key in probes}) == 1
    first = solvers.fit_layers(layers, labels, seed=5, **options)
    np.testing.assert_allclose(first["a", "label", 0].weights, probes["a", "label", 0, 5].weights, rtol=1e-9)
    assert {row["seed"] for row in probes.table().to_dict("records")} == {5, 6, 7}
    found = {(each.layer, each.split, each.metric): each for each in solvers.spread_over_seeds(loaded.values())}
    assert set(found) == {
        (layer, split, metric)
        for layer in "ab"
        for split in ("train", "val")
        for metric in ("error", "cross_entropy")
    }
    values = [probes[key].error["val"] for key in drawn_keys[:3]]
    spread = found["a", "val", "error"]
    assert (spread.mean, spread.std) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    interval = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (spread.low, spread.high) == pytest.approx(interval)


def test_a_projection_folds_back_into_the_full_width():
    labels, steps = network()
    x = steps[500]["a"].reshape(ROWS, 2, 5) + 50  # far from zero
    probe = solvers.fit_layers({"a": x}, labels, C=1.0, random_projection=4, gap_nats=1e-9)["a", "label", 0]
    assert (probe.width, probe.where.projection, probe.shape) == (10, 4, (2, 5))
    matrix = np.random.default_rng([0, *b"a"]).normal(scale=0.5, size=(10, 4))
    direct = solvers.fit(x.reshape(ROWS, 10).astype(float) @ matrix, labels, C=1.0, scale=True, gap_nats=1e-9)
    # Both are within 1e-9 nats of one optimum.
    np.testing.assert_allclose(
        probe.predict_proba(x), direct.predict_proba(x.reshape(ROWS, 10).astype(float) @ matrix), atol=1e-3
    )
    assert probe.cross_entropy["train"] == pytest.approx(
        solvers.evaluate(probe, x, labels).cross_entropy, rel=1e-9
    )
    assert np.linalg.matrix_rank(probe.weights) <= 4
    again = solvers.fit_layers(
        {"a": x}, labels, C=1.0, random_projection=4, gap_nats=1e-9,
        warm_start={probe.key: probe},
    )["a", "label", 0]  # fmt: skip
    assert again.path[0].passes < probe.path[0].passes


def test_draws_that_draw_nothing_are_refused():
    labels, steps = network()
    for options, said in (
        ({"seeds": 3}, "seeds is 3, but nothing is drawn: every seed would give the same probe"),
        ({"seeds": 0, "feature_subset": 2}, "seeds is 0; expected a number of draws, 1 or more"),
        ({"random_projection": 0}, "random_projection is 0; expected a number of directions, 1 or more"),
        ({"random_projection": 2, "feature_subset": 2}, "both given; give one"),
    ):
        with pytest.raises(ProblemError, match=said):
            solvers.fit_layers(steps[0], labels, **OPTIONS, **options)


def test_the_former_name_of_a_feature_subset_is_taken():
    labels, steps = network()
    one = solvers.fit_layers(steps[0], labels, C=1.0, random_features=3)
    two = solvers.fit_layers(steps[0], labels, C=1.0, feature_subset=3)
    for key in one:
        np.testing.assert_array_equal(one[key].weights, two[key].weights)
    np.testing.assert_array_equal(
        solvers.fit(steps[0]["a"], labels, random_features=3).weights,
        solvers.fit(steps[0]["a"], labels, feature_subset=3).weights,
    )
    with pytest.raises(TypeError, match="got both 'feature_subset' and 'random_features', its former name"):
        solvers.fit(steps[0]["a"], labels, random_features=3, feature_subset=3)


# what is exactly equal


def probabilities(layer, labels, C, seen=None, **options):
    (probe,) = solvers.fit_layers({"h": layer}, labels, C=C, gap_nats=1e-12, engine="numpy", **options).values()
    return probe.predict_proba(layer if seen is None else seen)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scale", [True, False])
def test_a_layer_beside_itself_at_half_c_is_the_layer(classes, scale):
    """With weights w/2 on both copies the penalty is ‖w‖²/2: C at half of it is the same problem."""
    labels, steps = network()
    x, labels = steps[500]["a"], labels % classes
    twice = solvers.ConcatFeatures(x, x)
    # Within 1e-12 nats of the optimum, where the loss is quadratic: probabilities to its square root.
    options = {"scale": scale, "splits": {"train": range(200)}}
    np.testing.assert_allclose(
        probabilities(twice, labels, 0.25, **options), probabilities(x, labels, 0.5, **options), atol=1e-5
    )
    assert (
        np.abs(probabilities(x, labels, 0.25, **options) - probabilities(x, labels, 0.5, **options)).max()
        > 1e-2
    )


@pytest.mark.parametrize("scale", [True, False])
def test_a_layer_beside_zeros_is_the_layer(scale):
    labels, steps = network()
    x = steps[500]["a"]
    with_zeros = solvers.ConcatFeatures(x, np.zeros((ROWS, 4), "f4"))
    np.testing.assert_allclose(
        probabilities(with_zeros, labels, 0.5, scale=scale),
        probabilities(x, labels, 0.5, scale=scale),
        atol=1e-5,
    )


@pytest.mark.parametrize("scale", [True, False])
def test_the_order_of_columns_changes_nothing(scale):
    labels, steps = network()
    x = steps[500]["a"] * np.linspace(0.1, 9, 10, dtype="f4")
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_allclose(
        probabilities(x[:, order], labels, 0.5, scale=scale),
        probabilities(x, labels, 0.5, scale=scale),
        atol=1e-5,
    )
