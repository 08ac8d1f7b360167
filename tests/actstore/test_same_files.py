"""One file given twice: refused in one split, told of in two, by whatever name."""

import os

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.sources import split_data
from actstore.sources.same_files import SameRowsWarning


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 2)))
    np.save(tmp_path / "copy.npy", np.zeros((4, 2)))
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), z=np.ones((4, 2)))
    (tmp_path / "t.csv").write_text("id,text,more\na,x,y\nb,z,w\n")
    os.symlink("a.npy", tmp_path / "link.npy")
    os.link(tmp_path / "a.npy", tmp_path / "hard.npy")
    return tmp_path


TWICE = [
    *(
        ("a.npy", "a.npy"),
        ("a.npy", "./a.npy"),
        ("a.npy", "link.npy"),
        ("hard.npy", "a.npy"),
        ("a.npz:x", "a.npz:x"),
    ),
    *(("t.csv", "t.csv"), ("t.csv:text", "t.csv:text")),
]


@pytest.mark.parametrize(("one", "other"), TWICE)
@pytest.mark.parametrize("split", ["", "train="])
def test_a_file_twice_in_one_split_is_refused(folder, monkeypatch, one, other, split):
    monkeypatch.chdir(folder)
    where = "split 'train'" if split else "the data"
    with pytest.raises(
        SourceError, match=f"is in {where} already.*, so its rows would come twice; name it once$"
    ):
        split_data([f"{split}{one}", f"{split}{other}"])


@pytest.mark.parametrize(("one", "other"), TWICE)
def test_a_file_in_two_splits_is_told_of(folder, monkeypatch, one, other):
    monkeypatch.chdir(folder)
    with pytest.warns(SameRowsWarning, match="is both in split 'train' and in split 'test'") as caught:
        split_data([f"train={one}", f"test={other}"])
    assert len(caught) == 1


def test_other_files_and_other_arrays_of_one_are_nobody_s_business(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for specs in (["train=a.npy", "test=copy.npy"], ["train=a.npz:x", "test=a.npz:z"], ["digits"]):
        assert len(split_data(specs)) >= len(specs)  # no warning: it would be an error here
