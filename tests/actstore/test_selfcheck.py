"""The self-check: what is refused before a row is stored, what is only warned of, and what passes."""

import warnings

import numpy as np
import pytest

import actstore
from actstore.activations import Captured
from actstore.adapters import adapt
from actstore.adapters.base import ModelLayer, Prepared
from actstore.dumping.dump import DumpSettings, dump
from actstore.dumping.selfcheck import SelfCheck
from actstore.dumping.subject import SelfCheckWarning, Subject
from actstore.errors import AdapterError, DumpError
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData, split_data
from actstore.sources.python import from_object

INPUTS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
OFF = r"--no-selfcheck \(selfcheck=False in Python\)(\n|$)"


def good(batch):
    return {"double": 2 * batch, "sum": batch.sum(axis=1)}


def noisy():
    generator = np.random.default_rng(1)
    return lambda batch: {**good(batch), "drop": batch * (generator.random(batch.shape) < 0.5)}


def standardised(batch):
    return {**good(batch), "norm": batch - batch.mean(axis=0)}


def nudged(size):
    """Each run a little more than the one before."""
    calls = []

    def model(batch):
        calls.append(len(batch))
        return {"x": batch * np.float32(1 + size * len(calls))}

    return model


def check(model, inputs=INPUTS, every=None):
    adapter = adapt(model)
    layers = [
        ModelLayer(layer.name, layer.type, layer.shape, layer.axes, layer.dtype)
        for layer in adapter.describe(inputs)
    ]
    SelfCheck(Subject(adapter, every or layers, layers, inputs, adapter.provenance())).run()
    return len(layers)


def data(inputs=INPUTS):
    return [SplitData("", from_object(inputs, "inputs"))]


@pytest.mark.parametrize("out", ["run.acts", "run.h5"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            noisy(),
            r"^self-check: layer 'drop' \(array\) gives other values when the same batch runs again, by up to [\d.]+ "
            r"where at most 0\.0\d+ is rounding: the model is random, .* dropout left on .*" + OFF,
        ),
        (
            standardised,
            r"^self-check: layer 'norm' \(array\) gives row '0' other values beside other rows, by up to "
            r".*: its rows depend on each other: batch statistics .*" + OFF,
        ),
    ],
)
def test_the_first_layer_that_differs_is_named_and_nothing_is_stored(tmp_path, out, model, message):
    with pytest.raises(DumpError, match=message) as caught:
        dump(model, data(), tmp_path / out, DumpSettings(("*",)))
    assert any("nothing is left" in note for note in caught.value.__notes__)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", [noisy(), standardised])
def test_it_can_be_switched_off(tmp_path, model):
    with dump(model, data(), tmp_path / "run.acts", DumpSettings(("*",), selfcheck=False)) as store:
        assert store.rows == len(INPUTS)
    with actstore.create(tmp_path / "other.acts", ["*"], selfcheck=False) as recording:
        recording.dump(model, INPUTS)
    with actstore.open(tmp_path / "other.acts") as store:
        assert store.rows == len(INPUTS)


def test_only_layers_that_are_asked_for_matter(tmp_path):
    with dump(standardised, data(), tmp_path / "run.acts", DumpSettings(("double",))) as store:
        assert list(store.layers) == ["double"]


def test_eight_rows_run_twice_then_beside_others_and_two_of_them_alone():
    calls = []

    def model(batch):
        calls.append(len(batch))
        return {"x": batch}

    check(model)
    assert calls == [20, 8, 8, 8, 8, 1, 1], "20 to describe the layers"


def test_a_batch_of_one_row_is_only_repeated():
    calls = []

    def model(batch):
        calls.append(len(batch))
        return {"x": batch}

    check(model, INPUTS[:1])
    assert calls == [1, 1, 1]


def test_wide_layers_are_checked_on_fewer_rows(monkeypatch):
    monkeypatch.setattr("actstore.dumping.selfcheck.LAYER_BYTES", 40)
    calls = []

    def model(batch):
        calls.append(len(batch))
        return {"x": batch}  # 12 bytes a row

    check(model)
    assert calls == [20, 3, 3, 3, 3, 1, 1]


