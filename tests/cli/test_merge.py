"""`actstore merge`: the ranks of a dump, and whole stores, as one."""

import shutil

import numpy as np
import pytest

import actstore

DATA = "--data train=train.npz:x --target train:sign=train.npz:y --data test=test.npz:x --target test:sign=test.npz:y"


@pytest.fixture
def ranks(run, net):
    """`r0.acts` and `r1.acts`: the two ranks of one dump, each in a store of its own."""
    for rank in range(2):
        run(f"actstore dump {net} {DATA} --layers hidden --rank {rank} --world-size 2 -o r{rank}.acts")
    return "r0.acts r1.acts"


@pytest.mark.parametrize("copy", ["", " --copy"])
def test_merged_ranks_are_the_dump_of_one_process(run, net, ranks, folder, copy):
    line = run(f"actstore merge r1.acts r0.acts -o merged.acts{copy}").stdout
    assert line == "merged.acts: 400 rows of 1 layer, complete\n"
    run(f"actstore dump {net} {DATA} --layers hidden -o whole.acts")
    merged, whole = actstore.open("merged.acts"), actstore.open("whole.acts")
    assert merged.complete
    assert merged.ids.tolist() == whole.ids.tolist()
    np.testing.assert_array_equal(merged.layers["hidden"][:], whole.layers["hidden"][:], strict=True)
    np.testing.assert_array_equal(merged.targets["sign"], whole.targets["sign"], strict=True)
    shutil.rmtree(folder / "r0.acts")
    run("probe fit merged.acts --target sign --C 1 -o p.h5")


def test_ranks_of_one_store_need_no_merge_but_may_be_completed(run, net, folder):
    for rank in range(2):
        run(f"actstore dump {net} {DATA} --layers hidden --rank {rank} --world-size 2 -o run.acts")
    assert actstore.open("run.acts").complete
    (folder / "run.acts/steps/0/COMPLETE").unlink()
    assert not actstore.open("run.acts").complete
    assert run("actstore merge run.acts").stdout == "run.acts: 400 rows of 1 layer, complete\n"
    assert actstore.open("run.acts").complete


def test_whole_stores_follow_one_another(run, net, folder):
    for split in ("train", "test"):
        run(f"actstore dump {net} --data {split}={split}.npz:x --layers hidden -o {split}.acts")
    np.save(folder / "sign.npy", np.arange(300) % 2)
    run("actstore label train.acts sign.npy")
    result = run("actstore merge train.acts test.acts -o both.acts")
    assert result.stdout == "both.acts: 400 rows of 1 layer, complete\n"
    assert result.stderr == "warning: target 'sign' is not in test.acts: 100 rows have no label\n"
    assert actstore.open("both.acts").targets["sign"].count() == 300
    assert [len(rank["data"]) for rank in actstore.open("both.acts").provenance["ranks"]] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("r0.acts -o out.acts", "ranks are missing: 1"),
        ("r0.acts r1.acts r1.acts -o out.acts", "r1.acts appears twice"),
        ("r0.acts r1.acts -o r0.acts", "already exists"),
        ("r0.acts r1.acts -o out.h5", "NAME.acts"),
        ("r0.acts r1.acts", "-o NAME.acts"),
        ("r0.acts", "have not ended: 1"),
        ("r0.acts other.acts -o out.acts", "layers.hidden is missing"),
        ("r0.acts none.acts -o out.acts", "none.acts"),
    ],
)
def test_merge_refuses_in_one_line(run, refused, net, ranks, folder, arguments, message):
    run(f"actstore dump {net} {DATA} --layers double.out --rank 1 --world-size 2 -o other.acts")
    before = sorted(path.name for path in folder.iterdir())
    assert message in refused(f"actstore merge {arguments}")
    assert sorted(path.name for path in folder.iterdir()) == before


def test_merge_names_no_store(run):
    assert "STORE" in run("actstore merge -o out.acts", code=2).stderr
