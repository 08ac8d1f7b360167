"""One store of several: the ranks of one dump, or whole stores."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import actstore
from actstore import Store, StoreError, Writer
from actstore.store.disk import durable
from actstore.store.disk.locks import Lock
from actstore.store.documents.own_files import remove_own
from actstore.store.documents.write_place import WritePlace
from actstore.store.merging import merge as merging
from actstore.store.merging import staging, transfer
from actstore.store.merging.merge import UnlabelledRowsWarning, merge
from actstore.store.writing import completion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 40  # of a whole dump


@pytest.fixture
def part(tmp_path, batch_of) -> Callable[..., Path]:
    """``part(name, first, rows)``: a store of example rows from ``first`` on; further arguments are the writer's."""

    def write(name: str, first: int = 0, rows: int = ROWS, *, changes: Any = None, **options: Any) -> Path:
        path = tmp_path / name
        with Writer(path, **{"shard_bytes": 1000, **options}) as writer:
            for start in range(first, first + rows, 7):
                writer.append(batch_of(min(7, first + rows - start), start, **(changes or {})))
        return path

    return write


@pytest.fixture
def share(part) -> Callable[..., Path]:
    """``share(rank, world_size)``: one rank of a dump of 40 rows, in a store of its own."""

    def write(rank: int, world_size: int = 2, **options: Any) -> Path:
        rows = ROWS // world_size
        place = WritePlace(options.pop("step", None), rank, world_size, rank * rows, rows)
        return part(f"rank{rank}of{world_size}.acts", rank * rows, rows, place=place, **options)

    return write


def same_rows(store: Store, expected: Store) -> None:
    """Everything that is known of the rows is equal, bit for bit."""
    assert store.complete
    for name in ("ids", "splits", "groups", "positions"):
        ours, theirs = getattr(store, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs, strict=True)
    assert list(store.layers) == list(expected.layers)
    for name, layer in store.layers.items():
        assert layer[:].tobytes() == expected.layers[name][:].tobytes()
    assert store.targets.keys() == expected.targets.keys()
    for name, labels in store.targets.items():
        np.testing.assert_array_equal(labels, expected.targets[name], strict=True)
    assert dict(store.nonfinite) == dict(expected.nonfinite)


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder, but for its locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("lock")
    }


@pytest.mark.parametrize("copy", [False, True], ids=["linked", "copied"])
def test_merged_ranks_are_the_dump_of_one_process(part, share, tmp_path, copy):
    whole = actstore.open(part("whole.acts"))
    sources = [share(rank, 4) for rank in (2, 0, 3, 1)]
    before = [files(source) for source in sources]
    with merge(sources, tmp_path / "out.acts", copy=copy) as merged:
        same_rows(merged, whole)
        assert merged.path == tmp_path / "out.acts"
    assert [files(source) for source in sources] == before
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out.acts"]
    for source in sources:
        for path in source.rglob("shard-*"):
            twin = tmp_path / "out.acts" / path.relative_to(source)
            assert os.path.samefile(path, twin) != copy
        journal = next(source.rglob("rank-*/journal"))
        assert (tmp_path / "out.acts" / journal.relative_to(source)).read_bytes() == journal.read_bytes()


def test_several_ranks_in_one_store_are_merged_with_the_others(part, tmp_path):
    for rank in range(4):
        name = "left.acts" if rank < 2 else "right.acts"
        part(name, rank * 10, 10, place=WritePlace(None, rank, 4, rank * 10, 10))
    with merge([tmp_path / "right.acts", tmp_path / "left.acts"], tmp_path / "out.acts") as merged:
        assert (merged.complete, merged.rows) == (True, 40)
        same_rows(merged, actstore.open(part("whole.acts")))


def test_the_sources_may_go_once_they_are_merged(share, part, tmp_path):
    sources = [share(0), share(1)]
    merged = merge(sources, tmp_path / "out.acts")
    for source in sources:
        shutil.rmtree(source)
    assert not actstore.verify(merged.path).damages
    same_rows(merged, actstore.open(part("whole.acts")))


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ([0, 1, 2], r"of step 0, 1 of 4 ranks are missing: 3; name their stores too"),
        ([1, 3], r"of step 0, 2 of 4 ranks are missing: 0, 2; name their stores too"),
    ],
)
def test_a_missing_rank_is_named(share, tmp_path, ranks, message):
    with pytest.raises(StoreError, match=message):
        merge([share(rank, 4) for rank in ranks], tmp_path / "out.acts")
    assert not list(tmp_path.glob("out*"))