def test_a_recording_is_checked_once_for_all_its_steps(tmp_path):
    calls = []

    def model(batch):
        calls.append(len(batch))
        return {"x": batch}

    with actstore.create(tmp_path / "run.acts", ["x"]) as recording:
        for step in (0, 1):
            recording.dump(model, INPUTS, step=step)
    checked = [8, 8, 8, 8, 1, 1]
    assert calls == [2, 3, *checked, 20, 8, 2, 3, 20], "the first rows once more at the end; then the next step"
    with (
        pytest.raises(DumpError, match="layer 'norm'"),
        actstore.create(tmp_path / "bad.h5", ["*"]) as recording,
    ):
        recording.dump(standardised, INPUTS)


def test_a_dump_that_is_resumed_is_not_checked_again(tmp_path, monkeypatch):
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (100, 100))
    calls = []

    def model(batch):
        calls.append(len(batch))
        if len(calls) == 11:  # described, checked, and three batches
            raise KeyboardInterrupt
        return {"x": batch}

    with pytest.raises(KeyboardInterrupt, match="unfinished"):
        dump(model, data(), tmp_path / "run.acts", DumpSettings(("x",), 4))
    calls.clear()
    dump(model, data(), tmp_path / "run.acts", DumpSettings(("x",), 4, resume=True)).close()
    assert calls[:2] == [2, 3]
    assert set(calls[2:]) == {4}


# Tolerances


@pytest.mark.parametrize(
    ("dtype", "within", "beyond"), [("float32", 5e-4, 2e-3), ("float16", 1e-2, 3e-2), ("bfloat16", 3e-2, 8e-2)]
)
def test_the_narrowest_layer_of_the_model_sets_the_tolerance(dtype, within, beyond):
    """A float32 layer may come out of bfloat16 products."""
    every = [ModelLayer("x", "array", (3,), ("feature",), "float32"), ModelLayer("y", "array", (), (), dtype)]
    with pytest.warns(SelfCheckWarning, match="two runs of layer 'x' .* differ by up to .* rounding"):
        check(steady_then(within), every=every)
    with pytest.raises(DumpError, match="when the same batch runs again"):
        check(steady_then(beyond), every=every)


def steady_then(difference):
    """The second run of the check gives all by ``difference`` more; all others agree."""
    calls = []

    def model(batch):
        calls.append(len(batch))
        return {"x": batch * np.float32(1 + difference * (len(calls) == 3))}

    return model


def test_rounding_by_the_height_of_the_batch_passes():
    matrix = np.random.default_rng(2).normal(size=(3, 50)).astype(np.float32)

    def model(batch):
        return {"x": (batch @ matrix) * np.float32(1 + 1e-6 * len(batch))}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(model) == 1


def test_nan_and_infinities_agree_with_themselves_only():
    def model(batch):
        return {"x": np.where(np.abs(batch) < 1, np.nan, batch / 0)}

    with np.errstate(divide="ignore"):
        assert check(model) == 1

    def mixing(batch):
        return {"x": np.where(len(batch) > 1, np.nan, batch)}

    with pytest.raises(DumpError, match=r"gives row 0 other values alone .* by up to inf"):
        check(mixing)


def test_whole_numbers_that_flip_alone_are_warned_of_and_other_ones_refused():
    """The number of the largest of two values that are as good as equal, and a count of the rows."""

    def nearest(batch):
        return {"x": np.where(batch[:, 0] == INPUTS[0, 0], 7 - (len(batch) > 1), 3)}

    def counting(batch):
        return {"x": np.full(len(batch), len(batch))}

    with pytest.warns(
        SelfCheckWarning, match="gives row 0 other values alone .* by up to 1, though its neighbours"
    ):
        check(nearest)
    with pytest.raises(
        DumpError, match="by up to 7 where at most 0 is rounding: it depends on how many rows there"
    ):
        check(counting)


