"""Rows that other versions of the libraries computed do not get into a store unnoticed."""

from __future__ import annotations

import numpy as np
import pytest

import actstore
from actstore import StoreError, Writer
from actstore.dumping import loop
from actstore.dumping.dump import DumpSettings, dump
from actstore.sources import SplitData
from actstore.sources.arrays import ArraySource
from actstore.store.documents.versions import other_versions
from actstore.store.documents.write_place import WritePlace
from actstore.store.merging.merge import merge
from actstore.store.writing import pending

OLD = {"python": "3.11.7", "numpy": "1.26.4", "torch": "2.4.0", "platform": "Linux-6.1.0-x86_64-with-glibc2.36"}
NEW = {**OLD, "torch": "2.5.1"}


@pytest.fixture(params=["out.acts", "out.h5"])
def name(request):
    return request.param


@pytest.fixture
def versions(monkeypatch):
    """``versions(found)``: what is installed from now on."""
    return lambda found: monkeypatch.setattr(loop, "versions", lambda: dict(found))


def run(out, stop=None, **settings):
    """Dump 40 rows in batches of 4, a shard each; stop at the batch that begins with the row ``stop``."""

    def model(batch):
        if stop is not None and batch[0, 0] == 4 * stop:
            raise KeyboardInterrupt
        return {"a": np.asarray(batch, np.float32)}

    model.fingerprint = "the same"
    data = [SplitData("train", ArraySource(np.arange(160, dtype="f4").reshape(40, 4), "x"))]
    return dump(model, data, out, DumpSettings(("a",), 4, selfcheck=False, **settings))


@pytest.fixture
def interrupted(tmp_path, name, versions, monkeypatch):
    monkeypatch.setattr(pending, "SHARD_BYTES", (1, 1))
    versions(OLD)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / name, 12)
    return tmp_path / name


def test_resuming_with_the_same_versions_says_nothing_of_them(interrupted):
    with run(interrupted, resume=True) as store:
        assert store.provenance["versions"] == OLD
        assert "resumed" not in store.provenance


def test_resuming_with_other_versions_is_refused_and_changes_nothing(interrupted, versions):
    versions({**NEW, "python": "3.12.1"})
    with pytest.raises(StoreError, match="was begun with other versions") as caught:
        run(interrupted, resume=True)
    assert 'versions.python was "3.11.7", now "3.12.1"; versions.torch was "2.4.0", now "2.5.1"' in str(
        caught.value
    )
    assert "--resume-anyway" in str(caught.value)
    versions(OLD)
    assert "resumed" not in run(interrupted, resume=True).provenance


def test_both_versions_are_recorded_with_the_rows_they_computed(interrupted, versions):
    versions(NEW)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, 20, resume_anyway=True)
    versions(OLD)
    with pytest.raises(
        StoreError, match=r'versions\.torch was "2\.5\.1", now "2\.4\.0"'
    ):  # the last is what counts
        run(interrupted, resume=True)
    versions(NEW)
    with run(interrupted, resume=True) as store:
        assert store.rows == 40
        assert store.provenance["versions"] == OLD
        assert store.provenance["resumed"] == [{"from_row": 12, "versions": NEW}]


def test_going_back_to_the_first_versions_is_recorded_too(interrupted, versions):
    versions(NEW)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, 20, resume_anyway=True)
    versions(OLD)
    with run(interrupted, resume_anyway=True) as store:
        resumed = store.provenance["resumed"]
    assert [(one["from_row"], one["versions"]) for one in resumed] == [(12, NEW), (20, None)]


def test_other_threads_are_recorded_and_refuse_nothing(interrupted, versions):
    threads = {**OLD, "threads": {"torch": 4}}
    versions(threads)  # the rows that are there do not know theirs
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, 20, resume=True)
    with run(interrupted, resume=True) as store:
        assert store.rows == 40
        assert "resumed" not in store.provenance


def test_rows_of_other_threads_are_told(tmp_path, name, versions, monkeypatch):
    monkeypatch.setattr(pending, "SHARD_BYTES", (1, 1))
    few, many = ({**OLD, "threads": {"torch": count}} for count in (2, 64))
    versions(few)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / name, 12)
    versions(many)
    with run(tmp_path / name, resume=True) as store:
        assert store.provenance["versions"] == few
        assert store.provenance["resumed"] == [{"from_row": 12, "versions": many}]


def test_a_whole_store_is_not_computed_again(tmp_path, name, versions):
    versions(OLD)
    run(tmp_path / name).close()
    versions(NEW)
    with run(tmp_path / name, resume=True) as store:
        assert store.provenance["versions"] == OLD