def test_a_rank_that_came_twice_is_named(share, tmp_path):
    one, other = share(0), share(1)
    shutil.copytree(other, tmp_path / "again.acts")
    with pytest.raises(
        StoreError, match=r"rank 1 of step 0 appears twice, in .*rank1of2.* and in .*again\.acts"
    ):
        merge([one, other, tmp_path / "again.acts"], tmp_path / "out.acts")
    with pytest.raises(StoreError, match=r"rank1of2\.acts appears twice; name each store once"):
        merge([other, one, tmp_path / "." / other.name], tmp_path / "out.acts")


@pytest.mark.parametrize(("first", "what"), [(19, "overlaps"), (21, "leaves a gap")])
def test_shares_of_other_rows_are_refused(share, part, tmp_path, first, what):
    other = part("other.acts", first, 20, place=WritePlace(None, 1, 2, first, 20))
    with pytest.raises(
        StoreError, match=f"begins with row {first} where the ranks before it end at 20: it {what}"
    ):
        merge([share(0), other], tmp_path / "out.acts")


def test_ranks_of_other_dumps_are_refused(share, part, tmp_path, batch_of):
    first = share(0, provenance={"model": {"weights": "abc"}, "seed": 1, "command": "a"})
    second = share(1, provenance={"model": {"weights": "abd"}, "command": "b"})
    with pytest.raises(
        StoreError,
        match=r'rank1of2\.acts does not go with .*rank0of2\.acts: model\.weights was "abc", now "abd"; seed is missing',
    ):
        merge([first, second], tmp_path / "out.acts")
    few = dict(list(batch_of(1).activations.items())[:3])
    with Writer(tmp_path / "few.acts", place=WritePlace(None, 1, 2, 20)) as writer:
        writer.append(batch_of(1, 20, activations=few))
    with pytest.raises(StoreError, match=r"few\.acts does not go with .*: layers\.norm is missing"):
        merge([first, tmp_path / "few.acts"], tmp_path / "out.acts")


def test_ranks_of_different_world_sizes_are_refused(share, tmp_path):
    with pytest.raises(
        StoreError, match=r"rank-0000 is a rank of 2, .*rank-0003 one of 4; expected ranks of one dump"
    ):
        merge([share(0), share(3, 4)], tmp_path / "out.acts")


def test_whole_stores_follow_one_another(part, tmp_path):
    provenance = {"model": {"weights": "abc"}, "reductions": {}, "seed": 1}
    sources = [
        part(f"{first}.acts", first, rows, provenance={**provenance, "data": name, "command": name})
        for first, rows, name in ((0, 8, "a"), (8, 25, "b"), (33, 7, "c"))
    ]
    merged = merge(sources, tmp_path / "out.acts")
    same_rows(merged, actstore.open(part("whole.acts")))
    assert merged.provenance == {**provenance, "ranks": [{"data": name, "command": name} for name in "abc"]}
    with merge(sources[:2], tmp_path / "two.acts"):
        pass
    with merge([tmp_path / "two.acts", sources[2]], tmp_path / "again.acts") as again:
        same_rows(again, merged)
        assert again.provenance == merged.provenance
        assert again.fingerprint == merged.fingerprint
    with merge(sources[::-1], tmp_path / "reversed.acts") as other:
        assert other.ids[:7].tolist() == [f"row/{row}" for row in range(33, 40)]


def test_merged_ranks_are_a_whole_store(share, part, tmp_path):
    merge([share(0), share(1)], tmp_path / "dump.acts").close()
    more = part("more.acts", ROWS, 10)
    with merge([tmp_path / "dump.acts", more], tmp_path / "out.acts") as merged:
        assert (merged.complete, merged.rows) == (True, ROWS + 10)
        same_rows(merged, actstore.open(part("whole.acts", 0, ROWS + 10)))


