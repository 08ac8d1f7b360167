"""However a dump ends, nothing half-written has a final name, and what was sealed is there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

import actstore
from actstore import Captured, LayerError, RowBatch, StoreError, Writer, durable
from actstore.unique import SeenIds

NAMES = ["out.acts", "out.h5"]
SMALL = 1000  # bytes: a handful of rows a shard


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def kept_rows(path):
    with actstore.open(path) as store:
        return None if store.complete else store.rows


def partial(path):
    return path if path.suffix == ".acts" else path.with_name(path.name + ".partial")


@pytest.fixture(params=NAMES)
def out(request, tmp_path):
    return tmp_path / request.param


# -- what is refused before anything is written


@pytest.mark.parametrize("name", ["out", "out.npy", "out.hdf5", "out.acts.gz"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(StoreError, match=r"is not the name of a store: NAME\.acts \(a folder\) or NAME\.h5"):
        Writer(tmp_path / name)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"there is no folder .*none\. Make it first"):
        Writer(tmp_path / "none" / "out.acts")


def test_impossible_settings_are_refused(out):
    with pytest.raises(StoreError, match="row unit 'pixel' came; one of example, token, word was expected"):
        Writer(out, row_unit="pixel")
    with pytest.raises(StoreError, match="shards of 0 bytes were asked for; 1 or more"):
        Writer(out, shard_bytes=0)
    with pytest.raises(StoreError, match="provenance has to be plain JSON"):
        Writer(out, provenance={"when": object()})
    with pytest.raises(StoreError, match="provenance has to be plain JSON"):
        Writer(out, provenance={"loss": float("nan")})


def test_nothing_is_made_before_the_first_row(out, batch_of):
    writer = Writer(out)
    writer.append(batch_of(0))
    assert names_in(out.parent) == []
    with pytest.raises(StoreError, match=r"was not written: no row came\. Check the data and its limit"):
        writer.finish()
    assert names_in(out.parent) == []


def changed_layer(**changes):
    layers = {"a": Captured(np.zeros((4, 2), np.float32), "float32", ("f",)), **changes}
    return {"activations": {name: captured for name, captured in layers.items() if captured is not None}}


BAD_BATCHES = {
    "no layer": ({"activations": {}}, StoreError, "a batch came without a layer; one layer at least"),
    "row counts": (
        changed_layer(b=Captured(np.zeros((5, 2), np.float32), "float32", ("f",))),
        StoreError,
        r"layer 'a' has 4 rows in a batch where layer 'b' has 5; the same rows were expected everywhere",
    ),
    "ids": ({"ids": ["1", "2"]}, StoreError, r"layer 'norm' has 4 rows in a batch where ids has 2"),
    "splits": ({"splits": ["a"] * 5}, StoreError, r"ids has 4 rows in a batch where splits has 5"),
    "target": ({"targets": {"t": np.zeros(3, int)}}, StoreError, r"splits has 4 rows .* target 't' has 3"),
    "groups": ({"groups": []}, StoreError, r"target 'digit' has 4 rows in a batch where groups has 0"),
    "positions": ({"positions": [1]}, StoreError, r"where positions has 1"),
    "float positions": ({"positions": [0.5] * 4}, StoreError, "positions came as float64; ints"),
    "float labels": ({"targets": {"t": np.zeros(4)}}, StoreError, "target 't' is 1-dimensional float64; one int, bool"),
    "2d labels": ({"targets": {"t": np.zeros((4, 1), int)}}, StoreError, "target 't' is 2-dimensional int64"),
    "mixed labels": ({"targets": {"t": np.array(["a", 1, "b", None], object)}}, StoreError, "'t' is 1-dimensional object"),
    "ids that repeat": ({"ids": ["x", "y", "x", "y"]}, StoreError, "id 'x' came twice, as did 1 others of its batch"),
    "NUL in an id": ({"ids": ["1", "2", "3\0", "4"]}, StoreError, r"id '3\\x00' contains a NUL character"),
    "surrogate in a split": ({"splits": ["\ud800"] * 4}, StoreError, r"split '\\ud800' is not valid Unicode text"),
    "NUL in a label": ({"targets": {"t": np.array(["a\0b"] * 4)}}, StoreError, r"label, which, 'a\\x00b' contains a NUL"),
    "NUL in a layer name": (
        changed_layer(**{"a\0": Captured(np.zeros(4, np.int8), "int8", ())}),
        StoreError,
        r"layer name 'a\\x00' contains a NUL",
    ),
    "complex layer": (
        changed_layer(b=Captured(np.zeros((4, 2), complex), "complex128", ("f",))),
        LayerError,
        "layer 'b' came as complex128 named 'complex128'; a store holds float16",
    ),
    "dtype that is not the array's": (
        changed_layer(b=Captured(np.zeros((4, 2), np.float32), "bfloat16", ("f",))),
        LayerError,
        "layer 'b' came as float32 named 'bfloat16'",
    ),
    "axes": (
        changed_layer(b=Captured(np.zeros((4, 2), np.float32), "float32", ())),
        LayerError,
        r"layer 'b' has shape \(4, 2\) and axis names \(\); \(rows, \*features\) and a name for each",
    ),
}


@pytest.mark.parametrize(("change", "error", "message"), BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
def test_a_first_batch_that_can_not_be_stored_leaves_nothing(out, batch_of, change, error, message):
    with pytest.raises(error, match=message), Writer(out) as writer:
        writer.append(batch_of(4, **change))
    assert names_in(out.parent) == []


LATER_BATCHES = {
    "a layer less": (changed_layer(), r"other layers than the first one \(missing: \['b'\], new: none\)"),
    "a layer more": (
        changed_layer(b=Captured(np.zeros(4, np.int8), "int8", ()), c=Captured(np.zeros(4, np.int8), "int8", ())),
        r"other layers than the first one \(missing: none, new: \['c'\]\)",
    ),
    "shape": (
        changed_layer(b=Captured(np.zeros((4, 3), np.int8), "int8", ("f",))),
        r"layer 'b' came as int8 \(3,\) \('f',\) where the first batch had int8 \(\) \(\); a row is the same size",
    ),
    "dtype": (
        changed_layer(b=Captured(np.zeros(4, np.int16), "int16", ())),
        r"layer 'b' came as int16 \(\) \(\) where the first batch had int8",
    ),
    "groups": ({"groups": ["g"] * 4}, "a batch came with groups, unlike the first one; give them throughout"),
    "positions": ({"positions": [1] * 4}, "a batch came with positions, unlike the first one"),
    "kind of label": ({"targets": {"digit": np.array(["a"] * 4)}}, "target 'digit' came as int64 and <U1; one kind"),
    "labels without a common dtype": (
        {"targets": {"digit": np.array([2**63] * 4, np.uint64)}},
        "target 'digit' came as int64 and uint64",
    ),
    "ids that wait": ({"ids": ["a", "row/8", "b", "c"]}, "id 'row/8' came twice, as did 0 others of its batch"),
    "ids that are sealed": ({"ids": ["row/0", "row/1", "b", "c"]}, "id 'row/0' came twice, as did 1 others"),
}


@pytest.mark.parametrize(("change", "message"), LATER_BATCHES.values(), ids=LATER_BATCHES.keys())
def test_a_refused_batch_changes_nothing(out, batch_of, change, message):
    """The writer goes on as if the batch had not come."""
    first = changed_layer(b=Captured(np.zeros(4, np.int8), "int8", ()))
    writer = Writer(out, shard_bytes=73 * 3)  # three rows of 9 bytes, and 64 of the row table
    for start in (0, 4):
        writer.append(batch_of(4, start, **first, ids=[f"row/{start + row + 1}" for row in range(4)]))
    with pytest.raises((StoreError, LayerError), match=message):
        writer.append(batch_of(4, 20, **{**first, **change}) if "ids" not in change else batch_of(4, **first, **change))
    writer.append(batch_of(4, 30, **first))
    store = writer.finish()
    assert store.ids.tolist() == [*(f"row/{row}" for row in range(1, 9)), *(f"row/{row}" for row in range(30, 34))]
    assert store.layers["a"].shape == (12, 2)


def test_layers_may_come_in_another_order(out, batch_of):
    activations = batch_of(3).activations
    with Writer(out) as writer:
        writer.append(batch_of(3))
        writer.append(batch_of(3, 3, activations=dict(reversed(activations.items()))))
    assert list(actstore.open(out).layers) == list(activations)


def test_ids_that_only_share_a_hash_are_not_repeats(out, batch_of, monkeypatch):
    """A hash can only propose that an id came before; the ids decide."""
    monkeypatch.setattr(SeenIds, "hashes", staticmethod(lambda ids: np.zeros(len(ids), np.uint64)))
    with Writer(out, shard_bytes=SMALL) as writer:
        for first in range(0, 40, 8):
            writer.append(batch_of(8, first))
    assert actstore.open(out).rows == 40


# -- outputs that exist


def test_an_existing_output_stays_unless_it_may_be_replaced(out, batch_of, write_store):
    before = write_store(out.name).fingerprint
    with pytest.raises(StoreError, match=rf"{out.name} already exists; pass overwrite=True \(--overwrite\) to replace it"):
        Writer(out)
    writer = Writer(out, overwrite=True, shard_bytes=SMALL)
    writer.append(batch_of(39))
    assert actstore.open(out).fingerprint == before  # until the new one is whole
    assert kept_rows(out.with_name(out.name + ".partial")) > 0
    assert writer.finish().rows == 39
    assert names_in(out.parent) == [out.name]


def test_an_output_survives_a_dump_that_was_to_replace_it(out, batch_of, write_store):
    before = write_store(out.name).fingerprint
    with pytest.raises(RuntimeError, match="model") as caught, Writer(out, overwrite=True, shard_bytes=SMALL) as writer:
        writer.append(batch_of(20))
        raise RuntimeError("model")
    assert actstore.open(out).fingerprint == before
    assert f"{out.name}.partial keeps the" in caught.value.__notes__[0]
    with pytest.raises(StoreError, match="already exists"):
        Writer(out)


def test_an_unfinished_dump_is_neither_continued_nor_replaced_unasked(out, batch_of, write_store):
    with pytest.raises(RuntimeError, match="model"), Writer(out, shard_bytes=SMALL) as writer:
        writer.append(batch_of(20))
        raise RuntimeError("model")
    with pytest.raises(StoreError, match=rf"{partial(out).name} is an unfinished dump; pass overwrite=True"):
        Writer(out)
    assert write_store(out.name, 30, overwrite=True).rows == 30
    assert names_in(out.parent) == [out.name]


@pytest.mark.parametrize("name", ["out.acts", "out.h5.partial", "out.acts.partial"])
def test_a_folder_of_other_files_is_never_removed(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").touch()
    with pytest.raises(StoreError, match=rf"{name} is in the way: 'thesis.tex' in it is not part of a store"):
        Writer(tmp_path / name.removesuffix(".partial"), overwrite=True)


def test_a_file_where_a_folder_goes_and_the_reverse(tmp_path):
    (tmp_path / "out.acts").touch()
    (tmp_path / "out.h5").mkdir()
    with pytest.raises(StoreError, match="in the way: a file of that name"):
        Writer(tmp_path / "out.acts", overwrite=True)
    with pytest.raises(StoreError, match="in the way: a folder of that name"):
        Writer(tmp_path / "out.h5", overwrite=True)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, batch_of):
    writer = Writer(tmp_path / "out.h5")
    writer.append(batch_of(3))
    (tmp_path / "out.h5").write_text("precious")
    with pytest.raises(StoreError, match=r"out\.h5 has appeared meanwhile; the dump is in .*out\.h5\.partial"):
        writer.finish()
    assert writer.abandon().endswith("out.h5.partial keeps the 3 rows that were sealed, as a whole store")
    assert (tmp_path / "out.h5").read_text() == "precious"


# -- two writers


def test_a_second_writer_is_refused(out, batch_of):
    writer, late = Writer(out), Writer(out)
    writer.append(batch_of(3))
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="is being written by another process; wait for it"):
            Writer(out, overwrite=overwrite)
    with pytest.raises(StoreError, match="is being written by another process"):
        late.append(batch_of(3))
    assert late.abandon().startswith("nothing of")
    assert writer.finish().rows == 3


def test_a_forked_child_does_not_hold_the_lock(tmp_path, batch_of):
    """A data loader's worker that outlives its parent must not keep the next dump out."""
    writer = Writer(tmp_path / "out.acts", shard_bytes=SMALL)
    writer.append(batch_of(20))
    reader, signal = os.pipe()
    child = os.fork()
    if not child:
        os.close(signal)
        os.read(reader, 1)  # lives until the parent closes its end
        os._exit(0)
    writer.abandon()
    try:
        assert not durable.is_locked(tmp_path / "out.acts/steps/0/rank-0000/lock")
        Writer(tmp_path / "out.acts", overwrite=True)
    finally:
        os.close(signal)
        os.close(reader)
        os.waitpid(child, 0)


