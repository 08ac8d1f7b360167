"""Files that appear only whole: names that nobody else has, nothing replaced unasked, without hard links, too."""

from __future__ import annotations

import ctypes
import errno
import os
import threading

import pytest

from actstore import StoreError
from actstore.store.disk import durable, output, renaming
from actstore.store.disk.output import WholeFile, check_not_input, whole_file, write_new, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refusing(number):
    def call(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture(params=["links", "renames", "neither"])
def way(request, monkeypatch):
    """File systems with hard links; without, but with a rename that never replaces; with neither."""
    if request.param != "links":
        monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    if request.param == "neither":
        monkeypatch.setattr(renaming, "_rename_at_once", lambda *_: False)
    return request.param


def test_a_file_has_its_name_once_it_is_whole(tmp_path, way):
    with WholeFile(tmp_path / "a") as file:
        file.write(b"hello")
        assert names(tmp_path) == [file.temporary.name]
        file.publish()
        assert file.file_bytes == 5
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"hello"


def test_a_file_that_is_there_is_never_replaced_unasked(tmp_path, way):
    (tmp_path / "a").write_text("theirs")
    with pytest.raises(FileExistsError), WholeFile(tmp_path / "a") as file:
        file.publish()
    assert not write_new(tmp_path / "a", b"ours")
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "theirs")
    write_whole(tmp_path / "a", b"ours")
    assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "ours")


def test_neither_is_a_link_that_leads_nowhere(tmp_path, way):
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError), WholeFile(tmp_path / "a") as file:
        file.publish()
    assert names(tmp_path) == ["a"]


def test_of_many_that_write_at_once_one_does(tmp_path, way):
    written = []
    ready = threading.Barrier(8)

    def write(number):
        ready.wait()
        if write_new(tmp_path / "a", b"%d" % number):
            written.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert (tmp_path / "a").read_bytes() == b"%d" % written[0]
    assert names(tmp_path) == ["a"]


def test_the_system_renames_without_replacing(tmp_path):
    """What stands in for hard links, on this machine's own file system."""
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("this system has no renameat2")
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        renaming.rename_new(tmp_path / "a", tmp_path / "b")
    renaming.rename_new(tmp_path / "a", tmp_path / "c")
    assert (names(tmp_path), (tmp_path / "b").read_text()) == (["b", "c"], "b")


@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
def test_a_file_that_happens_to_be_called_like_a_temporary_one_is_not_touched(tmp_path, link):
    """As ``X.tmp``, the name that such files once had; a link of it would have led the writer to somebody's file."""
    theirs = tmp_path / "thesis.tex"
    theirs.write_text("precious")
    if link:
        (tmp_path / "a.npy.tmp").symlink_to(theirs)
    else:
        theirs.rename(tmp_path / "a.npy.tmp")
    with whole_file(tmp_path / "a.npy", overwrite=False) as file:
        file.write(b"x")
        file.publish()
    with pytest.raises(RuntimeError, match="stop"), whole_file(tmp_path / "b.npy", overwrite=False):
        raise RuntimeError("stop")
    assert (tmp_path / "a.npy.tmp").read_text() == "precious"
    assert names(tmp_path) == ["a.npy", "a.npy.tmp", *["thesis.tex"] * link]


def test_a_name_that_is_taken_is_never_opened(tmp_path, monkeypatch):
    """Even where the random name is guessed, be it as a link."""
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / "a.guessed.tmp").symlink_to(tmp_path / "thesis.tex")
    monkeypatch.setattr(durable, "temporary_name", lambda path: tmp_path / "a.guessed.tmp")
    with pytest.raises(FileExistsError):
        WholeFile(tmp_path / "a")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_very_long_name_can_be_written(tmp_path):
    name = "ä" * 120 + ".npy"  # 244 bytes
    write_whole(tmp_path / name, b"x")
    assert names(tmp_path) == [name]


def test_tidying_that_fails_neither_fails_the_file_nor_hides_an_error(tmp_path, monkeypatch):
    unlink = os.unlink
    monkeypatch.setattr(os, "unlink", refusing(errno.EIO))
    write_whole(tmp_path / "a", b"x")
    assert write_new(tmp_path / "b", b"y")
    with pytest.raises(RuntimeError, match="what matters"), WholeFile(tmp_path / "c"):
        raise RuntimeError("what matters")
    monkeypatch.setattr(os, "unlink", unlink)
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == b"xy"


