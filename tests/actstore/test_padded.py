"""Padding is not stored unasked: told before the first row, with what to choose."""

import numpy as np
import pytest

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import LayerError
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