# -- what ends a dump


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_raises_keeps_what_was_sealed(out, batch_of, error):
    with pytest.raises(error, match="tenth batch") as caught, Writer(out, shard_bytes=SMALL) as writer:
        for first in range(0, 90, 10):
            writer.append(batch_of(10, first))
        raise error("tenth batch")
    assert names_in(out.parent) == [partial(out).name]
    rows = kept_rows(partial(out))
    assert 80 < rows < 90
    assert caught.value.__notes__ == [f"{partial(out)} keeps the {rows} rows that were sealed, as an unfinished store"]
    np.testing.assert_array_equal(
        actstore.open(partial(out)).layers["conv1"][:], batch_of(rows).activations["conv1"].array
    )


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_raises_before_a_shard_was_sealed_leaves_nothing(out, batch_of, error):
    with pytest.raises(error) as caught, Writer(out) as writer:
        writer.append(batch_of(10))
        raise error
    assert names_in(out.parent) == []
    assert caught.value.__notes__ == [f"nothing of {out} is left: no shard had been sealed"]


def fail_after(calls, function, error):
    """``function`` until it was called so often, then ``error``."""
    remaining = [calls]

    def failing(*arguments):
        remaining[0] -= 1
        if remaining[0] < 0:
            raise error
        return function(*arguments)

    return failing


