"""Padding is not stored unasked: told before the first row, with what to choose."""

import numpy as np
import pytest

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import DumpError, LayerError
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData
from actstore.sources.python import from_object

TABLE = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
CHOICES = r"choose --pool last or --pool mean .*, or --row token .*; --pool none stores what there is"


def model(batch):
    hidden = TABLE[batch["input_ids"]] * batch["attention_mask"][..., None].astype(np.float32)
    return {"hidden": hidden, "summed": hidden.sum(axis=1)}


def batch(*lengths):
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": np.random.default_rng(1).integers(1, 50, mask.shape) * mask, "attention_mask": mask}


def run(out, batches, layers=("hidden",), **settings):
    data = [SplitData("", from_object(batches, "batches"))]
    return dump(model, data, out, DumpSettings(layers, **settings))


@pytest.mark.parametrize("batches", [[batch(3, 5, 4)], [batch(5, 5), batch(5, 4)]], ids=["first", "second"])
def test_a_padded_batch_is_refused_with_the_three_choices(tmp_path, batches):
    with pytest.raises(LayerError, match=rf"layer 'hidden' would be stored with all positions .*: {CHOICES}"):
        run(tmp_path / "run.acts", batches)
    assert not (tmp_path / "run.acts").exists()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "float64"])
def test_a_mask_is_one_in_every_type_of_number(tmp_path, dtype):
    padded = batch(3, 5, 4)
    padded["attention_mask"] = padded["attention_mask"].astype(dtype)
    with pytest.raises(LayerError, match=CHOICES):
        run(tmp_path / "run.acts", [padded])
    with run(tmp_path / "tokens.acts", [padded], row="token") as store:
        assert store.layers["hidden"].shape == (12, 4)


def forms():
    """The mask of three texts of 3, 5 and 4 tokens, as models take it."""
    real = batch(3, 5, 4)["attention_mask"]
    wide = real[:, None, None, :]
    yield "four axes", wide
    yield "three axes", real[:, None, :].astype(bool)
    yield "floats of four axes", wide.astype(np.float32)


ADDED = [
    np.array([[0, 0, 0, 0, 0], [0, 0, 0, least, least]], "f4") for least in (-1e4, -np.inf, np.finfo("f4").min)
]


def of_any_mask(batch):
    return {"hidden": TABLE[batch["input_ids"]]}


@pytest.mark.parametrize("mask", [pytest.param(mask, id=name) for name, mask in forms()])
@pytest.mark.parametrize("mask_first", [False, True])
def test_a_mask_is_one_in_every_form(tmp_path, mask, mask_first):
    ids = {"input_ids": batch(3, 5, 4)["input_ids"]}
    padded = {"attention_mask": mask, **ids} if mask_first else {**ids, "attention_mask": mask}
    data = [SplitData("", from_object([padded], "batches"))]
    with pytest.raises(LayerError, match=CHOICES):
        dump(of_any_mask, data, tmp_path / "run.acts", DumpSettings(("hidden",)))
    with dump(of_any_mask, data, tmp_path / "tokens.acts", DumpSettings(("hidden",), row="token")) as store:
        assert store.layers["hidden"].shape == (12, 4)
    with dump(
        of_any_mask,
        data,
        tmp_path / "last.acts",
        DumpSettings(("hidden",), reductions=ReductionSettings(("last",))),
    ) as store:
        expected = TABLE[ids["input_ids"][[0, 1, 2], [2, 4, 3]]]
        np.testing.assert_array_equal(store.layers["hidden"][:], expected)


