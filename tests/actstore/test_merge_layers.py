"""Layers of the same rows side by side: refused where ids, splits, labels, inputs or weights disagree, by name."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import actstore
from actstore import StoreError
from actstore.store.merging.side_by_side import UnprovenRowsWarning, merge_layers
from actstore.store.verifying.verify import verify
from actstore.store.writing.pack import pack_store

pytestmark = pytest.mark.filterwarnings("ignore::actstore.store.merging.side_by_side.UnprovenRowsWarning")
ROWS = 12
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("f4")
IDS = [f"r{row}" for row in range(ROWS)]
SPLITS = ["train"] * 8 + ["test"] * 4


def make(path, layers, **changed):
    """A store of these layers; `changed` replaces what is known of the rows."""
    given = {"ids": IDS, "splits": SPLITS, "targets": {"y": np.arange(ROWS) % 3}} | changed
    with actstore.create(path) as store:
        for step in given.pop("steps", [None]):
            store.append(layers, **given, step=step)


@pytest.fixture
def stores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("a.acts", {"one": X, "two": X.astype("f2")})
    make("b.acts", {"three": 2 * X, "four": X[:, 0] > 0})
    return tmp_path


@pytest.mark.parametrize("second", ["b.acts", "b.h5"])
def test_the_layers_of_all_stand_side_by_side(stores, second):
    pack_store("b.acts", "b.h5")
    with merge_layers(["a.acts", second], "c.acts") as store:
        assert store.complete
        assert list(store.layers) == ["one", "two", "three", "four"]
        for source in ("a.acts", "b.acts"):
            for name, layer in actstore.open(source).layers.items():
                assert store.layers[name].stored_dtype == layer.stored_dtype
                assert store.layers[name].raw[:].tobytes() == layer.raw[:].tobytes()
        assert store.ids.tolist() == IDS
        assert store.splits.tolist() == SPLITS
        assert store.targets["y"].tolist() == [row % 3 for row in range(ROWS)]
    assert verify("c.acts").damages == []


def test_the_sources_may_go_afterwards(stores):
    import shutil

    merge_layers(["a.acts", "b.acts"], "c.acts").close()
    shutil.rmtree("a.acts")
    shutil.rmtree("b.acts")
    assert verify("c.acts").damages == []


def test_targets_of_each_are_those_of_all(stores):
    actstore.open("b.acts").attach("colour", np.ma.MaskedArray(["red"] * ROWS, mask=np.arange(ROWS) == 2))
    with merge_layers(["a.acts", "b.acts"], "c.acts") as store:
        assert list(store.targets) == ["y", "colour"]
        assert store.targets["colour"][2] is np.ma.masked
        store.attach("more", np.arange(ROWS))


def test_steps_are_joined_step_by_step(stores):
    make("s.acts", {"one": X}, steps=[0, 5])
    make("t.acts", {"two": X + 1}, steps=[0, 5])
    with merge_layers(["s.acts", "t.acts"], "u.acts") as store:
        assert store.steps == [0, 5]
        np.testing.assert_array_equal(store.layers["two", 5][:], X + 1)
    make("v.acts", {"three": X}, steps=[0, 6])
    with pytest.raises(StoreError, match=r"v.acts has rows of one example at steps 0, 6, .*s.acts .* at 0, 5"):
        merge_layers(["s.acts", "v.acts"], "w.acts")


def test_a_layer_that_both_have_is_taken_once_where_it_is_the_same(stores):
    make("c.acts", {"one": X, "five": X})
    with merge_layers(["a.acts", "c.acts"], "d.acts") as store:
        assert list(store.layers) == ["one", "two", "five"]
    make("e.acts", {"one": np.nextafter(X, 9), "five": X})
    with pytest.raises(StoreError, match=r"layer 'one' is in .*a.acts and, with other values, in .*e.acts"):
        merge_layers(["a.acts", "e.acts"], "f.acts")
    make("g.acts", {"one": X.astype("f8")})
    with pytest.raises(StoreError, match="layer 'one' is in"):
        merge_layers(["a.acts", "g.acts"], "f.acts")


GROUPS = [f"g{row // 2}" for row in range(ROWS)]
OTHERS = {
    "ids": ({"ids": [*IDS[:5], "x5", *IDS[6:]]}, "row 5 is 'x5', not 'r5'"),
    "order": ({"ids": IDS[::-1]}, "the same ids in another order: row 0 is 'r11', not 'r0'"),
    "splits": (
        {"splits": ["train"] * 9 + ["test"] * 3},
        r"splits of row 8 \('r8'\) is 'train', not 'test'; 1 rows",
    ),
    "labels": ({"targets": {"y": np.arange(ROWS) % 4}}, r"target 'y' of row 3 \('r3'\) is 3, not 0; 9 rows"),
    "labels missing": (
        {"targets": {"y": np.ma.MaskedArray(np.arange(ROWS) % 3, mask=np.arange(ROWS) == 1)}},
        r"target 'y' of row 1 \('r1'\) is no label, not 1; 1 rows",
    ),
    "labels of another kind": ({"targets": {"y": ["a"] * ROWS}}, "target 'y' are <U1, not int64"),
    "groups": ({"groups": GROUPS}, "b2.acts has groups, a.acts has none"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_rows_are_refused_by_name(stores, what):
    changed, message = OTHERS[what]
    make("b2.acts", {"three": X}, **changed)
    before = sorted(os.listdir())
    with pytest.raises(StoreError, match=message):
        merge_layers(["a.acts", "b2.acts"], "c.acts")
    assert sorted(os.listdir()) == before


def test_other_groups_are_refused(stores):
    make("p.acts", {"one": X}, groups=GROUPS)
    make("q.acts", {"two": X}, groups=[*GROUPS[:-1], "other"])
    with pytest.raises(StoreError, match=r"groups of row 11 \('r11'\) is 'other', not 'g5'"):
        merge_layers(["p.acts", "q.acts"], "c.acts")


def test_fewer_rows_are_refused(stores):
    make("b2.acts", {"three": X[:5]}, ids=IDS[:5], splits=SPLITS[:5], targets={})
    with pytest.raises(StoreError, match="it has 5 rows, not 12"):
        merge_layers(["a.acts", "b2.acts"], "c.acts")


@pytest.mark.parametrize(
    ("sources", "out", "message"),
    [
        (["a.acts"], "c.acts", "1 store was given; expected two or more"),
        (["a.acts", "a.acts"], "c.acts", "appears twice"),
        (["a.acts", "none.acts"], "c.acts", "none.acts"),
        (["a.acts", "b.acts"], "b.acts", "already exists"),
        (["a.acts", "b.acts"], "c.h5", "NAME.acts"),
        (["a.acts", "u.acts"], "c.acts", "u.acts is unfinished"),
    ],
)
def test_what_cannot_be_joined_is_refused(stores, sources, out, message):
    make("u.acts", {"three": X})
    os.unlink("u.acts/steps/0/COMPLETE")
    with pytest.raises(StoreError, match=message):
        merge_layers(sources, out)


def test_damage_is_found_on_the_way(stores):
    path = stores / "b.acts/steps/0/rank-0000/shard-000000.h5"
    data = bytearray(path.read_bytes())
    data[bytes(data).index((2 * X)[3, 2].tobytes())] ^= 1
    path.write_bytes(data)
    before = sorted(os.listdir())
    with pytest.raises(StoreError, match="three"):
        merge_layers(["a.acts", "b.acts"], "c.acts")
    assert sorted(os.listdir()) == before


NET = """import numpy as np
def run(batch):
    return {{'a': {scale} * batch, 'b': batch + {scale}, 'c': np.tanh(batch)}}