def dump(out, batch_of):
    with Writer(out, shard_bytes=SMALL, overwrite=True) as writer:
        for first in range(0, 40, 10):
            writer.append(batch_of(10, first))


def count_calls(monkeypatch, name, run):
    calls = []
    function = getattr(durable, name)
    with monkeypatch.context() as patch:
        patch.setattr(durable, name, lambda *arguments: calls.append(1) or function(*arguments))
        run()
    return len(calls)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["write_at", "sync_file", "sync_data", "sync_folder", "rename"])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_a_failure_at_any_file_operation_loses_nothing_that_was_sealed(out, batch_of, monkeypatch, name, error):
    """Each call of each kind fails in turn: the old output stays, or the new one is whole; sealed rows can be read."""
    dump(out, batch_of)
    whole = actstore.open(out).fingerprint
    calls = count_calls(monkeypatch, name, lambda: dump(out, batch_of))
    staged = out.with_name(out.name + ".partial")
    for call in range(calls):
        with monkeypatch.context() as patch, pytest.raises((StoreError, KeyboardInterrupt)) as caught:
            patch.setattr(durable, name, fail_after(call, getattr(durable, name), error))
            dump(out, batch_of)
        if error is FULL:
            assert "No space left on device. Make room there, or write elsewhere" in str(caught.value)
        assert actstore.open(out).fingerprint == whole
        (note,) = caught.value.__notes__
        if staged.exists():
            kept = actstore.open(staged)
            expected = batch_of(kept.rows).activations["conv1"].array
            assert f"keeps the {kept.rows} rows that were sealed" in note
            np.testing.assert_array_equal(kept.layers["conv1"][:], expected)
            assert not list(staged.rglob("*.tmp"))
        else:
            assert note == f"nothing of {out} is left: no shard had been sealed" or "is whole" in note
    assert calls >= 3


