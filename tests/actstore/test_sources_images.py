"""Folders of images as far as they are understood without Pillow: which files, and what is to be done with them."""

import re
import sys

import numpy as np
import pytest

from actstore.dumping.dump import without_bad
from actstore.errors import SourceError
from actstore.formats.imagefiles import Preparation, preparation
from actstore.rows.choice import RowChoice
from actstore.sources import images, split_data


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Makes files by their paths; gives the folder they are in."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return "photos"

    return make


def listed(place):
    paths, classes = images._listed(place)
    return [path.relative_to(place).as_posix() for path in paths], classes


def test_images_are_taken_by_name_and_other_files_passed_over(folder, tmp_path):
    folder("b.png", "a.JPEG", "10.jpg", "9.jpg", "notes.txt", ".hidden.png")
    files, classes = listed(tmp_path / "photos")
    assert (files, classes) == (["10.jpg", "9.jpg", "a.JPEG", "b.png"], None)


def test_a_sub_folder_is_a_class(folder, tmp_path):
    folder("dog/2.png", "dog/1.png", "cat/z.png", "cat/notes.txt", ".cache/x.png")
    files, classes = listed(tmp_path / "photos")
    assert files == ["cat/z.png", "dog/1.png", "dog/2.png"]
    assert classes.tolist() == ["cat", "dog", "dog"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["notes.txt"], r"photos has no images \(.bmp, .*, .webp\)"),
        (
            ["a.png", "cat/b.png"],
            r"photos has both images \(a.png, ...\) and sub-folders \(cat, ...\); expected images, or else",
        ),
        (
            ["cat/a.png", "dog/x.txt"],
            r"photos/dog has no images; expected photos to have a sub-folder of images per",
        ),
        (
            ["train/cat/a.png"],
            r"photos/train has sub-folders itself \(cat, ...\); expected photos to have a sub-fol",
        ),
    ],
)
def test_a_folder_that_is_neither_is_refused(folder, files, message):
    with pytest.raises(SourceError, match=message):
        split_data([folder(*files)])


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ("", Preparation()),
        ("resize=256,crop=224", Preparation((256, None), (224, 224))),
        ("crop=20x30,resize=40x30", Preparation((40, 30), (20, 30))),
        ("layout=chw,dtype=float32", Preparation(layout="chw", dtype="float32")),
    ],
)
def test_options_in_any_order(options, how):
    assert preparation(options, "photos") == how


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("resise=3", "option 'resise' is not known; the nearest: 'resize'"),
        ("resize=3,resize=4", "option 'resize' appears twice; give it once"),
        ("resize=0", "resize=0; expected resize=N or resize=HEIGHTxWIDTH, in pixels"),
        ("crop=3x", "crop=3x; expected crop=N or crop=HEIGHTxWIDTH"),
        ("layout=nhwc", "layout=nhwc; expected layout=hwc or layout=chw"),
        ("dtype=float16", "dtype=float16; expected dtype=uint8 or dtype=float32"),
        ("resize=224,crop=256", "the crop is larger than what it is cut out of"),
        ("resize=9x5,crop=7", "the crop is larger than what it is cut out of"),
    ],
)
def test_options_that_mean_nothing_are_refused(folder, options, message):
    with pytest.raises(SourceError, match=re.escape(f"photos:{options}: {message}")):
        split_data([f"{folder('a.png')}:{options}"])


def test_a_folder_that_is_not_there_is_named(folder):
    with pytest.raises(SourceError, match="there is no folder fotos"):
        split_data(["fotos:resize=256"])
    with pytest.raises(
        SourceError, match=r"data 'fotos' is not understood; expected .*FOLDER of images\[:resize=N,crop"
    ):
        split_data(["fotos"])


def test_without_pillow_one_line_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    message = r"the images in photos are read by Pillow, .* not installed; pip install 'actstore\[images\]'"
    with pytest.raises(SourceError, match=message):
        split_data([folder("a.png")])


@pytest.mark.parametrize(
    ("how", "size", "expected"),
    [
        (Preparation((256, None)), (300, 400), (256, 341)),
        (Preparation((256, None)), (400, 300), (341, 256)),
        (Preparation((256, None)), (100, 100), (256, 256)),
        (Preparation((20, 30)), (100, 100), (20, 30)),
        (Preparation(), (7, 9), (7, 9)),
    ],
)
def test_the_shorter_side_is_resized_and_the_longer_follows(how, size, expected):
    assert how.resized(*size) == expected


# Rows that are left out


class Checked:
    """Numbers as rows, some of which are said to be bad."""

    def __init__(self, rows, bad):
        self.rows, self.spec, self.bad, self.asked = rows, "numbers", bad, []

    def bad_rows(self, places):
        self.asked = [int(place) for place in places]
        return {place: f"{place}.png" for place in self.asked if place in self.bad}


def data_of(tmp_path, bad, rows=20):
    np.save(tmp_path / "x.npy", np.arange(rows, dtype=np.float32)[:, None])
    np.save(tmp_path / "y.npy", np.arange(rows) * 10)
    (item,) = split_data([f"train={tmp_path}/x.npy"], [f"y={tmp_path}/y.npy"])
    checked = Checked(rows, bad)
    item.source.bad_rows = checked.bad_rows
    return item, checked


@pytest.mark.parametrize(
    "choice", [RowChoice(), RowChoice(limit=12), RowChoice(sample=0.6), RowChoice(15, 0.5)]
)
def test_the_other_rows_keep_their_places_and_labels(tmp_path, choice):
    item, checked = data_of(tmp_path, bad={0, 7, 19})
    wanted = np.concatenate([batch.indices for batch in item.batches(4, choice)])
    (cleaned,) = without_bad([item], choice)
    assert checked.asked == wanted.tolist(), "only what is wanted is read"
    expected = [place for place in wanted if place not in (0, 7, 19)]
    batches = list(cleaned.batches(4, choice))
    assert np.concatenate([batch.indices for batch in batches]).tolist() == expected
    for batch in batches:
        assert batch.inputs[:, 0].tolist() == batch.indices.tolist()
        assert batch.targets["y"].tolist() == (batch.indices * 10).tolist()
    assert cleaned.expected_rows(choice) == len(expected)
    assert cleaned.batch_rows(4, choice) == [batch.rows for batch in batches]
    assert dict(cleaned.left_out) == {place: f"{place}.png" for place in wanted if place in (0, 7, 19)}


def test_what_can_not_be_skipped_is_refused(tmp_path):
    item, _ = data_of(tmp_path, bad=set(range(20)))
    with pytest.raises(
        SourceError, match=r"none of the 20 rows of .*x.npy can be read; without --skip-bad the reason"
    ):
        without_bad([item], RowChoice())
    del item.source.bad_rows
    with pytest.raises(
        SourceError, match=r"--skip-bad is for folders of images, but the data is .*x.npy; leave it out"
    ):
        without_bad([item], RowChoice())