@pytest.mark.parametrize("copy", [False, True], ids=["linked", "copied"])
def test_rows_that_came_twice_are_refused_before_anything_is_made(part, tmp_path, copy):
    sources = [part("a.acts", 0, 10), part("b.acts", 9, 10)]
    with pytest.raises(StoreError, match=r"id 'row/9' is in .*a\.acts/.* and in .*b\.acts/"):
        merge(sources, tmp_path / "out.acts", copy=copy)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.acts", "b.acts"]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, {"row_unit": "token"}, r'row_unit was "example", now "token"'),
        ({}, {"provenance": {"model": 2}}, r"model was 1, now 2"),
        ({}, {"provenance": {"model": 1, "reductions": "mean"}}, r"reductions is new"),
        ({}, {"provenance": {"model": 1}, "place": WritePlace(3)}, r"steps\[0\] was 0, now 3"),
        ({"targets": {"digit": ["a"] * 10}}, {"provenance": {"model": 1}}, r"expected one kind of label"),
        (
            {"groups": ["g"] * 10},
            {"provenance": {"model": 1}},
            r"b\.acts.* has rows/group/values, .*a\.acts.* has not",
        ),
        ({"positions": [0] * 10}, {"provenance": {"model": 1}}, r"has rows/position, .* has not"),
    ],
)
def test_stores_that_do_not_go_together_are_refused(part, tmp_path, batch_of, changes, options, message):
    first = part("a.acts", 0, 10, provenance={"model": 1})
    with Writer(tmp_path / "b.acts", **options) as writer:
        writer.append(batch_of(10, 10, **changes))
    with pytest.raises(StoreError, match=message):
        merge([first, tmp_path / "b.acts"], tmp_path / "out.acts")
    assert not (tmp_path / "out.acts").exists()


def test_a_whole_store_and_a_share_are_refused(part, share, tmp_path):
    with pytest.raises(StoreError, match=r"a\.acts is a whole store, .*rank1of2\.acts has rank 1 of 2"):
        merge([share(1), part("a.acts", 0, 10)], tmp_path / "out.acts")


def test_attached_labels_are_merged(part, tmp_path):
    sources = [part("a.acts", 0, 10), part("b.acts", 10, 10), part("c.acts", 20, 10)]
    stores = [actstore.open(source) for source in sources]
    for store, words in zip(stores, (["x", "yy"] * 5, ["zzz", "x"] * 5, ["x"] * 10), strict=True):
        store.attach("word", words)
    stores[0].attach("size", np.arange(10, dtype=np.int8))
    stores[2].attach("size", np.ma.MaskedArray(np.arange(10) + 1000, mask=np.arange(10) == 0))
    stores[1].attach("digit", np.arange(10) + 90, overwrite=True)
    with pytest.warns(UnlabelledRowsWarning) as caught:
        merged = merge(sources, tmp_path / "out.acts")
    assert [str(one.message) for one in caught] == ["target 'size' is not in b.acts: 10 rows have no label"]
    assert merged.targets["word"].tolist() == ["x", "yy"] * 5 + ["zzz", "x"] * 5 + ["x"] * 10
    sizes = merged.targets["size"]
    assert np.flatnonzero(sizes.mask).tolist() == [*range(10, 20), 20]
    assert sizes.compressed().tolist() == [*range(10), *range(1001, 1010)]
    assert merged.targets["digit"].tolist() == [*range(10), *range(90, 100), *range(10)]
    with merge([tmp_path / "out.acts"], tmp_path / "again.acts") as again:
        same_rows(again, merged)


def test_a_target_that_one_store_lacks_leaves_its_rows_without_a_label(part, tmp_path, batch_of):
    first = part("a.acts", 0, 10)
    with Writer(tmp_path / "b.acts") as writer:
        writer.append(batch_of(5, 10, targets={}))
    with pytest.warns(UnlabelledRowsWarning, match=r"'digit' is not in b\.acts: 5 rows have no label"):
        merged = merge([first, tmp_path / "b.acts"], tmp_path / "out.acts")
    assert np.flatnonzero(merged.targets["digit"].mask).tolist() == [10, 11, 12, 13, 14]