def test_a_writer_that_was_interrupted_takes_nothing_more(out, batch_of, monkeypatch):
    writer = Writer(out, shard_bytes=SMALL)
    writer.append(batch_of(10))
    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_at", fail_after(1, durable.write_at, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            writer.append(batch_of(10, 10))
    for action in (lambda: writer.append(batch_of(10, 20)), writer.finish, lambda: writer.note(a=1)):
        with pytest.raises(StoreError, match="was interrupted while it wrote; abandon it"):
            action()
    assert "keeps the" in writer.abandon()
    with pytest.raises(StoreError, match="has ended; open another"):
        writer.append(batch_of(10, 20))


def test_the_end_is_told_again(out, batch_of):
    with Writer(out) as writer:
        writer.append(batch_of(3))
        writer.finish()
    assert writer.abandon() == f"{out} is whole"


def test_a_full_disk_for_real(out):
    """A limit on the size of files, in a process of its own: the system refuses the write, not a test's stand-in."""
    script = f"""
import resource, numpy as np
from actstore import Captured, RowBatch, StoreError, Writer, open as open_store
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    with Writer({str(out)!r}, shard_bytes=200_000) as writer:
        for batch in range(4):
            rows = Captured(np.ones((100, 10 ** (3 + (batch == 3)))), "float64", ("f",))
            writer.append(RowBatch({{"a": rows}} if batch < 3 else {{"a": rows}}, [f"{{batch}}/{{i}}" for i in range(100)], [""] * 100))
except Exception as error:
    print(type(error).__name__, error, error.__notes__)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "LayerError" in result.stdout