# -- outputs of commands


def write(path, data, **options):
    with whole_file(path, **options) as file:
        file.write(data)
        file.publish()


@pytest.mark.parametrize("before", ["", "old"], ids=["nothing", "a file"])
def test_what_appears_or_changes_meanwhile_is_kept(tmp_path, before):
    path = tmp_path / "a.npy"
    if before:
        path.write_text(before)

    def overtaken():
        with whole_file(path, overwrite=True) as file:
            path.write_text("theirs")
            file.publish()

    with pytest.raises(StoreError, match=r"a\.npy has appeared or changed meanwhile"):
        overtaken()
    assert (names(tmp_path), path.read_text()) == (["a.npy"], "theirs")


def test_an_output_that_is_a_link_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "real.npy", tmp_path / "link.npy"
    link.symlink_to(real)
    write(link, b"1", overwrite=False)  # it leads nowhere yet
    write(link, b"22", overwrite=True)
    assert link.is_symlink()
    assert (names(tmp_path / "disk"), real.read_bytes()) == (["real.npy"], b"22")


@pytest.mark.parametrize("how", ["itself", "link", "hard link", "other spelling"])
def test_an_output_never_replaces_an_input(tmp_path, how):
    data = tmp_path / "data.npy"
    data.write_text("precious")
    out = {"itself": data, "other spelling": tmp_path / "x" / ".." / "data.npy"}.get(how, tmp_path / "out.npy")
    (tmp_path / "x").mkdir()
    if how == "link":
        out.symlink_to(data)
    elif how == "hard link":
        os.link(data, out)
    with pytest.raises(StoreError, match=r"is an input \(.*data\.npy\), which an output never replaces"):
        write(out, b"x", overwrite=True, inputs=[data])
    assert data.read_text() == "precious"


def test_a_store_that_is_read_takes_no_outputs(tmp_path):
    store = tmp_path / "run.acts"
    store.mkdir()
    (store / "store.json").touch()
    for out in (store / "new.npy", store, store / "steps" / "x.npy"):
        with pytest.raises(StoreError, match="is an input"):
            check_not_input(out, [store])
    with pytest.raises(StoreError, match="is an input"):
        check_not_input(store, [store / "store.json"])  # the folder of what is read
    check_not_input(tmp_path / "other.npy", [store, tmp_path / "missing"])


def test_only_a_file_of_the_same_kind_is_replaced(tmp_path):
    path = tmp_path / "a.npy"
    path.write_text("thesis")
    with pytest.raises(StoreError, match=r"a\.npy is not a file that this command writes, so that overwrite"):
        write(path, b"x", overwrite=True, same_kind=lambda found: found.read_bytes()[:1] == b"x")
    assert path.read_text() == "thesis"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="is not a file that this command writes"):
        write(tmp_path / "pipe", b"x", overwrite=True)


def test_room_is_counted_in_one_place(tmp_path):
    with pytest.raises(
        StoreError, match=r"a\.npy needs [0-9,]{20,} bytes of air, and [0-9,]+ are free there\. Breathe"
    ):
        output.check_room(tmp_path / "a.npy", 2**60, what=" of air", hint="Breathe")


# -- what the system is told of


def test_the_disk_begins_with_what_is_written_in_order_each_byte_once(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "WRITE_BACK_BYTES", 10)
    told = []
    monkeypatch.setattr(durable, "let_go", lambda fd, offset, length: told.append((offset, length)))
    with WholeFile(tmp_path / "a") as file:
        for offset, length in ((20, 6), (26, 3), (29, 25), (54, 9), (0, 12), (63, 1)):
            file.write(bytes(length), offset)
        assert told == [(0, 26), (26, 28), (54, 10)]
        file.publish()
    assert len(told) == 3


def test_a_system_that_cannot_be_told_gets_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "WRITE_BACK_BYTES", 1)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    with WholeFile(tmp_path / "a") as file:
        file.write(b"hello")
        file.publish()
    assert (tmp_path / "a").read_bytes() == b"hello"