def test_whole_numbers_are_the_same_in_two_runs():
    calls = []

    def model(batch):
        calls.append(len(batch))
        return {"x": np.full(len(batch), len(calls))}

    with pytest.raises(DumpError, match="by up to 1 where at most 0 is rounding"):
        check(model)


# Batches of other kinds


@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_that_are_padded_in_a_batch_are_compared_where_they_are_real(side):
    def model(texts):
        width = max(map(len, texts))
        rows = [[float(ord(letter)) for letter in text] for text in texts]
        pad = [[0.0] * (width - len(row)) for row in rows]
        padded = [row + gap if side == "right" else gap + row for row, gap in zip(rows, pad, strict=True)]
        letters = np.array(padded)
        return {"x": letters, "pairs": letters[:, :, None] * letters[:, None, :]}

    assert check(model, ["a", "three", "to"]) == 2
    with pytest.raises(DumpError, match=r"gives row \d other values alone than in a batch of 2"):
        check(lambda texts: {"x": model(texts)["x"] * len(texts)}, ["a", "to"])


@pytest.mark.parametrize(
    "inputs", [(INPUTS, INPUTS), {"a": INPUTS, "b": INPUTS}, (INPUTS, 3)], ids=["tuple", "dict", "number"]
)
def test_tuples_and_dicts_are_taken_apart(inputs):
    def first(batch):
        return next(iter(batch.values())) if isinstance(batch, dict) else batch[0]

    assert check(lambda batch: {"x": 2 * first(batch)}, inputs) == 1
    with pytest.raises(DumpError, match=r"layer 'x' .* gives row 0 other values beside other rows"):
        check(lambda batch: {"x": standardised(first(batch))["norm"]}, inputs)


def test_parts_that_have_no_row_for_each_stay_as_they_are():
    odd = (INPUTS[:6], [1, 2, 3])
    assert check(lambda batch: {"x": batch[0] * sum(batch[1])}, odd) == 1
    with pytest.raises(DumpError, match="gives row 0 other values beside other rows"):
        check(lambda batch: {"x": standardised(batch[0])["norm"]}, odd)
    with pytest.raises(DumpError, match="when the same batch runs again"):
        check(nudged_first(0.1), odd)


def nudged_first(size):
    model = nudged(size)
    return lambda batch: model(batch[0])


def test_a_model_of_one_batch_size_runs_whole_batches():
    calls = []

    def model(batch):
        calls.append(len(batch))
        if len(batch) != 5:
            raise ValueError("expected 5 rows")
        return {"x": batch}

    check(model, INPUTS[:5])
    assert calls == [5, 5, 5, 5, 5, 1]
    check(fixed(20))

    def mixing(batch):
        return {"x": fixed(20)(batch)["x"] - batch.mean(axis=0)}

    with pytest.raises(DumpError, match="gives row 0 other values beside other rows"):
        check(mixing)


def fixed(rows):
    def model(batch):
        if len(batch) != rows:
            raise ValueError("another number of rows")
        return {"x": batch}

    return model


# Adapters that break their promise


class Careless:
    """Captures that share the model's buffer, as a careless adapter would give them."""

    def __init__(self):
        self.buffer, self.runs = np.zeros((8, 3), np.float32), 0

    def provenance(self):
        return {"weights": f"after {self.runs if self.learns else 0} runs"}

    identity = provenance

    learns = False
    fixed_rows = None

    def prepare(self, inputs):
        return Prepared(inputs)

    def running(self, layers):
        from contextlib import nullcontext

        def run(inputs):
            self.runs += 1
            rows = inputs.inputs
            self.buffer[: len(rows)] = rows * self.runs
            found = self.buffer[: len(rows)]
            return {"x": Captured(found.copy() if self.learns else found, "float32", ("feature",))}

        return nullcontext(run)


