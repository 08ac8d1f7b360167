from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from solvers import linear_map
from solvers.errors import ProblemError
from solvers.labels import UNSEEN
from solvers.linear_map import LinearMap
from solvers.probing.evaluate import evaluate
from solvers.probing.probe import Probe
from solvers.probing.records import ProbeMap, Proof, Scores, Where
from solvers.scoring.split_score import LEFT_OUT, Scored, nonfinite_rows, score, score_each


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    return SimpleNamespace(
        activations=generator.normal(size=(50, 2, 3)).astype(np.float32),
        map=LinearMap(generator.normal(size=(6, 4)), generator.normal(size=4), generator.normal(size=6)),
        codes=generator.integers(0, 4, 50),
    )


@pytest.fixture
def probe(rows):
    """A probe whose numbers do not come from a fit; only what scoring needs matters here."""
    return make_probe((2, 3), np.array(["a", "b", "c", "d"]), rows.map)


def make_probe(shape, classes, linear, columns=None):
    return Probe(
        Where(("fc",), "letter", shape),
        ProbeMap(linear.weights, linear.intercept, linear.mean, classes, scale=np.ones(6), columns=columns),
        Proof(1.0, "converged", 0.0, 0.0, "numpy", "", ()),
        Scores(*[{}] * 6),
    )


def by_hand(rows, codes):
    """Error and cross-entropy from the textbook's formula, row by row."""
    logits = (
        rows.activations.reshape(50, 6).astype(np.float64) - rows.map.mean
    ) @ rows.map.weights + rows.map.intercept
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    seen = codes != UNSEEN
    nats = -np.log(probabilities[seen, codes[seen]])
    return np.mean(logits.argmax(axis=1) != codes), nats.mean()


def test_score_is_the_textbook_s(rows):
    result = score(rows.activations, rows.codes, rows.map)
    error, cross_entropy = by_hand(rows, rows.codes)
    assert result.error == error
    # Two ways of summing 50 numbers of order one in float64.
    assert result.cross_entropy == pytest.approx(cross_entropy, rel=1e-13)
    assert (result.rows, result.unseen, result.nonfinite) == (50, 0, 0)


def test_several_probes_are_scored_in_one_reading_each_on_its_own_rows(rows):
    class Counted:
        shape, dtype, reads = rows.activations.shape, rows.activations.dtype, 0

        def __getitem__(self, wanted):
            self.reads += 1
            return rows.activations[wanted]

    source, mine = Counted(), np.arange(50) % 3 == 0
    generator = np.random.default_rng(1)
    small = LinearMap(generator.normal(size=(6, 2)), np.array([0.1, -0.1]), generator.normal(size=6))
    other = Scored(np.where(mine, rows.codes % 2, LEFT_OUT), small)
    first, second = score_each(source, [Scored(rows.codes, rows.map), other])
    assert source.reads == 1
    for found, alone in (
        (first, score(rows.activations, rows.codes, rows.map)),
        (second, score(rows.activations[mine], rows.codes[mine] % 2, small)),
    ):
        assert (found.error, found.rows, found.unseen) == (alone.error, alone.rows, alone.unseen)
        # Two orders of summing fifty numbers of order one in float64.
        assert found.cross_entropy == pytest.approx(alone.cross_entropy, rel=1e-13)


def test_rows_that_are_not_finite_count_for_the_probes_that_need_them(rows):
    rows.activations[4, 0, 0] = np.nan
    elsewhere = np.where(np.arange(50) == 4, LEFT_OUT, rows.codes)
    both = [Scored(codes, rows.map) for codes in (rows.codes, elsewhere)]
    assert [found.nonfinite for found in score_each(rows.activations, both)] == [1, 0]


def test_block_size_does_not_matter(rows, monkeypatch):
    whole = score(rows.activations, rows.codes, rows.map)
    monkeypatch.setattr(linear_map, "BLOCK_ELEMENTS", 7 * 6)
    in_blocks = score(rows.activations, rows.codes, rows.map)
    assert in_blocks.error == whole.error
    assert in_blocks.cross_entropy == pytest.approx(whole.cross_entropy, rel=1e-13)


def test_huge_logits_do_not_overflow(rows):
    huge = replace(rows.map, weights=rows.map.weights * 1e6)
    result = score(rows.activations, rows.codes, huge)
    assert np.isfinite(result.cross_entropy)


def test_unseen_classes_are_errors_and_not_in_the_cross_entropy(rows):
    codes = np.where(np.arange(50) < 5, UNSEEN, rows.codes)
    result = score(rows.activations, codes, rows.map)
    error, cross_entropy = by_hand(rows, codes)
    assert result.error == error
    assert result.error > score(rows.activations, rows.codes, rows.map).error
    assert result.cross_entropy == pytest.approx(cross_entropy, rel=1e-13)
    assert result.unseen == 5


def test_no_rows_and_no_seen_rows(rows):
    none = score(rows.activations[:0], rows.codes[:0], rows.map)
    assert np.isnan(none.error)
    assert np.isnan(none.cross_entropy)
    unseen = score(rows.activations, np.full(50, UNSEEN), rows.map)
    assert unseen.error == 1
    assert np.isnan(unseen.cross_entropy)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_rows_are_counted_not_scored(rows, bad):
    activations = rows.activations.copy()
    activations[[3, 17], 0, 1] = bad
    result = score(activations, rows.codes, rows.map)
    assert result.nonfinite == nonfinite_rows(activations) == 2
    assert np.isnan(result.error)
    assert np.isnan(result.cross_entropy)


def test_evaluate_skips_rows_without_a_label(rows, probe):
    letters = np.ma.masked_array(probe.classes[rows.codes], mask=np.arange(50) % 5 == 0)
    result = evaluate(probe, rows.activations, letters)
    kept = np.arange(50) % 5 != 0
    assert result == score(rows.activations[kept], rows.codes[kept], rows.map)
    assert result.rows == 40


def test_evaluate_looks_only_at_the_random_features(rows):
    columns = np.array([1, 4])
    weights = np.zeros((6, 4))
    weights[columns] = rows.map.weights[columns]
    linear = replace(rows.map, weights=weights)
    probe = make_probe((6,), np.arange(4), linear, columns)
    flat = rows.activations.reshape(50, 6).copy()
    expected = score(flat, rows.codes, linear)
    flat[:, 2] = np.nan
    result = evaluate(probe, flat, rows.codes)
    assert result.error == expected.error
    # The same products, summed over two columns instead of six.
    assert result.cross_entropy == pytest.approx(expected.cross_entropy, rel=1e-13)


def test_evaluate_refuses_what_it_can_not_score(rows, probe):
    letters = probe.classes[rows.codes]
    with pytest.raises(ProblemError, match="there are 50 rows but 49 labels; give one label per row"):
        evaluate(probe, rows.activations, letters[1:])
    with pytest.raises(
        ProblemError, match="none of the 50 rows has a label for 'letter'; give labels to evaluate on"
    ):
        evaluate(probe, rows.activations, np.ma.masked_all(50, dtype="U1"))
    with pytest.raises(
        ProblemError, match=r"layer 'fc' takes activations of shape \(rows, 2, 3\) but got \(50, 5\)"
    ):
        evaluate(probe, np.zeros((50, 5)), letters)
    rows.activations[7, 1, 1] = np.nan
    with pytest.raises(
        ProblemError, match="1 of 50 rows of layer 'fc' hold NaN or infinite values; leave those rows"
    ):
        evaluate(probe, rows.activations, letters)
