"""Processes that write one store together, each its share of the rows; and the steps of a store."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import actstore
from actstore import Captured, LayerError, RowBatch, StoreError, Writer
from actstore.store.documents.write_place import WritePlace
from actstore.store.merging.merge import merge
from actstore.store.writing import completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROWS = 40

WRITE = """
import sys
import numpy as np
from actstore import Captured, RowBatch, Writer
from actstore.store.documents.write_place import WritePlace
path, rank, world_size, layer = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
first = 100 * rank
writer = Writer(path, place=WritePlace(None, rank, world_size, first, 100), shard_bytes=2000)
for start in range(first, first + 100, 10):
    numbers = np.arange(start, start + 10)
    rows = {layer: Captured(np.repeat(numbers, 8).reshape(10, 8).astype(np.float32), "float32", ("feature",))}
    writer.append(RowBatch(rows, [f"row/{n}" for n in numbers], ["train"] * 10, {"number": numbers}))
    print("batch", flush=True)
    if start == first + 40:
        sys.stdin.readline()
if "die" in sys.argv:
    sys.exit(3)
writer.finish()
print("finished", flush=True)
"""


class Rank:
    """A process that writes one rank, and waits after half of its batches until it is told to go on."""

    def __init__(self, path: Path, rank: int, world_size: int = 2, layer: str = "a", *more: str) -> None:
        arguments = [str(path), str(rank), str(world_size), layer, *more]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def reach_half(self) -> Rank:
        """Wait until it has appended half of its rows."""
        assert [self.process.stdout.readline() for _ in range(5)] == ["batch\n"] * 5
        return self

    def go_on(self) -> None:
        """Let it write the other half."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def ended(self) -> tuple[int, str]:
        """Its exit code, and what it said of errors."""
        _, errors = self.process.communicate("\n", timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def ranks(tmp_path) -> Iterator[Callable[..., Rank]]:
    """``ranks(rank, ...)``: a process that writes this rank of one store."""
    started: list[Rank] = []

    def start(*arguments: Any) -> Rank:
        started.append(Rank(tmp_path / "out.acts", *arguments))
        return started[-1]

    yield start
    for rank in started:
        rank.process.kill()
        rank.process.communicate()


def check_whole(path: Path, world_size: int = 2) -> None:
    """Every row is there, once, in order."""
    numbers = np.arange(100 * world_size)
    with actstore.open(path) as store:
        assert store.complete
        assert store.ids.tolist() == [f"row/{number}" for number in numbers]
        np.testing.assert_array_equal(store.targets["number"], numbers)
        np.testing.assert_array_equal(store.layers["a"][:][:, 3], numbers.astype(np.float32))
    assert not [path.name for path in path.rglob("*.tmp")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ranks_that_write_at_once_may_end_in_any_order(ranks, tmp_path, order):
    running = [ranks(0), ranks(1)]
    for rank in running:
        rank.reach_half()
    first, last = order
    assert running[first].ended() == (0, "")
    assert not (tmp_path / "out.acts/steps/0/COMPLETE").exists()
    assert not actstore.open(tmp_path / "out.acts").complete
    assert running[last].ended() == (0, "")
    check_whole(tmp_path / "out.acts")


def test_many_ranks_that_end_at_once(ranks, tmp_path):
    running = [ranks(rank, 6) for rank in range(6)]
    for rank in running:
        rank.reach_half()
    for rank in running:
        rank.go_on()
    assert [rank.ended() for rank in running] == [(0, "")] * 6
    check_whole(tmp_path / "out.acts", 6)


def test_ranks_that_complete_the_store_at_the_same_moment(tmp_path, batch_of, monkeypatch):
    """Both see that all have ended: whoever writes COMPLETE second finds it there."""
    real, path = completion.check_ranks, tmp_path / "out.acts"
    for rank in range(2):
        with Writer(path, place=WritePlace(None, rank, 2, rank * 20, 20)) as writer:
            writer.append(batch_of(20, rank * 20))
    (path / "steps/0/COMPLETE").unlink()

    def quicker(folder, header, step, found):
        monkeypatch.setattr(completion, "check_ranks", real)
        assert completion.complete_step(folder, header, step)
        return real(folder, header, step, found)

    monkeypatch.setattr(completion, "check_ranks", quicker)
    assert merge([path]).complete


def test_a_rank_that_is_written_already_is_refused(ranks, tmp_path):
    running = [ranks(0).reach_half(), ranks(1).reach_half()]
    code, errors = ranks(1).ended()
    assert code == 1
    assert "out.acts is being written by another process" in errors
    assert [rank.ended() for rank in running] == [(0, "")] * 2
    code, errors = ranks(1).ended()
    assert code == 1
    assert "out.acts already holds step 0, rank 1 of 2" in errors
    check_whole(tmp_path / "out.acts")


def test_a_rank_with_other_layers_is_refused_by_name(ranks, tmp_path):
    assert ranks(0).ended() == (0, "")
    code, errors = ranks(1, 2, "b").ended()
    assert code == 1
    assert "layers.a is missing; layers.b is new" in errors
    assert ranks(1).ended() == (0, "")
    check_whole(tmp_path / "out.acts")


def test_a_rank_of_another_world_size_is_refused(ranks, tmp_path):
    assert ranks(0).ended() == (0, "")
    code, errors = ranks(1, 3).ended()
    assert code == 1
    assert "rank-0000 was begun differently: world_size was 2, now 3" in errors
    assert ranks(1).ended() == (0, "")
    check_whole(tmp_path / "out.acts")


def test_a_rank_that_dies_leaves_the_store_unfinished_until_it_is_resumed(ranks, tmp_path):
    path = tmp_path / "out.acts"
    running = [ranks(0, 2, "a", "die"), ranks(1)]
    assert [rank.ended()[0] for rank in running] == [3, 0]
    store = actstore.open(path)
    assert not store.complete
    assert store.rows <= 100
    assert store.ids.tolist() == [f"row/{number}" for number in range(store.rows)]
    with pytest.raises(StoreError, match=r"of 2 ranks of step 0, these have not ended: 0\. Finish them"):
        merge([path])
    code, errors = ranks(0).ended()
    assert code == 1
    assert "holds an unfinished step 0, rank 0 of 2; pass resume=True" in errors
    with Writer(path, place=WritePlace(None, 0, 2, 0, 100), resume=True) as writer:
        writer.begin(store.header.layers)
        for first in range(store.rows, 100, 10):
            numbers = np.arange(first, first + 10)
            rows = {
                "a": Captured(np.repeat(numbers, 8).reshape(10, 8).astype(np.float32), "float32", ("feature",))
            }
            ids = [f"row/{number}" for number in numbers]
            writer.append(RowBatch(rows, ids, ["train"] * 10, {"number": numbers}))
    check_whole(path)


def write_step(path: Path, batches: list[Any], step: int | None, **options: Any) -> None:
    with Writer(path, place=WritePlace(step), shard_bytes=1500, **options) as writer:
        for batch in batches:
            writer.append(batch)


@pytest.fixture
def batches(batch_of) -> Callable[..., list[Any]]:
    """``batches(rows)``: example rows, ten at a time, with fields of every batch replaced."""
    return lambda rows=ROWS, **changes: [
        batch_of(min(10, rows - first), first, **changes) for first in range(0, rows, 10)
    ]


@pytest.fixture
def steps(tmp_path, batches) -> Path:
    """A store whose step 0 is complete."""
    write_step(tmp_path / "steps.acts", batches(), 0)
    return tmp_path / "steps.acts"


def test_a_step_is_added_to_the_same_rows(steps, batches, batch_of):
    later = batches()
    for batch in later:
        batch.activations["conv1"].array[:] = 7
    write_step(steps, later, 500)
    with actstore.open(steps) as store:
        assert (store.steps, store.rows, store.complete) == ([0, 500], ROWS, True)
        assert (store.layers["conv1", 500][:] == 7).all()
        np.testing.assert_array_equal(
            store.layers["conv1", 0][:], batch_of(ROWS).activations["conv1"].array, strict=True
        )
        assert store.at(500).steps == [500]
        np.testing.assert_array_equal(store.at(500).layers["norm"][:], store.layers["norm", 500][:])
        assert store.ids.tolist() == store.at(500).ids.tolist()
        assert store.at(0).fingerprint != store.at(500).fingerprint
        with pytest.raises(
            LayerError, match=r"not say which step; write layers\['fc', step\] with a step of 0, 500"
        ):
            store.layers["fc"]
        with pytest.raises(LayerError, match=r"there is no step 7; write layers\['fc', step\]"):
            store.layers["fc", 7]
        with pytest.raises(StoreError, match="has no step 7; it has 0, 500"):
            store.at(7)


def test_a_step_may_come_in_other_batches_and_before_the_others(steps, batch_of):
    write_step(steps, [batch_of(ROWS)], 9)
    write_step(steps, [batch_of(ROWS)], 3)
    assert actstore.open(steps).steps == [0, 3, 9]


def test_a_step_of_ranks_and_a_step_of_one_process_have_the_same_rows(steps, batch_of):
    for rank in (1, 0):
        with Writer(steps, place=WritePlace(5, rank, 2, rank * 20, 20)) as writer:
            writer.append(batch_of(20, rank * 20))
    with actstore.open(steps) as store:
        assert store.complete
        assert store.at(5).ids.tolist() == store.at(0).ids.tolist()
        np.testing.assert_array_equal(store.layers["conv1", 5][:], store.layers["conv1", 0][:], strict=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": [f"other/{n}" for n in range(10)]}, "the ids of rows 0 to 9 are not those of step 0"),
        ({"splits": ["train"] * 10}, "the splits of rows 0 to 9 are not"),
        ({"groups": ["g"] * 10}, "the groups of rows 0 to 9 are not"),
        ({"positions": list(range(10))}, "the positions of rows 0 to 9 are not"),
        ({"targets": {"digit": np.arange(10) + 1}}, "the labels 'digit' of rows 0 to 9 .* actstore label"),
        ({"targets": {"other": np.arange(10)}}, "the labels 'other' of rows 0 to 9 .* actstore label"),
        (
            {"targets": {"digit": np.ma.MaskedArray(np.arange(10), mask=np.arange(10) == 3)}},
            "the labels 'digit' of rows 0 to 9",
        ),
    ],
)
def test_a_step_of_other_rows_is_refused(steps, batch_of, changes, message):
    with pytest.raises(StoreError, match=message):
        write_step(steps, [batch_of(10, 0, **changes)], 500)
    assert actstore.open(steps).steps == [0]
    assert sorted(path.name for path in (steps / "steps").iterdir()) == ["0"]


def test_a_step_without_labels_has_those_of_the_others(steps, batches):
    write_step(steps, batches(targets={}), 500)
    assert actstore.open(steps).targets["digit"].tolist() == [row % 10 for row in range(ROWS)]


def test_a_step_of_more_rows_is_refused(steps, batches):
    with pytest.raises(StoreError, match="the ids of rows 40 to 49 are not those of step 0"):
        write_step(steps, batches(ROWS + 10), 500)


def test_a_step_of_fewer_rows_is_refused_and_can_be_resumed(steps, batches, batch_of):
    with pytest.raises(
        StoreError, match=r"step 500 has 30 rows where step 0 has 40; .* Resume with the same data"
    ):
        write_step(steps, batches(30), 500)
    assert not actstore.open(steps).complete
    assert actstore.open(steps).at(0).complete
    writer = Writer(steps, place=WritePlace(500), resume=True)
    with writer:
        writer.begin(actstore.open(steps).header.layers)
        writer.append(batch_of(10, 30))
    assert actstore.open(steps).complete


def test_a_step_with_other_layers_is_refused_by_name(steps, batch_of):
    few = dict(list(batch_of(ROWS).activations.items())[:3])
    with pytest.raises(StoreError, match=r"layers\.norm is missing"):
        write_step(steps, [batch_of(ROWS, activations=few)], 500)
    assert actstore.open(steps).steps == [0]
    assert actstore.open(steps).complete


def test_a_step_that_is_there_is_refused(steps, batches):
    with pytest.raises(StoreError, match=r"already holds step 0; choose another step"):
        write_step(steps, batches(), 0)


@pytest.mark.parametrize(("world_size", "resume"), [(2, False), (2, True), (1, True)])
def test_rows_without_a_step_are_never_added_to_other_steps(tmp_path, batches, world_size, resume):
    """Somebody who forgets ``--step`` must not find step 0 in a store of step 5."""
    path = tmp_path / "steps.acts"
    write_step(path, batches(), 5)
    with pytest.raises(StoreError, match=r"holds other steps; name the step \(step=N, --step N\) to add one"):
        Writer(path, place=WritePlace(None, 0, world_size, 0, ROWS // world_size), resume=resume).begin({})
    assert actstore.open(path).steps == [5]
    assert [folder.name for folder in (path / "steps").iterdir()] == ["5"]


def claim(path: Path, step: int) -> None:
    """What is left of a dump that died before its first rows were sealed."""
    rank = path / f"steps/{step}/rank-0000"
    rank.mkdir(parents=True)
    (rank / "lock").touch()


def test_ranks_that_start_together_beside_a_claim_of_nothing_all_begin(ranks, tmp_path):
    """Each of them puts it away, and only one can."""
    for attempt in range(5):
        claim(tmp_path / "out.acts.partial", 0)
        running = [ranks(rank, 6) for rank in range(6)]
        assert [rank.ended() for rank in running] == [(0, "")] * 6, attempt
        assert [path.name for path in tmp_path.iterdir()] == ["out.acts"]
        shutil.rmtree(tmp_path / "out.acts")


def test_a_step_that_was_only_claimed_is_none(tmp_path, batches):
    """Neither is it other steps, nor does it make room for rows without a step."""
    claimed, held = tmp_path / "claimed.acts", tmp_path / "held.acts"
    claim(claimed, 5)
    write_step(claimed, batches(), None, resume=True)
    assert actstore.open(claimed).steps == [0]
    write_step(held, batches(), 5)
    claim(held, 0)
    with pytest.raises(StoreError, match="holds other steps; name the step"):
        write_step(held, batches(), None, resume=True)
    assert actstore.open(held).steps == [5]


def test_a_step_waits_for_one_that_is_complete(tmp_path, batch_of, batches):
    path = tmp_path / "steps.acts"
    writer = Writer(path, place=WritePlace(0), shard_bytes=1)
    for first in range(0, 30, 10):
        writer.append(batch_of(10, first))
    writer.abandon()
    with pytest.raises(StoreError, match="holds no complete step yet; finish step 0 first"):
        write_step(path, batches(), 500)


def test_provenance_is_that_of_each_step(tmp_path, batches):
    for step in (0, 500):
        write_step(tmp_path / "steps.acts", batches(), step, provenance={"model": step})
    with actstore.open(tmp_path / "steps.acts") as store:
        assert [store.at(step).provenance for step in (0, 500)] == [{"model": 0}, {"model": 500}]


def write_rank(path: Path, batch: Any, rank: int) -> None:
    with Writer(path, place=WritePlace(None, rank, 2, rank * 10, 10)) as writer:
        writer.append(batch)


def test_ranks_with_one_id_twice_are_refused(tmp_path, batch_of):
    path = tmp_path / "out.acts"
    write_rank(path, batch_of(10), 0)
    ids = [*(f"row/{number}" for number in range(10, 19)), "row/3"]
    with pytest.raises(StoreError, match=r"id 'row/3' is in .*rank-0000 and in .*rank-0001"):
        write_rank(path, batch_of(10, 10, ids=ids), 1)
    assert not actstore.open(path).complete


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"groups": ["g"] * 10},
            r"rank-0001 has rows/group/values, .*rank-0000 has not; give groups and positions",
        ),
        ({"positions": [1] * 10}, r"rank-0001 has rows/position, .*rank-0000 has not"),
        ({"targets": {"digit": ["a"] * 10}}, r"rank-0001 does not go with .*rank-0000: .*one kind of label"),
    ],
)
def test_ranks_with_other_columns_are_refused(tmp_path, batch_of, changes, message):
    write_rank(tmp_path / "out.acts", batch_of(10), 0)
    with pytest.raises(StoreError, match=message):
        write_rank(tmp_path / "out.acts", batch_of(10, 10, **changes), 1)
