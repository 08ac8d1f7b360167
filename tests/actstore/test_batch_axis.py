"""Layers whose rows lie along another axis than the first: ``--batch-axis PATTERN=N``."""

import numpy as np
import pytest

import actstore
from actstore.errors import ActstoreError, AdapterError, LayerError
from actstore.patterns import batch_axis, check_batch_axes

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(50, 4)).astype(np.float32)
IDS = RNG.integers(1, 50, (24, 12))


def model(ids):
    """Rows first, second, last; and a layer with the rows nowhere."""
    hidden = TABLE[ids]
    return {
        "rows": hidden,
        "second": hidden.swapaxes(0, 1),
        "last": np.moveaxis(hidden, 0, 2),
        "places": TABLE[np.arange(ids.shape[1])],
    }


AXES = {"second": 1, "last": 2}


@pytest.mark.parametrize("batch_size", [12, 5, 24])
def test_rows_are_taken_from_where_they_are(tmp_path, batch_size):
    """Twelve positions: batches of twelve could be anything."""
    with actstore.dump(model, IDS, tmp_path / "s.acts", "**", batch_axis=AXES, batch_size=batch_size) as store:
        assert list(store.layers) == ["rows", "second", "last"]
        np.testing.assert_array_equal(store.layers["second"][:], TABLE[IDS])
        np.testing.assert_array_equal(store.layers["last"][:], TABLE[IDS])
        assert list(store.provenance["passed_over"]) == ["places"]
        assert store.provenance["options"]["batch_axis"] == ["second=1", "last=2"]


def test_positions_are_known_and_pooled(tmp_path):
    names = ["rows", "second"]
    with actstore.dump(model, IDS, tmp_path / "t.acts", names, batch_axis=["s*=1"], row="token") as store:
        np.testing.assert_array_equal(store.layers["second"][:], store.layers["rows"][:])
        assert store.rows == IDS.size
    with actstore.dump(model, IDS, tmp_path / "p.acts", names, batch_axis=["s*=1"], pool="mean") as store:
        np.testing.assert_array_equal(store.layers["second"][:], store.layers["rows"][:])


@pytest.mark.parametrize(
    ("name", "axis"), [("second", 2), ("rows", 1), ("places", 1), ("places", 0), ("last", 1)]
)
def test_an_axis_that_is_not_the_rows_is_refused(tmp_path, name, axis):
    with pytest.raises(LayerError, match=f"layer '{name}' cannot be stored: no row per example"):
        actstore.dump(model, IDS, tmp_path / "s.acts", name, batch_axis={name: axis}, batch_size=12)
    assert not list(tmp_path.iterdir())


def test_an_axis_that_there_is_not_is_named(tmp_path):
    with pytest.raises(LayerError, match=r"it is \(12, 2, 4\), without an axis 3 to be the rows"):
        actstore.dump(model, IDS, tmp_path / "s.acts", "second", batch_axis={"second": 3})


def test_without_it_the_layer_says_what_to_write(tmp_path):
    with pytest.raises(LayerError, match=r"the rows along axis 1 \(--batch-axis 'second=1'\)"):
        actstore.dump(model, IDS, tmp_path / "s.acts", "second")


@pytest.mark.parametrize(
    "entry", ["second", "=1", "second=", "second=x", "second=-1", "second=1.0", "re:(=1", "s=²", "s=999"]
)
def test_what_is_no_entry_is_refused(entry, tmp_path):
    with pytest.raises(LayerError):
        check_batch_axes([entry])
    with pytest.raises(ActstoreError):
        actstore.dump(model, IDS, tmp_path / "s.acts", "second", batch_axis=[entry])


def test_an_entry_that_picks_nothing_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(LayerError, match="second"):
        actstore.dump(model, IDS, tmp_path / "s.acts", "rows", batch_axis={"secnd": 1})


def test_of_several_entries_the_last_counts():
    entries = ["**=1", "a.b=0", "a.*=2"]
    assert [batch_axis(entries, name) for name in ("x", "a.b", "a.c", "a.b.c", "a.c#1")] == [1, 2, 2, 1, 2]


def test_resuming_with_another_axis_is_refused(tmp_path):
    out = tmp_path / "s.acts"
    actstore.dump(model, IDS, out, ["rows", "second"], batch_axis={"second": 1}).close()
    with pytest.raises(ActstoreError):
        actstore.dump(model, IDS, out, "rows", resume=True)
    assert actstore.dump(model, IDS, out, ["rows", "second"], batch_axis={"second": 1}, resume=True).rows == 24


def test_cutting_texts_is_for_models_that_take_them(tmp_path):
    with pytest.raises(AdapterError, match="--truncate cuts texts to the tokens that a model takes"):
        actstore.dump(model, IDS, tmp_path / "s.acts", "rows", truncate=True)


def test_an_axis_that_was_asked_for_and_is_not_the_rows_is_not_advised_again(tmp_path):
    with pytest.raises(
        LayerError, match=r"once --batch-axis has made its axis 1 the first; name another"
    ) as caught:
        actstore.dump(model, IDS, tmp_path / "s.acts", "rows", batch_axis={"rows": 1})
    assert "(--batch-axis" not in str(caught.value)