@pytest.mark.parametrize(
    "mask",
    [
        np.tril(np.ones((5, 5), np.int64))[None, None].repeat(2, axis=0),
        np.full((2, 5), 0.5),
        np.array([[0, 0, 0, 0, -0.5]] * 2),
        np.array([[1, 1, 1, np.nan, 0]] * 2),
        np.ones((1, 5), np.int64),
        *ADDED,
        *(mask[:, None, None, :] for mask in ADDED),
    ],
)
def test_what_is_called_a_mask_and_is_none_is_refused_in_a_line(tmp_path, mask):
    one = {"input_ids": batch(5, 5)["input_ids"], "attention_mask": mask}
    data = [SplitData("", from_object([one], "batches"))]
    settings = DumpSettings(("hidden",), batch_size=2)
    with pytest.raises(LayerError, match="does not tell which of them are padding") as caught:
        dump(of_any_mask, data, tmp_path / "run.acts", settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mask", [np.zeros((2, 5), int), np.zeros((2, 5), "f4"), np.zeros((2, 1, 1, 5), "f4")])
def test_a_mask_of_zeros_is_of_padding_alone(tmp_path, mask):
    data = [
        SplitData("", from_object([{"input_ids": batch(5, 5)["input_ids"], "attention_mask": mask}], "batches"))
    ]
    with pytest.raises(LayerError, match=CHOICES):
        dump(of_any_mask, data, tmp_path / "run.acts", DumpSettings(("hidden",)))


def test_a_mask_of_four_axes_without_padding_is_stored(tmp_path):
    one = {"input_ids": batch(5, 5)["input_ids"], "attention_mask": np.ones((2, 1, 1, 5))}
    data = [SplitData("", from_object([one], "batches"))]
    with dump(of_any_mask, data, tmp_path / "run.acts", DumpSettings(("hidden",))) as store:
        assert store.layers["hidden"].shape == (2, 5, 4)


@pytest.mark.parametrize("settings", [{"row": "token"}, {"reductions": ReductionSettings(("last",))}], ids=str)
@pytest.mark.parametrize("empty", [0, 3, 7])
def test_a_text_without_a_token_is_named(tmp_path, settings, empty):
    texts = batch(5, 5, 5, 5, 4, 5, 5, 5)
    texts["attention_mask"][empty] = 0
    with pytest.raises(DumpError, match=f"^row '{empty}' has no real token"):
        run(tmp_path / "run.acts", [texts], batch_size=8, **settings)
    with pytest.raises(DumpError, match=f"^row '{8 + empty}' has no real token"):
        run(tmp_path / "second.acts", [batch(5, 5, 5, 5, 5, 5, 5, 5), texts], batch_size=8, **settings)


def test_features_drawn_over_positions_are_no_way_around_it(tmp_path):
    with pytest.raises(LayerError, match=CHOICES):
        run(tmp_path / "run.acts", [batch(3, 5)], reductions=ReductionSettings(random_features=3))


def test_batches_of_other_lengths_are_told_the_same(tmp_path):
    with pytest.raises(
        LayerError, match=rf"'hidden' has 4 positions for this batch, where the first had 5.*{CHOICES}"
    ):
        run(tmp_path / "run.acts", [batch(5, 5), batch(4, 4)])


@pytest.mark.parametrize(
    ("layers", "settings", "shape"),
    [
        (("hidden",), {"reductions": ReductionSettings(("last",))}, (3, 4)),
        (("hidden",), {"reductions": ReductionSettings(("mean",))}, (3, 4)),
        (("hidden",), {"row": "token"}, (12, 4)),
        (("hidden",), {"reductions": ReductionSettings(("hidden=none",))}, (3, 5, 4)),
        (("summed",), {}, (3, 4)),
    ],
)
def test_what_keeps_no_padding_or_asks_for_it_is_stored(tmp_path, layers, settings, shape):
    with run(tmp_path / "run.acts", [batch(3, 5, 4)], layers, **settings) as store:
        assert store.layers[layers[0]].shape == shape


def test_a_recording_is_told_too(tmp_path):
    with (
        pytest.raises(LayerError, match=CHOICES),
        actstore.create(tmp_path / "run.acts", ["hidden"]) as recording,
    ):
        recording.dump(model, [batch(3, 5, 4)])
