"""Where a store may be written: not over what is there, not beside another writer."""

from __future__ import annotations

import errno
import os

import h5py
import numpy as np
import pytest

import actstore
from actstore import Captured, RowBatch, StoreError, Writer
from actstore.store.disk.locks import is_locked
from actstore.store.merging.merge import merge
from actstore.store.verifying.verify import verify
from actstore.store.writing import at_once
from actstore.store.writing.batch_checks import describe_layers
from actstore.store.writing.pack import pack_store

SMALL = 1000  # bytes: a handful of rows a shard
RANK = "steps/0/rank-0000"


def fail_midway(out, batch_of, **options):
    """A dump whose model raises once shards were sealed."""
    with Writer(out, shard_bytes=SMALL, **options) as writer:
        for first in (0, 10):
            writer.append(batch_of(10, first))
        msg = "model"
        raise RuntimeError(msg)


@pytest.mark.parametrize("name", ["out", "out.npy", "out.hdf5", "out.acts.gz"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(
        StoreError, match=r"is not the name of a store; expected NAME\.acts \(a folder\) or NAME\.h5"
    ):
        Writer(tmp_path / name)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"there is no folder .*none\. Make it first"):
        Writer(tmp_path / "none" / "out.acts")


def test_impossible_settings_are_refused(out):
    with pytest.raises(StoreError, match="row unit is 'pixel'; expected one of example, token, word"):
        Writer(out, row_unit="pixel")
    with pytest.raises(StoreError, match="shards of 0 bytes were asked for; expected 1 or more"):
        Writer(out, shard_bytes=0)
    with pytest.raises(StoreError, match="provenance has to be plain JSON"):
        Writer(out, provenance={"when": object()})
    with pytest.raises(StoreError, match="provenance has to be plain JSON"):
        Writer(out, provenance={"loss": float("nan")})


def test_nothing_is_made_before_the_first_row(out, batch_of, names_in):
    writer = Writer(out)
    writer.append(batch_of(0))
    assert names_in(out.parent) == []
    with pytest.raises(StoreError, match=r"was not written: there are no rows\. Check the data and its limit"):
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


def test_a_file_that_appears_at_the_last_moment_is_not_replaced(tmp_path, batch_of, monkeypatch):
    writer = Writer(tmp_path / "out.h5")
    writer.append(batch_of(3))
    real = at_once.commit_packed

    def commit(*arguments):
        real(*arguments)
        (tmp_path / "out.h5").write_text("precious")

    monkeypatch.setattr(at_once, "commit_packed", commit)
    with pytest.raises(StoreError, match=r"out\.h5 has appeared meanwhile; the dump is in .*out\.h5\.partial"):
        writer.finish()
    kept = tmp_path / "out.h5.partial" / "packed.h5"
    assert writer.abandon() == f"{kept} keeps all 3 rows, as a whole store"
    assert (tmp_path / "out.h5").read_text() == "precious"
    kept.rename(tmp_path / "moved.h5")
    with actstore.open(tmp_path / "moved.h5") as store:
        assert store.rows == 3
    assert not verify(tmp_path / "moved.h5").damages


def test_a_file_written_at_once_is_the_one_that_shards_are_packed_to(tmp_path, batch_of):
    batches = [batch_of(3), batch_of(5, 3), batch_of(1, 8)]
    for name, shard_bytes in (("once.h5", None), ("shards.h5", 1)):
        with Writer(tmp_path / name, shard_bytes=shard_bytes, provenance={"command": "x", "a": [1]}) as writer:
            for number, batch in enumerate(batches):
                writer.append(batch)
                writer.note(late=number)
    assert (tmp_path / "once.h5").read_bytes() == (tmp_path / "shards.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["once.h5", "shards.h5"]


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


# -- what is somebody's own


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


OWN = ("removed", "replaced", "merging", "partial.removed")


@pytest.mark.parametrize("ending", OWN)
@pytest.mark.parametrize("kind", ["a copy", "a thesis"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_that_happen_to_be_called_like_ours_stay(
    tmp_path, write_store, batch_of, ending, kind, overwrite
):
    """As `mv run.acts run.acts.removed` makes them, by hand."""
    name = "out.h5" if ending == "partial.removed" else "out.acts"
    theirs = tmp_path / f"{name}.{ending}"
    if kind == "a copy":
        write_store("copy.acts").path.rename(theirs)
    else:
        theirs.mkdir()
        (theirs / "thesis.tex").write_text("precious")
    before = tree(theirs)
    if overwrite:
        write_store(name, 20)
    store = write_store(name, 30, overwrite=overwrite)
    assert store.rows == 30
    assert tree(theirs) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, theirs.name])


def test_merging_leaves_such_folders_alone_too(tmp_path, write_store, batch_of):
    sources = [write_store(f"{first}.acts", 20).path for first in (0, 1)]
    theirs = tmp_path / "out.acts.merging"
    write_store("copy.acts").path.rename(theirs)
    before = tree(theirs)
    with pytest.raises(StoreError, match="every row of a store needs an id"):
        merge(sources, tmp_path / "out.acts")
    merge(sources[:1], tmp_path / "out.acts").close()
    assert tree(theirs) == before


@pytest.mark.parametrize(
    "place", ["thesis.tex", "notes.tmp", "targets/mine.csv", "steps/0/notes.txt", f"{RANK}/old.h5"]
)
@pytest.mark.parametrize("name", ["out.acts", "out.h5.partial"])
def test_a_store_with_somebodys_file_in_it_is_never_removed(tmp_path, write_store, place, name):
    store = write_store("out.acts", 20)
    store.path.rename(tmp_path / name)
    theirs = tmp_path / name / place
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("precious")
    with pytest.raises(StoreError, match=rf"{name} is in the way: '{place}' in it is not part of a store"):
        Writer(tmp_path / name.removesuffix(".partial"), overwrite=True)
    assert theirs.read_text() == "precious"


def test_what_somebody_puts_into_a_dump_that_leaves_nothing_stays(tmp_path, batch_of):
    out = tmp_path / "out.acts"
    writer = Writer(out)
    writer.append(batch_of(3))
    (out / "thesis.tex").write_text("precious")
    (out / RANK / "notes.tmp").write_text("precious")
    writer.abandon()
    assert tree(out) == {"thesis.tex": b"precious", f"{RANK}/notes.tmp": b"precious"}


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_temporary_files_of_others_in_a_store_stay(tmp_path, write_store, name, batch_of):
    out = tmp_path / name
    writer = Writer(out, shard_bytes=SMALL)
    writer.append(batch_of(20))
    staging = out if name == "out.acts" else out.with_name("out.h5.partial")
    (staging / "notes.tmp").write_text("precious")
    (staging / RANK / "notes.tmp").write_text("precious")
    assert writer.finish().rows == 20
    left = list(tmp_path.rglob("notes.tmp"))
    assert [path.read_text() for path in left] == ["precious"] * 2


# -- what may be replaced


def foreign(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(12.0).reshape(4, 3)


def shard(path):
    """A shard is no store either, though this package wrote it."""
    with Writer(path.with_name("of.acts")) as writer:
        rows = {"a": Captured(np.ones((2, 2), "f4"), "float32", ("f",))}
        writer.append(RowBatch(rows, ["a", "b"], ["", ""]))
    next(path.with_name("of.acts").rglob("shard-*.h5")).rename(path)


@pytest.mark.parametrize(
    "make",
    [foreign, shard, lambda path: path.write_text("thesis"), lambda path: path.touch(), os.mkfifo],
    ids=["foreign HDF5", "shard", "text", "empty", "pipe"],
)
@pytest.mark.parametrize("way", ["dump", "pack"])
def test_only_a_store_is_replaced_by_a_store(tmp_path, write_store, make, way):
    store = write_store("a.acts", 20)
    out = tmp_path / "out.h5"
    make(out)
    before = None if make is os.mkfifo else out.read_bytes()
    replace = {
        "dump": lambda: write_store("out.h5", overwrite=True),
        "pack": lambda: pack_store(store.path, out, overwrite=True),
    }
    with pytest.raises(StoreError, match=r"out\.h5 is (not a file that this command writes|in the way)"):
        replace[way]()
    assert make is os.mkfifo or out.read_bytes() == before


def test_a_store_that_is_damaged_or_newer_is_one_all_the_same(tmp_path, write_store):
    out = write_store("out.h5", 20).path
    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    out.write_bytes(data)
    assert write_store("out.h5", 30, overwrite=True).rows == 30
    out.write_bytes(out.read_bytes()[:-64] + b"actstore 977 1 2 0123456789abcdef".ljust(63) + b"\n")
    assert write_store("out.h5", 20, overwrite=True).rows == 20


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
@pytest.mark.parametrize("how", ["itself", "link", "file within"])
def test_a_store_that_is_read_is_never_replaced(tmp_path, write_store, name, how):
    store = write_store(name, 20)
    given = store.path
    if how == "link":
        given = tmp_path / f"link{store.path.suffix}"
        given.symlink_to(store.path)
    elif how == "file within" and name == "out.acts":
        given = store.path / RANK / "shard-000000.h5"
    with pytest.raises(StoreError, match=r"out\.\w+ is an input \(.*\), which an output never replaces"):
        Writer(store.path, overwrite=True, inputs=[given])
    assert actstore.open(store.path).fingerprint == store.fingerprint


def test_packing_a_store_onto_itself_is_refused(tmp_path, write_store):
    store = write_store("a.h5", 20)
    (tmp_path / "link.h5").symlink_to(store.path)
    for out in (store.path, tmp_path / "link.h5"):
        with pytest.raises(StoreError, match="is an input"):
            pack_store(store.path, out, overwrite=True)
    folder = write_store("b.acts", 20).path
    with pytest.raises(StoreError, match="is an input"):
        pack_store(folder, folder / "packed.h5")
    assert actstore.open(store.path).fingerprint == store.fingerprint


# -- links


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_an_output_that_is_a_link_is_followed(tmp_path, write_store, batch_of, name):
    """A store on another disk, for one; the link stays, what it leads to is replaced, and nothing is left anywhere."""
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / f"real{name[3:]}", tmp_path / name
    link.symlink_to(real)
    assert write_store(name, 20).rows == 20  # it leads nowhere yet
    assert write_store(name, 30, overwrite=True).rows == 30
    with pytest.raises(RuntimeError, match="model"):
        fail_midway(link, batch_of, overwrite=True)
    assert link.is_symlink()
    assert actstore.open(link).rows == 30
    assert write_store(name, 20, overwrite=True).rows == 20
    assert [path.name for path in (tmp_path / "disk").iterdir()] == [real.name]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["disk", name])


# -- resuming beside a store of its own


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_resuming_never_replaces_a_store_that_the_dump_was_not_to_replace(
    tmp_path, write_store, batch_of, name
):
    """An unfinished dump, and a store that came to its name in some other way."""
    staged = tmp_path / f"{name}.partial"
    with pytest.raises(RuntimeError, match="model"):
        fail_midway(tmp_path / "begun.h5", batch_of)
    (tmp_path / "begun.h5.partial").rename(staged)
    other = write_store(f"other.{name[4:]}", 40)
    other.path.rename(tmp_path / name)
    before = tree(staged)
    with pytest.raises(
        StoreError, match=rf"{name} is there, and .*{name}\.partial is a dump that was not begun to"
    ):
        Writer(tmp_path / name, resume=True)
    assert actstore.open(tmp_path / name).fingerprint == other.fingerprint
    assert tree(staged) == before


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_a_claim_that_sealed_nothing_is_nothing_to_resume(tmp_path, write_store, batch_of, name):
    """A whole store, and beside it what a killed `--overwrite` had only claimed: the whole one is what there is."""
    store = write_store(name, 20)
    staged = tmp_path / f"{name}.partial" / RANK
    staged.mkdir(parents=True)
    (staged / "lock").touch()
    writer = Writer(tmp_path / name, resume=True)
    assert writer.whole == (name == "out.h5")
    if writer.whole:
        writer.open_whole(describe_layers(batch_of(1).activations)).close()
        assert [path.name for path in tmp_path.iterdir()] == [name]
    assert actstore.open(tmp_path / name).fingerprint == store.fingerprint


# -- file systems that are not this one


def test_a_name_that_stays_while_a_file_is_open_does_not_fail_a_dump(tmp_path, batch_of, monkeypatch):
    """NFS, sshfs and SMB keep a name in the folder for a file that is removed while it is open."""
    unlink, kept = os.unlink, []

    def sticky(path, *arguments, **options):
        inode = os.lstat(path).st_ino
        opened = any(link_inode(number) == inode for number in os.listdir("/proc/self/fd"))
        if opened:
            os.rename(path, os.path.join(os.path.dirname(path), f".nfs{inode}"))
            kept.append(path)
        else:
            unlink(path, *arguments, **options)

    monkeypatch.setattr(os, "unlink", sticky)
    for name in ("out.h5", "out.acts"):
        with Writer(tmp_path / name) as writer:
            writer.append(batch_of(5))
        with Writer(tmp_path / name, overwrite=True) as writer:
            writer.append(batch_of(7))
        assert actstore.open(tmp_path / name).rows == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.acts", "out.h5"]
    assert not [path for path in kept if "lock" in str(path)]  # it is let go of first


def link_inode(number):
    try:
        return os.fstat(int(number)).st_ino
    except OSError:
        return -1


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
@pytest.mark.parametrize("calls", ["unlink", "rmdir"])
def test_tidying_never_fails_a_dump(tmp_path, batch_of, write_store, monkeypatch, name, calls):
    write_store(name, 20)

    def failing(*arguments, **options):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with monkeypatch.context() as patch:
        patch.setattr(os, calls, failing)
        with Writer(tmp_path / name, overwrite=True) as writer:
            writer.append(batch_of(30))
    assert actstore.open(tmp_path / name).rows == 30
    assert write_store(name, 20, overwrite=True).rows == 20  # and sweeps what was left
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out.acts", "out.h5"])
def test_a_file_system_without_hard_links(tmp_path, batch_of, write_store, monkeypatch, name):
    """exFAT and vFAT, many mounts."""

    def link(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    assert write_store(name, 20).rows == 20
    assert write_store(name, 30, overwrite=True).rows == 30
    with pytest.raises(RuntimeError, match="model"):
        fail_midway(tmp_path / f"more{name[3:]}", batch_of)
    with Writer(tmp_path / f"more{name[3:]}", resume=True, shard_bytes=SMALL) as writer:
        writer.begin(describe_layers(batch_of(1).activations))
        writer.append(batch_of(10, 20))
    assert actstore.open(tmp_path / f"more{name[3:]}").rows == 30
    assert not verify(tmp_path / name).damages
    assert not list(tmp_path.rglob("*.tmp"))
