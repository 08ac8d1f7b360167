"""Folders of images, decoded by Pillow: pixels by definition, broken files named or left out."""

import numpy as np
import pytest
from click.testing import CliRunner

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import SourceError, StoreError
from actstore.sources import RowChoice, split_data
from cli.main import actstore as program

Image = pytest.importorskip("PIL.Image", reason="pillow is not installed: make test-frameworks")

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve images of two classes, 20 x 30, in lossless files."""
    monkeypatch.chdir(tmp_path)
    pixels = RNG.integers(0, 256, (12, 20, 30, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = tmp_path / "photos" / ("cat" if number < 5 else "dog") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return pixels


def read(spec, batch_rows=5, **choice):
    (item,) = split_data([spec])
    return list(item.batches(batch_rows, RowChoice(**choice)))


def pixels_of(spec):
    return np.concatenate([batch.inputs for batch in read(spec)])


def break_file(path, size=None):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if size is None else b"no image")


def test_pixels_are_those_of_the_files_with_their_classes(folder):
    batches = read("photos")
    np.testing.assert_array_equal(np.concatenate([batch.inputs for batch in batches]), folder)
    assert (batches[0].inputs.dtype, batches[0].inputs.shape) == (np.uint8, (5, 20, 30, 3))
    labels = np.concatenate([batch.targets["label"] for batch in batches])
    assert labels.tolist() == ["cat"] * 5 + ["dog"] * 7
    (batch,) = read("photos/dog", 10, limit=3)
    assert (batch.rows, batch.targets) == (3, {})


def test_channels_first_and_floats(folder):
    found = pixels_of("photos:layout=chw,dtype=float32")
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, (12, 3, 20, 30), True)
    np.testing.assert_array_equal(found, folder.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))


def test_a_crop_is_the_middle(folder):
    np.testing.assert_array_equal(pixels_of("photos:crop=10"), folder[:, 5:15, 10:20])
    np.testing.assert_array_equal(pixels_of("photos:crop=20x8"), folder[:, :, 11:19])


def test_a_resize_is_a_bilinear_mean_over_what_a_pixel_covers(folder):
    """Halved, a triangle of width 4 weighs 1 3 3 1: an inner pixel is that over rows and over columns."""
    found = pixels_of("photos:resize=10")
    assert found.shape == (12, 10, 15, 3)
    weights = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    for row, column in ((1, 1), (5, 9), (8, 13)):
        window = folder[:, 2 * row - 1 : 2 * row + 3, 2 * column - 1 : 2 * column + 3]
        expected = np.einsum("nhwc,hw->nc", window.astype(float), weights)
        # Pillow rounds to whole numbers after each of its two passes: half a unit each.
        np.testing.assert_allclose(found[:, row, column], expected, atol=1.01)


def test_a_resize_before_a_crop(folder):
    whole = pixels_of("photos:resize=10")
    np.testing.assert_array_equal(pixels_of("photos:resize=10,crop=10"), whole[:, :, 2:12])
    assert pixels_of("photos:resize=7x9").shape == (12, 7, 9, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_come_as_rgb(tmp_path, mode):
    pixels = np.repeat(RNG.integers(0, 2, (4, 4, 1), dtype=np.uint8) * 255, 3, axis=2)
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.fromarray(pixels).convert(mode).save(tmp_path / name)
    np.testing.assert_array_equal(pixels_of(str(tmp_path))[0], pixels)


def test_a_palette_with_transparency_warns_of_nothing(tmp_path):
    image = Image.new("P", (4, 4))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert pixels_of(str(tmp_path))[0, 0, 0].tolist() == [255, 0, 0]


def test_more_than_eight_bits_are_refused_not_cut_off(tmp_path):
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(
        SourceError, match=r"deep.png cannot be read as an image: .*mode I;16; expected 8 bits a channel"
    ):
        read(str(tmp_path))


def test_images_of_several_sizes_are_refused_before_the_first_row(folder, tmp_path):
    Image.new("RGB", (30, 21)).save(tmp_path / "photos" / "dog" / "07.png")
    with pytest.raises(
        SourceError, match=r"photos/dog/07.png comes to 21x30, but 00.png 20x30 .*photos:resize=256,crop=224"
    ):
        split_data(["photos"])
    with pytest.raises(
        SourceError, match=r"photos/dog/07.png comes to 10x14, but 00.png 10x15 \(height x width\)"
    ):
        split_data(["photos:resize=10"])
    with pytest.raises(
        SourceError, match=r"photos/cat/00.png is 20x30, smaller than crop=21x21 .*; resize the images"
    ):
        split_data(["photos:crop=21"])
    assert pixels_of("photos:resize=10,crop=10").shape == (12, 10, 10, 3)
    assert pixels_of("photos:resize=10x10").shape == (12, 10, 10, 3)
    assert pixels_of("photos:crop=20").shape == (12, 20, 20, 3)


# Broken images


class Means:
    fingerprint = "means"

    def batch(self, images):
        return {"mean": images.mean((1, 2), dtype=np.float32)}

    def __call__(self, images):
        return self.batch(images)


def dumped(spec, out, **settings):
    data = split_data([f"train={spec}"])
    return dump(Means(), data, out, DumpSettings(layers=("mean",), batch_size=4, **settings))


@pytest.fixture
def broken(folder, tmp_path):
    """Two of the images cut off or no images at all; where the others are."""
    break_file(tmp_path / "photos" / "cat" / "03.png")
    break_file(tmp_path / "photos" / "dog" / "11.png", size=8)
    return np.array([place for place in range(12) if place not in (3, 11)])


def test_a_broken_image_is_named_in_one_line(broken):
    with pytest.raises(
        SourceError, match=r"photos/cat/03.png cannot be read as an image: .*--skip-bad leaves"
    ) as caught:
        dumped("photos", "run.h5")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("out", ["run.h5", "run.acts"])
def test_broken_images_are_left_out_and_recorded_and_the_others_keep_their_ids(folder, broken, out):
    with dumped("photos", out, skip_bad=True) as store:
        assert [*store.ids] == [f"train/{place}" for place in broken]
        found = store.layers["mean"][:]
        np.testing.assert_array_equal(found, folder[broken].mean((1, 2), dtype=np.float32))
        assert [*store.targets["label"]] == ["cat"] * 4 + ["dog"] * 6
        (item,) = store.provenance["data"]
        assert (item["source"], item["rows"]) == ("photos", 10)
        assert store.provenance["skipped"] == [
            {"id": "train/3", "file": "photos/cat/03.png"},
            {"id": "train/11", "file": "photos/dog/11.png"},
        ]


def test_a_dump_without_broken_images_is_resumed_as_such(broken, tmp_path, monkeypatch):
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (8, 8))  # a shard per batch

    def stopped(self, images):
        if 199 in images[:, 0, 0, 0]:
            raise KeyboardInterrupt
        return {"mean": images.mean((1, 2), dtype=np.float32)}

    monkeypatch.setattr(Means, "batch", stopped)
    image = np.zeros((20, 30, 3), np.uint8)
    image[0, 0] = 199
    Image.fromarray(image).save(tmp_path / "photos" / "dog" / "10.png")
    with pytest.raises(KeyboardInterrupt):
        dumped("photos", "run.acts", skip_bad=True)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    with actstore.open("run.acts") as begun:
        assert 0 < begun.rows < 10
    with pytest.raises(SourceError, match=r"03.png cannot be read"):
        dumped("photos", "run.acts", resume=True)
    with dumped("photos", "run.acts", skip_bad=True, resume=True) as store:
        assert [*store.ids] == [f"train/{place}" for place in broken]
        assert [skipped["id"] for skipped in store.provenance["skipped"]] == ["train/3", "train/11"]


def test_a_dump_that_was_begun_with_all_images_does_not_go_on_without_some(folder, tmp_path, monkeypatch):
    """How many rows come is announced with the first of them."""
    monkeypatch.setattr("actstore.store.writing.pending.SHARD_BYTES", (8, 8))  # a shard per batch
    break_file(tmp_path / "photos" / "dog" / "11.png")
    with pytest.raises(SourceError, match=r"11.png cannot be read"):
        dumped("photos", "run.acts")
    with pytest.raises(StoreError, match=r"run.acts was begun differently: data\[0\].rows was 12, now 11"):
        dumped("photos", "run.acts", skip_bad=True, resume=True)


def test_ranks_agree_on_what_is_left_out(broken):
    for rank in range(2):
        store = dumped("photos", "run.acts", skip_bad=True, rank=rank, world_size=2)
    with store:
        assert store.complete
        assert [*store.ids] == [f"train/{place}" for place in broken]


def test_what_was_prepared_is_in_the_provenance(folder):
    with dumped("photos:resize=10,crop=8", "run.h5") as store:
        (item,) = store.provenance["data"]
        assert (item["source"], "skipped" in store.provenance) == ("photos:resize=10,crop=8", False)
        other = dumped("photos:resize=10,crop=9", "other.h5").provenance["data"][0]
        assert other["inputs"] != item["inputs"]


def test_the_command_says_what_was_left_out(broken, tmp_path):
    (tmp_path / "net.py").write_text("def run(images):\n    return {'mean': images.mean((1, 2))}\n")
    command = ["dump", "net.py:run", "--data", "train=photos", "--layers", "mean", "-o", "run.h5"]
    failed = CliRunner().invoke(program, command)
    assert failed.exit_code == 1
    assert "photos/cat/03.png cannot be read as an image" in failed.stderr
    done = CliRunner().invoke(program, [*command, "--skip-bad"])
    assert done.exit_code == 0
    warning = "warning: 2 images were left out; the first is train/3, photos/cat/03.png"
    assert warning in done.stderr
