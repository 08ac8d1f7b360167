"""Folders of Hugging Face datasets as far as they are understood without the package."""

import json

import pytest

from actstore.errors import SourceError
from actstore.sources import datasets, read_labels, split_data


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "find_spec", lambda name: None)
    (tmp_path / "state.json").touch()
    for read in (lambda spec: split_data([spec]), read_labels):
        with pytest.raises(
            SourceError, match=r"is a dataset of Hugging Face datasets, which is not installed; pip inst"
        ):
            read(f"{tmp_path}:text")


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"splits": 3}'])
def test_splits_that_can_not_be_told_are_refused(tmp_path, content):
    (tmp_path / "dataset_dict.json").write_text(content)
    with pytest.raises(
        SourceError, match=r"dataset_dict.json does not say the splits of a saved dataset \(.*\); save"
    ):
        split_data([str(tmp_path)])


def test_a_split_that_is_not_there_is_told_from_those_that_are(tmp_path):
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "val"]}))
    with pytest.raises(
        SourceError, match=r"has no split 'test' but 'train', 'val'; name the folder of one, test=.*/train"
    ):
        split_data([f"test={tmp_path}"])


def test_a_folder_without_a_saved_dataset_is_not_understood_as_one(tmp_path):
    with pytest.raises(
        SourceError, match=r"are not understood; expected .*FOLDER of a saved dataset\[:COLUMN\]"
    ):
        read_labels(f"{tmp_path}:label")