def test_a_capture_that_the_next_run_rewrites_is_the_adapters_fault():
    layers = [ModelLayer("x", "Buffer", (3,), ("feature",), "float32")]
    with pytest.raises(
        DumpError, match=r"layer 'x' \(Buffer\) was rewritten by the next run: its adapter must give copies"
    ):
        SelfCheck(Subject(Careless(), layers, layers, INPUTS, {})).run()


def test_a_model_that_changes_its_weights_is_told_from_a_random_one():
    layers = [ModelLayer("x", "Buffer", (3,), ("feature",), "float32")]
    careless = Careless()
    careless.learns = True
    with pytest.raises(DumpError, match="the model changes its own weights or buffers as it runs"):
        SelfCheck(Subject(careless, layers, layers, INPUTS, careless.provenance())).run()


# One column does not hide another


def beside_a_huge_column(values, huge=5000):
    return {"x": np.concatenate([values, np.full((len(values), 1), huge, np.float32)], axis=1)}


@pytest.mark.parametrize(("size", "huge"), [(1.0, 5000), (0.01, 5000), (0.1, 1e7), (0.1, 1e12)])
def test_a_huge_column_hides_neither_dropout_nor_rows_that_mix(size, huge):
    generator = np.random.default_rng(1)

    def dropped(batch):
        return beside_a_huge_column(size * 10 * batch * (generator.random(batch.shape) < 0.5), huge)

    def mixing(batch):
        return beside_a_huge_column(10 * size * (batch - batch.mean(axis=0)), huge)

    with pytest.raises(DumpError, match="other values when the same batch runs again"):
        check(dropped)
    with pytest.raises(DumpError, match="other values beside other rows"):
        check(mixing)


def test_rows_that_mix_throughout_are_no_rounding_beside_any_column():
    def mixing(batch):
        return {
            "x": np.concatenate([batch - batch.mean(axis=0), np.full((len(batch), 1), 1e7, np.float32)], axis=1)
        }

    with pytest.raises(DumpError, match="other values beside other rows"):
        check(mixing, np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32))


def test_what_mixes_within_the_tolerance_is_warned_of():
    with pytest.warns(
        SelfCheckWarning, match="values beside other rows that differ by up to .* which is rounding"
    ):
        check(lambda batch: {"x": batch + 1e-5 * batch.mean(axis=0)})


@pytest.mark.parametrize(
    "model",
    [
        # 1/sqrt(E[x²] - E[x]²) of constant channels magnifies what was rounded: 5.8 where 0.55 would be allowed
        lambda batch: {"norm": 550 * batch * (1 + 0.0105 * (len(batch) == 1))},
        # a sigmoid far below zero is a multiple of the last bit of 1
        lambda batch: {"far": np.float32(1.2e-7) * (3 - (np.abs(batch) > 0.5) * (len(batch) == 1))},
    ],
    ids=["layer norm", "sigmoid"],
)
def test_a_layer_that_magnifies_its_rounding_is_warned_of_and_passes(model):
    with pytest.warns(
        SelfCheckWarning, match="alone than in a batch of 8, by up to .*its neighbours change nothing"
    ):
        check(model)


def test_what_depends_on_how_many_rows_there_are_is_refused():
    with pytest.raises(DumpError, match="it depends on how many rows there are"):
        check(lambda batch: {"x": batch / len(batch)})


# Padding


TABLE = np.random.default_rng(3).normal(size=(40, 4)).astype(np.float32)


def texts_of(*lengths):
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": np.random.default_rng(1).integers(1, 40, mask.shape) * mask, "attention_mask": mask}


def mixing_positions(batch):
    """Sees all positions, as a Fourier transform of the tokens does; token 0 is padding."""
    return {
        "x": TABLE[batch["input_ids"]] @ np.eye(4, dtype=np.float32) + TABLE[batch["input_ids"]].sum(1)[:, None]
    }


def masked(batch):
    real = batch["attention_mask"][..., None].astype(np.float32)
    hidden = TABLE[batch["input_ids"]] * real
    return {"x": hidden + hidden.sum(1)[:, None] / real.sum(1)[:, None]}


