"""HDF5 with a dataset per sentence, as the structural-probe tools and NeuroX write it."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.exchange import ImportSettings, import_files, run

LENGTHS = [
    4,
    1,
    0,
    7,
    2,
    1,
    1,
    1,
    1,
    1,
    3,
]  # tokens; eleven sentences, so that 10 comes after 9 and not after 1


def sentences(dtype="float32", layers=3, features=5, lengths=LENGTHS):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(layers, length, features)).astype(dtype) for length in lengths]


def structural_probe(path, arrays):
    """The lines of scripts/convert_raw_to_bert.py: a dataset of default dtype, filled afterwards."""
    with h5py.File(path, "w") as fout:
        for index, array in enumerate(arrays):
            dset = fout.create_dataset(str(index), array.shape, dtype=array.dtype)
            dset[:, :, :] = array


def neurox(path, arrays):
    """The lines of neurox/data/writer.py, with the sentences' text at the end."""
    with h5py.File(path, "w") as file:
        for index, array in enumerate(arrays):
            file.create_dataset(str(index), array.shape, dtype=array.dtype, data=array)
        texts = file.create_dataset("sentence_to_index", (1,), dtype=h5py.special_dtype(vlen=str))
        texts[0] = json.dumps({f"sentence {index}": str(index) for index in range(len(arrays))})


@pytest.mark.parametrize("write", [structural_probe, neurox])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("batch_bytes", [1, 100, 500, 2**20])
def test_every_token_is_a_row(tmp_path, monkeypatch, write, dtype, batch_bytes):
    monkeypatch.setattr(run, "BATCH_BYTES", batch_bytes)
    arrays = sentences(dtype)
    write(tmp_path / "train.hdf5", arrays)
    store = import_files([f"train={tmp_path}/train.hdf5"], tmp_path / "out.acts")
    assert (list(store.layers), store.row_unit) == (["layer.0", "layer.1", "layer.2"], "token")
    for number, layer in enumerate(store.layers.values()):
        expected = np.concatenate([array[number] for array in arrays])
        np.testing.assert_array_equal(layer[:], expected, strict=True)
        assert layer.axes == ("feature",)
    tokens = [(sentence, token) for sentence, length in enumerate(LENGTHS) for token in range(length)]
    assert store.positions.tolist() == [token for _, token in tokens]
    assert store.groups.tolist() == [f"train/{sentence}" for sentence, _ in tokens]
    assert store.ids.tolist() == [f"train/{sentence}/{token}" for sentence, token in tokens]
    assert set(store.splits) == {"train"}


def test_sentences_of_two_splits_are_different_groups(tmp_path):
    for split in ("train", "test"):
        neurox(tmp_path / f"{split}.hdf5", sentences())
    specs = [f"{split}={tmp_path}/{split}.hdf5" for split in ("train", "test")]
    store = import_files(specs, tmp_path / "out.h5")
    train, test = (set(store.groups[store.splits == split]) for split in ("train", "test"))
    assert len(train) == len(test) == 10
    assert not train & test


def test_without_a_split_a_group_is_the_number_of_its_sentence(tmp_path):
    neurox(tmp_path / "x.hdf5", sentences(lengths=[2, 1]))
    store = import_files([f"{tmp_path}/x.hdf5"], tmp_path / "out.h5", ImportSettings(row_unit="word"))
    assert (store.groups.tolist(), store.ids.tolist()) == (["0", "0", "1"], ["0/0", "0/1", "1/0"])
    assert store.row_unit == "word"


def test_one_layer_may_do_without_its_axis_and_sentences_may_be_packed(tmp_path):
    (array,) = sentences(layers=1, lengths=[6])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("3", data=array[0], compression="gzip")
        file["17"] = array[0, :2]
    store = import_files([f"{tmp_path}/x.h5"], tmp_path / "out.acts")
    np.testing.assert_array_equal(store.layers["layer.0"][:], np.concatenate([array[0], array[0, :2]]))
    assert store.groups.tolist() == ["3"] * 6 + ["17"] * 2


def test_two_files_of_one_split_are_refused_by_their_ids(tmp_path):
    for name in ("x", "y"):
        neurox(tmp_path / f"{name}.hdf5", sentences())
    with pytest.raises(Exception, match="id 'train/0/0' appears twice"):
        import_files([f"train={tmp_path}/x.hdf5", f"train={tmp_path}/y.hdf5"], tmp_path / "out.h5")


