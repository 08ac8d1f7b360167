"""Which positions of a batch are rows, and how a layer's positions become them."""

import numpy as np
import pytest

from actstore.adapters import ModelLayer
from actstore.errors import DumpError, LayerError, RowError
from actstore.reductions import ReductionSettings, plan_reductions
from actstore.reductions.apply import reduce_layer
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.reductions.parts_of_examples import BatchRows, Spots
from actstore.reductions.positions import RealPositions
from actstore.store.documents.bfloat16 import narrowed, widened

TOKENS = ("position", "feature")
MASK = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
WORD_OF = np.array([[-1, 0, 0, 0, 1], [-1, 1, 0, 1, -1], [-1, -1, -1, -1, -1]])
"""Of three examples the words: of three and one sub-words; a second word around the first; none."""


def layer(shape=(5, 2), axes=TOKENS, dtype="float32", name="layer"):
    return ModelLayer(name, "array", shape, axes, dtype)


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def made(array, unit, *pool, axes=TOKENS, rows=None, word_of=None, mask=None, dtype=None, **settings):
    """What a layer's rows are, and the layer as it is stored."""
    bits = Bits(array, dtype or array.dtype.name)
    plan = plan_reductions(
        ReductionSettings(pool, **settings), [layer(array.shape[1:], axes, bits.dtype)], unit
    )
    rows = BatchRows(unit) if rows is None else rows
    real = RealPositions({"x": array, "attention_mask": mask}, rows)
    rows.begin(len(array), real.mask, word_of)
    found, _ = reduce_layer(bits, plan.of("layer"), real, ArrayOperations())
    (stored,) = plan.layers
    assert (found.array.shape[1:], found.dtype) == (stored.shape, stored.dtype)
    assert len(stored.axes) == len(stored.shape)
    assert len(found.array) == len(rows)
    return stored, found.array


# Which rows


def test_spots_are_in_the_order_of_examples_and_rows_with_their_positions_together():
    spots = Spots.of(WORD_OF)
    assert spots.examples.tolist() == [0, 0, 1, 1]
    assert spots.positions.tolist() == [0, 1, 0, 1]
    assert spots.counts.tolist() == [3, 1, 1, 2]
    assert spots.places.tolist() == [1, 2, 3, 4, 2, 1, 3]
    second = spots.only(np.array([False, True, False, True]))
    assert (second.examples.tolist(), second.positions.tolist()) == ([0, 1], [1, 1])
    assert (second.counts.tolist(), second.places.tolist()) == ([1, 2], [4, 1, 3])


def test_tokens_are_the_real_positions_numbered_from_the_first_real_one():
    rows = BatchRows("token")
    array = normal(3, 5, 2)
    _, found = made(array, "token", mask=MASK, rows=rows)
    assert rows.spots.examples.tolist() == [0] * 3 + [1] * 3 + [2] * 5
    assert rows.spots.positions.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4]
    np.testing.assert_array_equal(found, np.concatenate([array[0, :3], array[1, 2:], array[2]]))


def test_without_a_mask_every_position_is_a_token():
    array = normal(2, 3, 4, dtype=np.float16)
    stored, found = made(array, "token")
    assert (stored.shape, stored.axes) == ((4,), ("feature",))
    np.testing.assert_array_equal(found, array.reshape(6, 4))


def test_rows_that_are_not_kept_are_left_out_wherever_they_are():
    rows = BatchRows("token", kept=lambda example, count: np.arange(count) % 2 == example % 2)
    array = normal(3, 5, 2)
    _, found = made(array, "token", mask=MASK, rows=rows)
    assert rows.spots.positions.tolist() == [0, 2, 1, 0, 2, 4]
    np.testing.assert_array_equal(found, array[[0, 0, 1, 2, 2, 2], [0, 2, 3, 0, 2, 4]])


def test_no_row_may_be_kept_at_all():
    _, found = made(
        normal(2, 3, 4), "token", rows=BatchRows("token", kept=lambda _, count: np.zeros(count, bool))
    )
    assert found.shape == (0, 4)
    for pool in ("mean", "max", "first", "last"):
        rows = BatchRows("word", kept=lambda _, count: np.zeros(count, bool))
        assert made(normal(3, 5, 2), "word", pool, word_of=WORD_OF, rows=rows)[1].shape == (0, 2)


# How layers become rows


@pytest.mark.parametrize(
    ("axes", "axis", "kept"),
    [
        (("position", "feature"), 1, ("feature",)),
        (("position",), 1, ()),
        (("position", "head", "feature"), 1, ("head", "feature")),
        (("channel", "position"), 2, ("channel",)),
    ],
)
def test_the_axis_of_positions_is_the_one_called_so(axes, axis, kept):
    sides = [3 if place == axis else 5 + place for place in range(1, len(axes) + 1)]
    array = normal(2, *sides)
    stored, found = made(array, "token", axes=axes)
    assert stored.axes == kept
    np.testing.assert_array_equal(found, np.moveaxis(array, axis, 1).reshape(6, *stored.shape))