def test_attached_labels_of_another_kind_are_refused(part, tmp_path):
    sources = [part("a.acts", 0, 10), part("b.acts", 10, 10)]
    actstore.open(sources[0]).attach("digit", ["a"] * 10, overwrite=True)
    with pytest.raises(StoreError, match="'digit' is <U1 and int64; expected one kind of label"):
        merge(sources, tmp_path / "out.acts")


def test_steps_are_merged_one_by_one(part, tmp_path):
    for step in (0, 500):
        for name, first in (("a.acts", 0), ("b.acts", 20)):
            part(name, first, 20, place=WritePlace(step), provenance={"model": {"weights": f"of {step}"}})
    with merge([tmp_path / "a.acts", tmp_path / "b.acts"], tmp_path / "out.acts") as merged:
        assert merged.steps == [0, 500]
        whole = actstore.open(part("whole.acts"))
        for step in (0, 500):
            same_rows(merged.at(step), whole)
            assert merged.at(step).provenance["model"] == {"weights": f"of {step}"}
    with pytest.raises(StoreError, match=r"steps was \[0, 500\], now \[0\]|steps"):
        merge([tmp_path / "a.acts", part("c.acts", 20, 20)], tmp_path / "other.acts")


@pytest.mark.parametrize("which", ["share", "whole"])
def test_an_unfinished_source_is_refused(share, part, tmp_path, batch_of, which):
    place = WritePlace(None, 1, 2, 20, 20) if which == "share" else WritePlace()
    writer = Writer(tmp_path / "unfinished.acts", place=place, shard_bytes=1)
    for first in range(20, 36, 4):
        writer.append(batch_of(4, first))
    writer.abandon()
    first = share(0) if which == "share" else part("a.acts", 0, 20)
    with pytest.raises(StoreError, match=r"unfinished\.acts: rank \d of step 0 is unfinished; finish it first"):
        merge([first, tmp_path / "unfinished.acts"], tmp_path / "out.acts")


def test_a_source_that_is_being_written_is_refused(share, tmp_path):
    sources = [share(0), share(1)]
    lock = Lock(sources[1] / "steps/0/rank-0001/lock")
    with pytest.raises(StoreError, match=r"rank1of2\.acts is being written by another process"):
        merge(sources, tmp_path / "out.acts")
    lock.release()
    merge(sources, tmp_path / "out.acts").close()


