"""The description of layers: what has a row per example, and what its axes are, told from what moves."""

import numpy as np
import pytest

import actstore
from actstore.adapters import adapt
from actstore.dumping.dump import DumpSettings, dump
from actstore.dumping.subject import SelfCheckWarning
from actstore.errors import LayerError
from actstore.patterns import select
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData
from actstore.sources.python import from_object

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(50, 4)).astype(np.float32)
MIX = RNG.normal(size=(4, 4)).astype(np.float32)


def described(model, inputs):
    return {layer.name: layer for layer in adapt(model).layers(inputs)}


def data(inputs, split=""):
    return [SplitData(split, from_object(inputs, "inputs"))]


# Rows


def positions_and_more(ids):
    """As a language model is: positions for all rows, and rows elsewhere than first."""
    rows, length = ids.shape
    hidden = TABLE[ids]
    return {
        "tokens": hidden,
        "places": TABLE[np.arange(length)],
        "place": TABLE[:1],
        "sequence first": hidden.swapaxes(0, 1),
        "routed": hidden.reshape(rows * length, 4),
        "alike": hidden.mean(axis=1) @ hidden.mean(axis=1).T,
        "chosen": hidden.mean(axis=1)[: 1 + rows // 2],
    }


@pytest.mark.parametrize("rows", [6, 5, 12])
@pytest.mark.parametrize("batches", ["array", "dict", "tuple"])
def test_rows_are_what_follows_the_number_of_rows_whatever_lengths_are_alike(tmp_path, rows, batches):
    """12 rows of 12 positions: the same number is no proof."""
    ids = RNG.integers(1, 50, (12, rows)).astype(np.int64)
    inputs = {"array": ids, "dict": [{"ids": ids}], "tuple": [((ids, ids[:, ::-1]), None)]}[batches]
    model = {
        "array": positions_and_more,
        "dict": lambda batch: positions_and_more(batch["ids"]),
        "tuple": lambda batch: positions_and_more(batch[0]),
    }[batches]
    with dump(model, data(inputs), tmp_path / "run.acts", DumpSettings(("**",), 12)) as store:
        assert list(store.layers) == ["tokens"]
        np.testing.assert_array_equal(store.layers["tokens"][:], TABLE[ids])
        notes = store.provenance["passed_over"]
    assert list(notes) == ["places", "place", "sequence first", "routed", "alike", "chosen"]
    assert notes["places"].endswith(f"it is ({rows}, 4) for 2 rows and ({rows}, 4) for 3, whatever the rows")
    assert notes["sequence first"].endswith("the rows along axis 1 (--batch-axis 'sequence first=1')")
    assert f"{rows} to each row (windows, or tokens times rows)" in notes["routed"]
    assert notes["alike"].endswith("the rows along the axes 0, 1")


@pytest.mark.parametrize("name", ["places", "place", "sequence first", "routed", "alike"])
def test_what_is_no_row_is_refused_by_its_exact_name(name):
    layers = adapt(positions_and_more).layers(RNG.integers(1, 50, (12, 12)))
    with pytest.raises(LayerError, match=rf"layer '{name}' cannot be stored: no row per example: it is \("):
        select([name], layers)


def test_a_recording_passes_over_the_same(tmp_path):
    ids = RNG.integers(1, 50, (12, 12))
    with actstore.create(tmp_path / "run.acts", ["**"]) as recording:
        recording.dump(positions_and_more, ids)
    assert list(actstore.open(tmp_path / "run.acts").layers) == ["tokens"]


def test_texts_are_taken_apart_too():
    def model(texts):
        return {"length": np.array([[len(text)] for text in texts]), "letters": np.zeros((26, 2))}

    found = described(model, ["one", "three", "fourth", "a"])
    assert found["length"].shape == (1,)
    assert found["letters"].shape is None


def test_texts_that_are_padded_to_the_longest_of_their_batch_are_described():
    def model(texts):
        ids = np.array([[ord(letter) % 50 for letter in text.ljust(max(map(len, texts)))] for text in texts])
        return {"letters": TABLE[ids]}

    found = described(model, ["a", "three", "much longer than these"])
    assert (found["letters"].shape, found["letters"].axes) == ((5, 4), ("position", "feature"))


def test_a_batch_of_one_row_proves_as_much():
    assert described(positions_and_more, np.array([[3]]))["places"].shape is None


def test_a_model_of_one_batch_size_is_described_by_it(tmp_path):
    def model(batch):
        if len(batch) != 7:
            raise ValueError("expected 7 rows")
        return {"rows": batch, "places": TABLE[:7], "others": TABLE[:6]}

    found = described(model, np.zeros((7, 3), np.float32))
    assert found["rows"].shape == (3,)
    assert found["others"].note == "no row per example: its first axis is 6 for a batch of 7"
    assert adapt(model).description(np.zeros((7, 3), np.float32)).unproven == "expected 7 rows"
    rows = RNG.normal(size=(14, 3)).astype(np.float32)
    settings = DumpSettings(("rows",), 7, selfcheck=False)
    with pytest.warns(
        SelfCheckWarning, match=r"other numbers of rows \(expected 7 rows\), and without the self-check"
    ):
        dump(model, data(rows), tmp_path / "run.acts", settings).close()


@pytest.mark.parametrize("multiple", [2, 8])
def test_a_model_that_takes_rows_by_pairs_or_more_is_described(multiple):
    def model(batch):
        if len(batch) % multiple:
            raise ValueError("an odd one")
        return {"rows": batch, "pairs": batch[::2], "places": TABLE[:4]}

    found = described(model, np.zeros((16, 3), np.float32))
    assert found["rows"].shape == (3,)
    assert found["pairs"].shape is None
    assert found["places"].shape is None


# Axes


def axes_of(model, inputs, name="layer"):
    return described(lambda batch: {name: model(batch)}, inputs)[name].axes


def patches(images):
    return images.reshape(len(images), images.shape[1], -1).swapaxes(1, 2)


IDS = RNG.integers(1, 50, (5, 8))
SEQUENCES = RNG.normal(size=(5, 8, 4)).astype(np.float32)
IMAGES = RNG.normal(size=(5, 3, 8, 6)).astype(np.float32)
COLOURS = RNG.normal(size=(3, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("model", "inputs", "axes"),
    [
        (lambda x: TABLE[x], IDS, ("position", "feature")),
        (lambda x: TABLE[x].swapaxes(1, 2), IDS, ("feature", "position")),
        (lambda x: x[:, :, None] * np.ones((1, 1, 3)), IDS.astype(np.float32), ("axis0", "axis1")),
        (lambda x: x @ MIX, SEQUENCES, ("position", "feature")),
        (lambda x: (x @ MIX)[:, ::2], SEQUENCES, ("position", "feature")),
        (lambda x: np.stack([x @ MIX] * 8, axis=1), SEQUENCES, ("axis0", "position", "axis2")),
        (lambda x: (x @ MIX) @ (x @ MIX).swapaxes(1, 2), SEQUENCES, ("axis0", "axis1")),
        (lambda x: 2 * x, SEQUENCES, ("axis0", "axis1")),
        (lambda x: np.einsum("nchw,cd->ndhw", x, COLOURS), IMAGES, ("channel", "height", "width")),
        (lambda x: np.einsum("nchw,cd->nhwd", x, COLOURS), IMAGES, ("height", "width", "channel")),
        (lambda x: patches(np.einsum("nchw,cd->ndhw", x, COLOURS)), IMAGES, ("position", "feature")),
        (np.abs, IMAGES, ("axis0", "axis1", "axis2")),
        (lambda x: np.einsum("nchw,cd->nd", x, COLOURS), IMAGES, ("feature",)),
    ],
)
def test_axes_are_named_by_what_moves(model, inputs, axes):
    """A length that is cut in half, or a size; of several axes that stay as they are, none is given a name."""
    assert axes_of(model, inputs) == axes


def test_the_mask_is_cut_with_the_ids_on_the_side_where_padding_is():
    mask = np.array([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]])
    seen = []

    def model(batch):
        seen.append(batch["attention_mask"].tolist())
        return {"layer": TABLE[batch["input_ids"]] * batch["attention_mask"][..., None]}

    found = described(model, {"input_ids": np.ones((3, 4), int), "attention_mask": mask})
    assert found["layer"].axes == ("position", "feature")
    assert seen[-1] == [[1, 1], [1, 1]], "the last half, where the tokens are"


def test_heads_are_no_positions_though_they_are_as_many(tmp_path):
    """Attention maps of 4 heads over 4 tokens."""
    ids = RNG.integers(1, 50, (6, 4))

    def model(batch):
        hidden = TABLE[batch["input_ids"]]
        return {"maps": np.stack([hidden @ hidden.swapaxes(1, 2)] * 4, axis=1), "hidden": hidden}

    inputs = [{"input_ids": ids, "attention_mask": np.ones_like(ids)}]
    with dump(model, data(inputs), tmp_path / "run.acts", DumpSettings(("**",), row="token")) as store:
        assert list(store.layers) == ["hidden"]
        np.testing.assert_array_equal(store.layers["hidden"][:], TABLE[ids].reshape(24, 4))
    with pytest.raises(LayerError, match=r"'maps' has the shape \(4, 4, 4\) of \(axis0, position, position\)"):
        dump(model, data(inputs), tmp_path / "no.acts", DumpSettings(("maps",), row="token"))


# Names that nobody can know


def both_move(x):
    return {"layer": 2 * x, "flat": x.sum(axis=(1, 2))}


def test_axes_can_be_told(tmp_path):
    settings = DumpSettings(
        ("layer",), axes=("layer=position,feature",), reductions=ReductionSettings(("mean",))
    )
    with dump(both_move, data(SEQUENCES), tmp_path / "run.acts", settings) as store:
        np.testing.assert_allclose(store.layers["layer"][:], 2 * SEQUENCES.mean(axis=1), rtol=1e-6)
        assert store.provenance["options"]["axes"] == ["layer=position,feature"]
    with actstore.create(
        tmp_path / "again.acts", ["layer"], row="token", axes={"lay*": ("feature", "position")}
    ) as recording:
        recording.dump(both_move, SEQUENCES)
    with actstore.open(tmp_path / "again.acts") as store:
        assert store.layers["layer"].shape == (5 * 4, 8)
    with pytest.raises(
        LayerError, match=r"needs to know what the axes of layer 'layer' are.*--axes 'layer=position"
    ):
        dump(
            both_move,
            data(SEQUENCES),
            tmp_path / "no.acts",
            DumpSettings(("layer",), reductions=settings.reductions),
        )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("layer", r"--axes 'layer' is not PATTERN=NAME,NAME,\.\.\."),
        ("layer=", r"--axes 'layer=' is not PATTERN=NAME"),
        ("layer=position,", "is not PATTERN=NAME"),
        ("layer=position", r"names 1 axes, but layer 'layer' has 2, \(8, 4\) per row"),
        ("l*=a,b,c", r"names 3 axes, but layer 'layer' has 2"),
        ("leyer=a,b", "no layer matches 'leyer'.*layer"),
    ],
)
def test_axes_that_are_told_wrongly(tmp_path, entry, message):
    with pytest.raises(LayerError, match=message):
        dump(both_move, data(SEQUENCES), tmp_path / "run.acts", DumpSettings(("layer",), axes=(entry,)))


# What it costs


def test_two_runs_describe_layers_of_one_axis_and_three_those_of_a_text():
    calls = []

    def model(batch, one_axis=True):
        calls.append(batch.shape)
        return {"layer": batch.sum(axis=1, keepdims=True) if one_axis else TABLE[batch]}

    described(model, IDS)
    assert calls == [(2, 8), (3, 8)]
    calls.clear()
    described(lambda batch: model(batch, one_axis=False), IDS)
    assert calls == [(2, 8), (3, 8), (2, 4)]