@pytest.mark.parametrize("pool", ["mean", "max", "first", "last", None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16])
def test_words_are_joined_as_the_pool_says_by_default_by_their_mean(pool, dtype):
    array = (100 * normal(3, 5, 2)).astype(dtype)
    stored, found = made(array, "word", *([pool] if pool else []), word_of=WORD_OF)
    parts = [array[0, 1:4], array[0, 4:5], array[1, 2:3], array[1, [1, 3]]]
    exact = {"first": lambda part: part[0], "last": lambda part: part[-1], "max": lambda part: part.max(axis=0)}
    if pool in exact:
        np.testing.assert_array_equal(found, [exact[pool](part) for part in parts])
        assert stored.dtype == array.dtype.name
        return
    expected = np.array([part.astype(np.float64).mean(axis=0) for part in parts])
    # Summed in float64 and rounded to float32, then once more to what a float16 layer is stored in.
    rounded = expected if dtype is np.float64 else expected.astype(np.float32)
    np.testing.assert_array_equal(found, rounded.astype(stored.dtype))


def test_bfloat16_words_are_joined_by_value():
    array = narrowed(normal(3, 5, 2))
    values = widened(array)
    for pool, expected in (
        ("max", values[1, [1, 3]].max(axis=0)),
        ("first", values[1, 1]),
        ("last", values[1, 3]),
    ):
        found = made(array, "word", pool, word_of=WORD_OF, dtype="bfloat16")[1]
        np.testing.assert_array_equal(widened(found[3]), expected)
    mean = made(array, "word", word_of=WORD_OF, dtype="bfloat16")[1]
    np.testing.assert_array_equal(mean[3], narrowed(values[1, [1, 3]].mean(axis=0)))


def test_features_are_drawn_and_projected_from_the_rows():
    array = normal(3, 5, 40)
    _, whole = made(array, "word", word_of=WORD_OF)
    stored, found = made(array, "word", word_of=WORD_OF, random_features=7, random_projection=3)
    assert stored.shape == (3,)
    drawn = plan_reductions(ReductionSettings(random_features=7), [layer((5, 40))], "word").of("layer")
    again = made(whole[:, drawn.random_features.indices], "token", axes=("position",))[1]
    assert again.shape == (4 * 7,)
    assert found.shape == (4, 3)
    one = made(array, "word", word_of=WORD_OF, random_features=7)[1]
    np.testing.assert_array_equal(one, whole[:, drawn.random_features.indices])


def test_what_was_done_is_recorded():
    plan = plan_reductions(ReductionSettings(("last",), dtype="float16"), [layer()], "word")
    assert plan.document()["layers"]["layer"] == {
        "axes": ["position", "feature"],
        "dtype": "float32",
        "steps": [
            {"step": "rows", "row": "word", "join": "last", "axes": ["position"]},
            {"step": "cast", "from": "float32", "to": "float16"},
        ],
    }


# Refused


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (layer((2,), ("feature",), name="pooler"), r"'pooler' has the shape \(2,\) of \(feature\) per example"),
        (
            layer((3, 4), ("axis0", "axis1")),
            r"\(axis0, axis1\) per example, no axis that is known to hold positions",
        ),
        (layer((), ()), r"'layer' has the shape \(\) of \(no axes\)"),
        (
            layer((3, 4, 4), ("channel", "height", "width")),
            r"'layer' has the shape \(3, 4, 4\) of \(channel, height",
        ),
        (
            layer((3, 3), ("position", "position")),
            r"\(position, position\) per example, 2 axes of positions, so it has no row per token",
        ),
    ],
)
def test_a_layer_without_positions_is_named_with_its_shape(row, message):
    with pytest.raises(LayerError, match=f"layers whose row counts differ: .*{message}.*leave it out"):
        plan_reductions(ReductionSettings(), [row], "token")


def test_a_layer_of_other_positions_is_named_with_both_counts():
    with pytest.raises(
        LayerError, match=r"'layer' has the shape \(1, 2\) for a batch whose examples have 5 positions"
    ):
        made(normal(3, 1, 2), "token", mask=MASK)
    rows = BatchRows("token")
    rows.begin(2, None, None)
    rows.at("first", (2, 4, 3), 1)
    with pytest.raises(LayerError, match=r"'second' has the shape \(3, 3\) .* have 4 positions"):
        rows.at("second", (2, 3, 3), 1)


@pytest.mark.parametrize("pool", ["mean", "cls", "layer=first"])
def test_tokens_leave_nothing_to_pool(pool):
    with pytest.raises(LayerError, match="has no positions to pool: with --row token each of them is a row"):
        plan_reductions(ReductionSettings((pool,)), [layer()], "token")


@pytest.mark.parametrize("pool", ["none", "cls"])
def test_words_are_made_of_all_their_subwords_alike(pool):
    with pytest.raises(
        LayerError, match=f"pool '{pool}' does not make one row of a word's sub-words; expected mean"
    ):
        plan_reductions(ReductionSettings((pool,)), [layer()], "word")


def test_words_that_nobody_knows():
    with pytest.raises(DumpError, match=r"does not know which positions belong to which word; .*--row token"):
        made(normal(2, 3, 4), "word")


def test_other_words_than_the_source_says():
    with pytest.raises(
        RowError, match="row 1 of the batch has 3 words, of which the tokenizer made 2"
    ) as caught:
        made(normal(3, 5, 2), "word", word_of=WORD_OF, rows=BatchRows("word", np.array([2, 3, 0])))
    assert caught.value.row == 1


def test_an_example_without_a_real_token_is_named():
    with pytest.raises(RowError, match="row 1 of the batch has no real token") as caught:
        made(normal(2, 3, 4), "token", mask=np.array([[1, 0, 0], [0, 0, 0]]))
    assert caught.value.row == 1