def test_in_python_too(tmp_path, monkeypatch):
    from actstore.dumping import recording

    monkeypatch.setattr(recording, "versions", lambda: dict(OLD))
    monkeypatch.setattr(pending, "SHARD_BYTES", (1, 1))
    rows = {"a": np.ones((4, 3), "f4")}

    def begin(**options):
        with actstore.create(tmp_path / "s.acts", **options) as store:
            store.append(rows, ids=list("wxyz") if options else list("abcd"))
            if not options:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    monkeypatch.setattr(recording, "versions", lambda: dict(NEW))
    with pytest.raises(StoreError, match="was begun with other versions"):
        begin(resume=True)
    begin(resume_anyway=True)
    assert actstore.open(tmp_path / "s.acts").provenance["resumed"][0]["versions"] == NEW


def part(path, batch_of, rank, found, world_size=2, **options):
    place = WritePlace(None, rank, world_size, rank * 20, 20)
    with Writer(path, place=place, provenance={"versions": found, "model": {"w": 1}}, **options) as writer:
        writer.append(batch_of(20, rank * 20))


def test_ranks_of_other_versions_are_refused(tmp_path, batch_of):
    part(tmp_path / "s.acts", batch_of, 0, OLD)
    with pytest.raises(
        StoreError, match=r'rank-0000 was begun with other versions: versions\.torch was "2\.4\.0"'
    ):
        part(tmp_path / "s.acts", batch_of, 1, NEW)
    part(tmp_path / "s.acts", batch_of, 1, NEW, resume_anyway=True)
    ranks = actstore.open(tmp_path / "s.acts").provenance["ranks"]
    assert [rank["versions"] for rank in ranks] == [OLD, NEW]


def test_ranks_that_begin_at_the_same_moment_see_each_other(tmp_path, batch_of, monkeypatch):
    """Rank 1 looks before rank 0 has begun, and begins after it."""
    from actstore.store.writing.sealing import RankWriter

    look = RankWriter._check_others
    looked = []

    def late(writer):
        look(writer)
        looked.append(1)
        if len(looked) == 1:
            part(tmp_path / "s.acts", batch_of, 0, OLD)

    monkeypatch.setattr(RankWriter, "_check_others", late)
    with pytest.raises(StoreError, match="rank-0000 was begun with other versions"):
        part(tmp_path / "s.acts", batch_of, 1, NEW)
    assert actstore.open(tmp_path / "s.acts").rows == 20
    part(tmp_path / "s.acts", batch_of, 1, OLD)
    assert actstore.open(tmp_path / "s.acts").complete


@pytest.mark.parametrize("world_size", [1, 2], ids=["whole stores", "ranks"])
def test_merging_other_versions_is_refused(tmp_path, batch_of, world_size):
    sources = [tmp_path / f"{rank}.acts" for rank in range(2)]
    for rank, found in enumerate((OLD, NEW)):
        if world_size == 2:
            part(sources[rank], batch_of, rank, found)
        else:
            with Writer(sources[rank], provenance={"versions": found, "model": {"w": 1}}) as writer:
                writer.append(batch_of(20, rank * 20))
    message = (
        r'1\.acts was computed by other versions than .*0\.acts: versions\.torch was "2\.4\.0", now "2\.5\.1"'
    )
    with pytest.raises(StoreError, match=message):
        merge(sources, tmp_path / "out.acts")
    assert not list(tmp_path.glob("out*"))
    with merge(sources, tmp_path / "out.acts", anyway=True) as store:
        assert [rank["versions"] for rank in store.provenance["ranks"]] == [OLD, NEW]


def test_what_was_imported_is_merged_whatever_imported_it(tmp_path, batch_of):
    sources = [tmp_path / f"{rank}.acts" for rank in range(2)]
    for rank, found in enumerate((OLD, NEW)):
        with Writer(sources[rank], provenance={"versions": found, "import": [{"file": "x.npy"}]}) as writer:
            writer.append(batch_of(20, rank * 20))
    assert merge(sources, tmp_path / "out.acts").rows == 40


def test_what_counts_as_another_version():
    assert other_versions(OLD, OLD) == []
    assert other_versions(OLD, {**OLD, "pillow": "11"}) == []  # loaded by chance, or not
    assert other_versions(None, OLD) == []  # a store that did not say
    node = {**OLD, "platform": "Linux-6.8.0-45-generic-x86_64-with-glibc2.36"}
    assert other_versions(OLD, node) == []  # another kernel
    for platform in (
        "Linux-6.1.0-aarch64-with-glibc2.36",
        "Linux-6.1.0-x86_64-with-glibc2.39",
        "macOS-14-arm64",
    ):
        assert len(other_versions(OLD, {**OLD, "platform": platform})) == 1