@pytest.mark.parametrize(
    ("sources", "out", "message"),
    [
        ([], "out.acts", "no store to merge"),
        (["a.acts"], "out.h5", r"out\.h5 is not the name of a folder of a store"),
        (["a.acts"], "no/out.acts", r"there is no folder .*no\. Make it first"),
        (["a.acts"], "a.acts", r"a\.acts already exists"),
        (["b.h5"], "out.acts", r"b\.h5 is one file; stores that are merged are folders"),
        (["c.acts"], "out.acts", r"c\.acts is not there"),
        (["a.acts", "a.acts"], None, r"there are 2 stores; say where"),
        (["b.h5"], None, r"b\.h5 is no folder"),
        (["."], "out.acts", r"is no store"),
    ],
)
def test_names_that_can_not_be(part, tmp_path, monkeypatch, sources, out, message):
    monkeypatch.chdir(tmp_path)
    part("a.acts")
    part("b.h5")
    with pytest.raises(StoreError, match=message):
        merge(sources, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.acts", "b.h5"]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_another_disk_takes_a_copy(share, part, tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    sources = [share(0), share(1)]
    with monkeypatch.context() as patch:
        patch.setattr(transfer.os, "link", refuse)
        with pytest.raises(
            StoreError, match=r"shard-000000\.h5 cannot be linked to .*; pass copy=True \(--copy\)"
        ):
            merge(sources, tmp_path / "out.acts")
    assert not list(tmp_path.glob("out*"))
    same_rows(merge(sources, tmp_path / "out.acts", copy=True), actstore.open(part("whole.acts")))


@pytest.mark.parametrize("where", ["layer", "ids", "metadata", "last byte"])
def test_a_copy_notices_every_damage(share, tmp_path, where):
    sources = [share(0), share(1)]
    with actstore.open(sources[0]) as store:
        found = store._contents.parts[1]
    offset, message = {
        "layer": (
            found.extents["layers/conv1"].offset + 51,
            r"rows 14 to 19 of layer 'conv1' are not what was",
        ),
        "ids": (found.extents["rows/id"].offset, r"entries 0 to 5 of rows/id are not"),
        "metadata": (3, r"what lies between its datasets is not"),
        "last byte": (found.path.stat().st_size - 1, r"(what lies between|entries|rows)"),
    }[where]
    with found.path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(StoreError, match=rf"shard-000001\.h5 is damaged: .*{message}"):
        merge(sources, tmp_path / "out.acts", copy=True)
    assert not list(tmp_path.glob("out*"))


def test_a_shard_that_is_missing_or_short_is_named(share, tmp_path):
    sources = [share(0), share(1)]
    path = sources[1] / "steps/0/rank-0001/shard-000001.h5"
    os.truncate(path, path.stat().st_size - 1)
    for merge_copies in (False, True):
        with pytest.raises(StoreError, match=r"shard-000001\.h5 has .* bytes where"):
            merge(sources, tmp_path / "out.acts", copy=merge_copies)
    path.unlink()
    with pytest.raises(StoreError, match=r"shard-000001\.h5 cannot be read"):
        merge(sources, tmp_path / "out.acts")
    assert not list(tmp_path.glob("out*"))


def test_a_disk_without_room_is_seen_before_anything_is_copied(share, tmp_path, monkeypatch):
    sources = [share(0), share(1)]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(StoreError, match=r"out\.acts needs .* bytes, and 1 are free there"):
        merge(sources, tmp_path / "out.acts", copy=True)


class Crash(BaseException):
    """The process dies: nothing is tidied up."""


class Operations:
    """Counts file operations, and dies before the one with number ``last``."""

    def __init__(self, last: int) -> None:
        self.left = last

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """``real``, counted."""

        def counted(*arguments: Any, **options: Any) -> Any:
            if self.left == 0:
                raise Crash
            self.left -= 1
            return real(*arguments, **options)

        return counted


def test_a_merge_that_dies_at_any_moment_can_be_repeated(part, tmp_path, monkeypatch):
    """Each operation that changes the disk is the last one once; the dead hold no lock and tidy nothing up."""
    sources = [part("a.acts", 0, 20), part("b.acts", 20, 20)]
    for source in sources:
        actstore.open(source).attach("word", ["x", "y"] * 10)
    before = [files(source) for source in sources]
    final, expected = tmp_path / "out.acts", None
    for last in range(1000):
        operations = Operations(last)
        with monkeypatch.context() as patch:
            for name in ("write_at", "sync_file", "sync_data", "sync_folder", "rename", "publish"):
                patch.setattr(durable, name, operations.wrap(getattr(durable, name)))
            patch.setattr(merging, "link", operations.wrap(transfer.link))
            patch.setattr(staging, "remove_own", lambda place, of=operations: of.left and remove_own(place))
            died = False
            try:
                merge(sources, final).close()
            except Crash:
                died = True
        if not died:
            break
        assert [files(source) for source in sources] == before
        if final.exists():  # the name was given, and only then did the process die
            same_rows(actstore.open(final), expected or actstore.open(final))
            shutil.rmtree(final)
            continue
        assert list(tmp_path.glob("out.acts.*.merging"))
        if last % 7 == 0:
            expected = merge(sources, final)
            assert expected.targets["word"].tolist() == ["x", "y"] * 20
            expected.layers["fc"][:]
            assert not list(tmp_path.glob("out.acts.*"))
            shutil.move(final, tmp_path / f"kept{last}.acts")
            expected = actstore.open(tmp_path / f"kept{last}.acts")
    assert last > 40
    same_rows(actstore.open(final), expected)
    assert not list(tmp_path.glob("out.acts.*"))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_merge_leaves_nothing(share, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    sources = [share(0), share(1)]
    before = [files(source) for source in sources]
    with monkeypatch.context() as patch:
        patch.setattr(completion, "write_new", fail)
        with pytest.raises(
            (StoreError, KeyboardInterrupt), match=r"^$|out\.acts cannot be written: No space left"
        ):
            merge(sources, tmp_path / "out.acts")
    assert not list(tmp_path.glob("out*"))
    assert [files(source) for source in sources] == before


def test_a_dump_to_the_name_removes_what_a_killed_merge_left(tmp_path, write_store):
    """A merge to that name would, but there is none once a dump has it. One that is under way is left alone."""
    dead = tmp_path / f"out.acts.{'0' * 16}.merging/steps/0/rank-0000"
    alive = tmp_path / f"out.acts.{'1' * 16}.merging/steps/0/rank-0000"
    other = tmp_path / f"other.acts.{'2' * 16}.merging/steps/0/rank-0000"
    for place in (dead, alive, other):
        place.mkdir(parents=True)
        (place / "shard-000000.h5").write_bytes(b"half")
    (dead / "lock").touch()
    lock = Lock(alive / "lock")
    write_store("out.acts").close()
    lock.release()
    assert not dead.parents[2].exists()
    assert (alive / "shard-000000.h5").exists()
    assert (other / "shard-000000.h5").exists()


def test_another_merge_to_the_same_name_is_refused(share, tmp_path):
    sources = [share(0), share(1)]
    place = tmp_path / "out.acts.0123456789abcdef.merging/steps/0/rank-0000"
    place.mkdir(parents=True)
    lock = Lock(place / "lock")
    with pytest.raises(StoreError, match=r"out\.acts is being made by another merge"):
        merge(sources, tmp_path / "out.acts")
    assert place.exists()
    lock.release()
    merge(sources, tmp_path / "out.acts").close()


def test_a_name_that_appears_meanwhile_is_kept(share, tmp_path, monkeypatch):
    sources = [share(0), share(1)]
    real = merging._write_documents

    def appears(*arguments):
        real(*arguments)
        (tmp_path / "out.acts").mkdir()
        (tmp_path / "out.acts" / "mine").touch()

    monkeypatch.setattr(merging, "_write_documents", appears)
    with pytest.raises(StoreError, match=r"out\.acts has appeared meanwhile"):
        merge(sources, tmp_path / "out.acts")
    assert [path.name for path in tmp_path.glob("out*/*")] == ["mine"]


def test_a_source_that_is_replaced_meanwhile_is_noticed(part, tmp_path, monkeypatch):
    sources = [part("a.acts", 0, 20), part("b.acts", 20, 20)]
    real = merging._write_documents

    def replaced(*arguments):
        real(*arguments)
        part("b.acts", 60, 20, overwrite=True)

    monkeypatch.setattr(merging, "_write_documents", replaced)
    with pytest.raises(StoreError, match=r"b\.acts/.* was replaced while it was merged|bytes where"):
        merge(sources, tmp_path / "out.acts")
    assert not list(tmp_path.glob("out*"))


def test_a_store_whose_ranks_have_all_ended_is_completed(part, tmp_path):
    for rank in range(2):
        part("ranks.acts", rank * 20, 20, place=WritePlace(None, rank, 2, rank * 20, 20))
    complete = tmp_path / "ranks.acts/steps/0/COMPLETE"
    proof = complete.read_bytes()
    complete.unlink()
    assert not actstore.open(tmp_path / "ranks.acts").complete
    with pytest.raises(
        StoreError, match=r"has all ranks of step 0, but not its COMPLETE; actstore merge .* writes it"
    ):
        merge([tmp_path / "ranks.acts"], tmp_path / "out.acts")
    with merge([tmp_path / "ranks.acts"]) as merged:
        same_rows(merged, actstore.open(part("whole.acts")))
    assert complete.read_bytes() == proof
    assert merge([tmp_path / "ranks.acts"]).complete


def test_a_store_that_lacks_a_rank_is_not_completed(share):
    with pytest.raises(StoreError, match=r"of 4 ranks of step 0, these have not ended: 0, 2, 3\. Finish them"):
        merge([share(1, 4)])


def test_merging_warns_of_nothing_else(share, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        merge([share(0), share(1)], tmp_path / "out.acts").close()
    assert caught == []
