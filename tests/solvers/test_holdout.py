import numpy as np
import pytest

from solvers.errors import ProblemError
from solvers.probing.holdout import set_aside


def test_mnist_keeps_54000_rows_to_train_on():
    # The class counts of MNIST's training rows.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    codes = np.repeat(np.arange(10), counts)
    held = set_aside(codes)
    assert held.sum() == 6000
    # Largest remainder: every class within one row of its tenth.
    assert np.all(np.abs(np.bincount(codes[held]) - np.array(counts) / 10) < 1)


def test_the_seed_decides_and_the_global_state_does_not():
    codes = np.random.default_rng(0).integers(0, 3, 200)
    assert np.array_equal(set_aside(codes, seed=4), set_aside(codes, seed=4))
    assert not np.array_equal(set_aside(codes, seed=4), set_aside(codes, seed=5))


@pytest.mark.parametrize("rows", [2, 3, 5, 9, 14, 15, 101])
def test_at_least_one_row_and_about_a_tenth(rows):
    held = set_aside(np.zeros(rows, dtype=int))
    assert held.sum() == max(1, round(rows / 10))


def test_every_class_keeps_a_row_to_train_on():
    codes = np.array([0] * 95 + [1, 2, 3, 4, 5])
    held = set_aside(codes)
    assert set(codes[~held]) == set(range(6))
    assert held.sum() == 10


def test_rows_that_can_not_be_spared():
    with pytest.raises(
        ProblemError, match=r"no row of the 4 training rows can be set aside.*name a `val` split, or"
    ):
        set_aside(np.arange(4))


def test_groups_never_straddle():
    generator = np.random.default_rng(1)
    groups = generator.integers(0, 300, 4000)
    codes = generator.integers(0, 7, 4000)
    held = set_aside(codes, groups, seed=2)
    assert not set(groups[held]) & set(groups[~held])
    # A group has 13 rows on average and 25 at most: the last one taken may overshoot by that.
    assert abs(held.sum() - 400) <= 25
    # No worse than at random: 57 of 570 rows of a class have a standard deviation of 7; three of them.
    assert np.all(np.abs(np.bincount(codes[held]) - np.bincount(codes) / 10) <= 21)


def test_groups_of_one_class_each_are_stratified():
    groups = np.array([f"sentence {index // 10}" for index in range(2000)])
    codes = np.arange(2000) // 1000
    held = set_aside(codes, groups)
    assert np.bincount(codes[held]).tolist() == [100, 100]


def test_groups_too_large_for_a_tenth_give_the_smallest():
    groups = np.repeat(["a", "b", "c"], [50, 30, 40])
    codes = np.arange(120) % 2
    assert set(groups[set_aside(codes, groups)]) == {"b"}


def test_a_group_that_holds_all_of_a_class_stays():
    groups = np.repeat(np.arange(40), 5)
    codes = (groups == 17).astype(int)
    for seed in range(20):
        held = set_aside(codes, groups, seed=seed)
        assert not held[codes == 1].any()
        assert held.sum() == 20


def test_one_group_alone_can_not_be_spared():
    with pytest.raises(ProblemError, match="no group of the 8 training rows can be set aside to choose C with"):
        set_aside(np.arange(8) % 2, np.zeros(8))