"""


@pytest.fixture
def dumped(stores):
    """`dumped(name, layer, data, scale)`: a store of a dump of its own."""
    from actstore.dumping.dump import DumpSettings, dump
    from actstore.models import load_model
    from actstore.sources import split_data

    def call(name, layer, data="x.npy", scale=1, **settings):
        np.save("x.npy", X)
        np.save("y.npy", X[::-1].copy())
        (stores / f"net{scale}.py").write_text(NET.format(scale=scale))
        asked = DumpSettings((layer,), selfcheck=False, command=f"dump of {layer}", **settings)
        return dump(load_model(f"net{scale}.py:run"), split_data([data]), name, asked)

    return call


def test_dumps_of_one_model_and_its_inputs_go_together(dumped):
    dumped("d.acts", "a")
    dumped("e.acts", "b")
    with merge_layers(["d.acts", "e.acts"], "f.acts") as store:
        told = store.provenance
        assert "model" in told
        assert told["data"] == actstore.open("d.acts").provenance["data"]
        assert sorted(told["reductions"]["layers"]) == ["a", "b"]
        assert [(each["layers"], each["command"]) for each in told["joined"]] == [
            (["a"], "dump of a"),
            (["b"], "dump of b"),
        ]


def test_the_same_ids_of_other_inputs_are_refused(dumped):
    """Ids are SPLIT/INDEX unless the data has some: the same ids do not make the same rows."""
    dumped("d.acts", "a")
    dumped("e.acts", "b", data="y.npy")
    with pytest.raises(StoreError, match="the inputs of its rows are others"):
        merge_layers(["d.acts", "e.acts"], "f.acts")
    with merge_layers(["d.acts", "e.acts"], "f.acts", anyway=True) as store:
        assert "data" not in store.provenance
        assert len({each["data"][0]["inputs"] for each in store.provenance["joined"]}) == 2


def test_another_model_is_refused_unless_asked(dumped):
    dumped("d.acts", "a")
    dumped("e.acts", "b", scale=2)
    with pytest.raises(StoreError, match=r"e.acts does not go with .*d.acts: model\."):
        merge_layers(["d.acts", "e.acts"], "f.acts")
    with merge_layers(["d.acts", "e.acts"], "f.acts", anyway=True) as store:
        assert "model" not in store.provenance
        assert all("model" in each for each in store.provenance["joined"])


def test_rows_that_only_their_ids_vouch_for_are_warned_of(stores, dumped):
    with pytest.warns(
        UnprovenRowsWarning, match="nothing but ids, splits and labels says that the rows of .*a.acts"
    ):
        merge_layers(["a.acts", "b.acts"], "c.acts").close()
    dumped("d.acts", "a")
    dumped("e.acts", "b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        merge_layers(["d.acts", "e.acts"], "f.acts").close()


def test_ranks_are_compared_share_by_share(dumped):
    for rank in range(2):
        dumped("d.acts", "a", rank=rank, world_size=2, batch_size=4)
        dumped("e.acts", "b", data="y.npy", rank=rank, world_size=2, batch_size=4)
        dumped("g.acts", "b", rank=rank, world_size=2, batch_size=4)
    with pytest.raises(StoreError, match="the inputs of its rows are others"):
        merge_layers(["d.acts", "e.acts"], "f.acts")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        merge_layers(["d.acts", "g.acts"], "f.acts").close()
    assert verify("f.acts").damages == []
    dumped("h.acts", "b")
    with pytest.warns(UnprovenRowsWarning, match="h.acts are those of the others"):
        merge_layers(["d.acts", "h.acts"], "i.acts").close()