ODD = {
    "other layers": (
        lambda f: f.create_dataset("5", data=np.zeros((2, 4, 5), "f4")),
        "sentence 5 of .* has 2 layers of 5 float32, sentence 0 has 3 layers of 5 float32",
    ),
    "other features": (
        lambda f: f.create_dataset("5", data=np.zeros((3, 4, 6), "f4")),
        "has 3 layers of 6 float32, s",
    ),
    "another dtype": (
        lambda f: f.create_dataset("5", data=np.zeros((3, 4, 5))),
        "has 3 layers of 5 float64, s",
    ),
    "another shape": (
        lambda f: f.create_dataset("5", data=np.zeros(5, "f4")),
        r"/5 has shape \(5,\); expected \(layers, tok",
    ),
    "another name": (
        lambda f: f.create_dataset("x", data=np.zeros(5)),
        "it holds 'x'. For one dataset write .*:/PATH",
    ),
    "a name of two": (lambda f: f.create_dataset("05", data=np.zeros((3, 4, 5), "f4")), "it holds '05'"),
    "text": (
        lambda f: f.create_dataset("5", data=np.zeros((3, 4, 5), "S3")),
        "/5 is of dtype .*; a layer is one of",
    ),
    "a link": (
        lambda f: f.__setitem__("5", h5py.ExternalLink("y.h5", "/0")),
        "/5 is reached through a soft or ext",
    ),
    "a group": (lambda f: f.create_group("5"), "/5: there is no dataset '5'"),
    "objects": (lambda f: f.create_dataset("5", data=["a"]), "/5 holds neither numbers nor text"),
    "a sentence never written": (lambda f: f.create_dataset("5", (3, 4, 5), "f4"), "/5 was never written"),
    "an absurd sentence": (
        lambda f: f.create_dataset("5", (3, 2**40, 5), "f4"),
        "/5 declares .* more than 1,000 times",
    ),
}


@pytest.mark.parametrize(("change", "message"), ODD.values(), ids=ODD.keys())
def test_what_is_no_sentence_is_refused(tmp_path, change, message):
    neurox(tmp_path / "x.hdf5", sentences(lengths=[2, 1]))
    with h5py.File(tmp_path / "x.hdf5", "r+") as file:
        change(file)
    with pytest.raises(SourceError, match=message) as caught:
        import_files([f"{tmp_path}/x.hdf5"], tmp_path / "out.h5")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.hdf5"]


def test_files_without_rows_are_refused(tmp_path):
    with h5py.File(tmp_path / "none.h5", "w"):
        pass
    neurox(tmp_path / "empty.h5", sentences(lengths=[0, 0]))
    neurox(tmp_path / "flat.h5", sentences(layers=0, lengths=[1]))
    for name, message in (("none", "it holds none"), ("empty", "has no tokens"), ("flat", "/0 has no layers")):
        with pytest.raises(SourceError, match=f"{name}.h5.*{message}"):
            import_files([f"{tmp_path}/{name}.h5"], tmp_path / "out.h5")


def test_many_plausible_sentences_are_implausible_together(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number in range(40):
            file.create_dataset(str(number), (1, 2_000_000, 2), "f4", chunks=(1, 10, 2))[0, 0] = 1
    with pytest.raises(
        SourceError, match=r"x\.h5 declares 640,000,000 bytes in a file of [0-9,]+; it is not read"
    ):
        import_files([f"{tmp_path}/x.h5"], tmp_path / "out.h5")


def test_a_damaged_sentence_is_named(tmp_path):
    (array,) = sentences(lengths=[200])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("0", data=array, compression="gzip")
        chunk = file["0"].id.get_chunk_info(0)
    data = bytearray((tmp_path / "x.h5").read_bytes())
    data[chunk.byte_offset + 20 : chunk.byte_offset + 60] = bytes(40)
    (tmp_path / "x.h5").write_bytes(data)
    with pytest.raises(SourceError, match=r"x\.h5:/0 cannot be read: .*"):
        import_files([f"{tmp_path}/x.h5"], tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


@pytest.mark.parametrize("shape", [(60, 8), (60, 4, 8)])
def test_a_dataset_per_layer_is_not_taken_for_a_sentence_each(tmp_path, shape):
    """60 rows of 4 layers would become 240 rows of one (FAULTS 1.16)."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number in range(4):
            file[str(number)] = np.zeros(shape, "f4")
    with pytest.raises(
        SourceError, match=r"x\.h5 holds 4 datasets called by numbers, all of shape .*: a sentence each, or"
    ):
        import_files([f"{tmp_path}/x.h5"], tmp_path / "no.acts")
    with import_files([f"{tmp_path}/x.h5"], tmp_path / "yes.acts", ImportSettings(row_unit="token")) as store:
        assert store.rows == 4 * shape[-2]
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["sentence_to_index"] = "{}"
    with import_files([f"{tmp_path}/x.h5"], tmp_path / "told.acts") as store:
        assert store.rows == 4 * shape[-2]


def test_a_sentence_that_was_written_in_part_is_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["0"] = np.zeros((2, 5, 8), "f4")
        file.create_dataset("1", (2, 9, 8), "f4", chunks=(1, 3, 8))[0] = 1
    with pytest.raises(
        SourceError, match=r"x\.h5:/1 was written in part: 3 of 6 chunks of \(1, 3, 8\) are there"
    ):
        import_files([f"{tmp_path}/x.h5"], tmp_path / "no.acts")
