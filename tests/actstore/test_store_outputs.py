"""Where a store may be written: not over what is there, not beside another writer."""

from __future__ import annotations

import os

import pytest

import actstore
from actstore import StoreError, Writer
from actstore.store.disk.locks import is_locked

SMALL = 1000  # bytes: a handful of rows a shard


def fail_midway(out, batch_of, **options):
    """A dump whose model raises once shards were sealed."""
    with Writer(out, shard_bytes=SMALL, **options) as writer:
        for first in (0, 10):
            writer.append(batch_of(10, first))
        msg = "model"
        raise RuntimeError(msg)


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


def test_nothing_is_made_before_the_first_row(out, batch_of, names_in):
    writer = Writer(out)
    writer.append(batch_of(0))
    assert names_in(out.parent) == []
    with pytest.raises(StoreError, match=r"was not written: no row came\. Check the data and its limit"):
        writer.finish()
    assert names_in(out.parent) == []


# -- outputs that exist


def test_an_existing_output_stays_unless_it_may_be_replaced(out, batch_of, write_store, names_in, sealed):
    before = write_store(out.name).fingerprint
    with pytest.raises(StoreError, match=rf"{out.name} already exists; pass overwrite=True \(--overwrite\) to"):
        Writer(out)
    writer = Writer(out, overwrite=True, shard_bytes=SMALL)
    for first in range(0, 39, 13):
        writer.append(batch_of(13, first))
    sealed(writer)
    assert actstore.open(out).fingerprint == before  # until the new one is whole
    assert not actstore.open(out.with_name(out.name + ".partial")).complete
    assert writer.finish().rows == 39
    assert names_in(out.parent) == [out.name]


def test_an_output_survives_a_dump_that_was_to_replace_it(out, batch_of, write_store):
    before = write_store(out.name).fingerprint
    with pytest.raises(RuntimeError, match="model") as caught:
        fail_midway(out, batch_of, overwrite=True)
    assert actstore.open(out).fingerprint == before
    assert (
        f"{out.name}.partial keeps the 20 rows that were sealed, as an unfinished store"
        in caught.value.__notes__[0]
    )
    with pytest.raises(StoreError, match="already exists"):
        Writer(out)


def test_an_unfinished_dump_is_neither_continued_nor_replaced_unasked(
    out, batch_of, write_store, partial, names_in
):
    with pytest.raises(RuntimeError, match="model"):
        fail_midway(out, batch_of)
    with pytest.raises(StoreError, match=rf"{partial(out).name} is an unfinished dump; pass resume=True"):
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
    assert writer.abandon().endswith("out.h5.partial keeps all 3 rows, as a whole store")
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
    assert late.abandon() == f"{out} is as it was: nothing was written there"
    assert writer.finish().rows == 3


def test_a_forked_child_does_not_hold_the_lock(tmp_path, batch_of, sealed):
    """A data loader's worker that outlives its parent must not keep the next dump out."""
    writer = Writer(tmp_path / "out.acts", shard_bytes=SMALL)
    writer.append(batch_of(20))
    sealed(writer)
    reader, signal = os.pipe()
    child = os.fork()
    if not child:
        os.close(signal)
        os.read(reader, 1)  # lives until the parent closes its end
        os._exit(0)
    writer.abandon()
    try:
        assert not is_locked(tmp_path / "out.acts/steps/0/rank-0000/lock")
        Writer(tmp_path / "out.acts", overwrite=True)
    finally:
        os.close(signal)
        os.close(reader)
        os.waitpid(child, 0)