def means_over_padding(batch):
    """Sees how much padding there is, though not what is in it."""
    return {"x": (TABLE[batch["input_ids"]] * batch["attention_mask"][..., None].astype(np.float32)).mean(1)}


def test_a_model_that_sees_its_padding_is_told_so():
    with pytest.raises(
        DumpError, match=r"gives row 0 other values alone .*: the model sees its padding: .*--batch-size 1"
    ):
        check(mixing_positions, texts_of(2, 5, 4))
    assert check(masked, texts_of(2, 5, 4)) == 1
    with pytest.raises(DumpError, match="how many rows there are, or on how far they are padded"):
        check(means_over_padding, texts_of(2, 5, 4))


def padded_dump(out, model, *batches, **settings):
    given = [SplitData("", from_object([texts_of(*lengths) for lengths in batches], "batches"))]
    return dump(model, given, out, DumpSettings(("x",), row="token", **settings))


@pytest.mark.parametrize("row", ["token", "example"])
def test_lengths_that_are_new_are_checked_where_they_come(tmp_path, row):
    """The first batch has no padding, and is right; the second has."""
    given = [SplitData("", from_object([texts_of(3, 3, 3), texts_of(3, 4, 9)], "batches"))]
    pool = ReductionSettings(("last",)) if row == "example" else ReductionSettings()
    settings = DumpSettings(("x",), row=row, reductions=pool)
    message = r"gives row '3' other values alone than in a batch of 2.*sees its padding"
    with pytest.raises(DumpError, match=message):
        dump(mixing_positions, given, tmp_path / "run.acts", settings)
    with dump(masked, given, tmp_path / "right.acts", settings) as store:
        assert store.rows == (25 if row == "token" else 6)


def test_the_shortest_and_the_longest_text_are_checked_beforehand(tmp_path):
    calls = []

    def model(texts):
        calls.append(list(texts))
        width = max(map(len, texts))
        ids = np.array([[ord(letter) % 40 for letter in text.ljust(width, "x")] for text in texts])
        return {"x": TABLE[ids].mean(axis=1)}  # the padding is seen

    lines = tmp_path / "texts.txt"
    lines.write_text("\n".join(["aa"] * 8 + ["abc", "abcdefghi", "abc"]))
    with pytest.raises(
        DumpError, match=r"gives row '0' other values .* or on the padding that the longest text"
    ):
        dump(model, split_data([str(lines)]), tmp_path / "run.acts", DumpSettings(("x",), 8))
    assert ["aa", "abcdefghi"] in calls
    assert not (tmp_path / "run.acts").exists()


# After the last batch


def test_a_model_that_changes_itself_for_good_is_found_at_the_end(tmp_path):
    class Learns:
        def __init__(self):
            self.seen = 0

        def __call__(self, batch):
            self.seen += len(batch) == 10
            return {"x": batch * (1 if self.seen < 2 else 2)}

    with pytest.raises(
        DumpError, match="gives the first rows other values after the last batch than before the first"
    ):
        dump(Learns(), data(), tmp_path / "run.acts", DumpSettings(("x",), 10))
    assert not (tmp_path / "run.acts").exists()


# The last batch


def squeezing(batch):
    return {"x": batch, "squeezed": batch[:, None].squeeze()}


def test_the_size_of_the_last_batch_is_tried_before_the_first_row(tmp_path):
    rows = np.concatenate([INPUTS, INPUTS[:1]])
    message = (
        r"the last batch will have a single row, which was tried before the first is stored: .*'squeezed' gave 3 rows "
        "for a batch of 1.*--batch-size or a --limit that leaves another number over"
    )
    for selfcheck in (True, False):
        with pytest.raises(AdapterError, match=message):
            dump(squeezing, data(rows), tmp_path / "run.acts", DumpSettings(("*",), 10, selfcheck=selfcheck))
        assert not (tmp_path / "run.acts").exists()
    with dump(squeezing, data(rows), tmp_path / "run.acts", DumpSettings(("*",), 7)) as store:
        assert store.rows == 21
