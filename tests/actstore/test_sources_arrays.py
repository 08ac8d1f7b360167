"""Arrays in files as inputs and as labels: npy, npz, HDF5; what cannot be read safely is refused."""

import pickle

import h5py
import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.sources import RowChoice, read_labels, split_data
from actstore.sources.base import check_labels

INPUTS = np.arange(21, dtype=np.float32).reshape(7, 3)
NAMES = np.array(["cat", "dog", "eel", "cat", "dog", "eel", "cat"])


@pytest.fixture
def files(tmp_path):
    """The same arrays in every kind of file; gives the SPEC of one."""
    np.save(tmp_path / "x.npy", INPUTS)
    np.save(tmp_path / "names.npy", NAMES)
    np.savez(tmp_path / "all.npz", x=INPUTS, names=NAMES)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["deep/x"] = INPUTS
        file["names"] = NAMES.astype("S")
    return tmp_path


def read(spec, batch_rows=3):
    ((item,),) = (split_data([str(spec)]),)
    return [batch.inputs for batch in item.batches(batch_rows, RowChoice())]


@pytest.mark.parametrize("spec", ["x.npy", "all.npz:x", "all.h5:/deep/x", "all.h5:deep/x"])
def test_rows_come_in_order_in_batches_that_are_copies(files, spec):
    batches = read(files / spec)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), INPUTS)
    for batch in batches:
        batch += 1
    np.testing.assert_array_equal(np.concatenate(read(files / spec)), INPUTS)


@pytest.mark.parametrize("spec", ["x.npy", "all.npz:x", "all.h5:/deep/x"])
def test_rows_are_known_and_can_be_read_as_one_array(files, spec):
    (item,) = split_data([str(files / spec)])
    assert item.source.rows == 7
    with item.source.opened() as array:
        assert (array.shape, array.dtype) == ((7, 3), np.float32)
        np.testing.assert_array_equal(array[2:5], INPUTS[2:5])


@pytest.mark.parametrize("spec", ["names.npy", "all.npz:names", "all.h5:/names"])
def test_text_labels(files, spec):
    labels = read_labels(str(files / spec))
    assert labels.dtype.kind == "U"
    assert labels.tolist() == NAMES.tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([3, 1, 2], dtype=np.uint8), "uint8"),
        (np.array([True, False]), "bool"),
        (np.array([0.0, 4.0]), "int64"),
    ],
)
def test_labels_keep_their_type_but_whole_floats_become_integers(tmp_path, values, expected):
    np.save(tmp_path / "y.npy", values)
    labels = read_labels(f"{tmp_path}/y.npy")
    assert labels.dtype == expected
    assert labels.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 10)), r"y.npy has shape \(4, 10\); expected one label per row, \(rows,\)$"),
        (np.array([0.5, 1.0]), "y.npy has dtype float64; labels are whole numbers, booleans or text"),
        (np.array([np.inf, 1.0]), "y.npy has dtype float64; labels are whole numbers"),
        (np.array([np.nan, 1.5]), "y.npy has dtype float64; labels are whole numbers"),
        (np.array([1j]), "y.npy has dtype complex128; labels are"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, values, message):
    np.save(tmp_path / "y.npy", values)
    with pytest.raises(SourceError, match=message):
        read_labels(f"{tmp_path}/y.npy")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("none.npy", "there is no file .*none.npy"),
        ("none.npz:x", "there is no file .*none.npz"),
        ("none.h5:/x", "there is no file .*none.h5"),
        ("all.npz", r"all.npz does not say which array: .*all.npz:KEY \(it holds 'x', 'names'\)"),
        ("all.npz:z", "all.npz holds no 'z'; it holds 'x', 'names'"),
        ("x.npy:x", "x.npy:x: a .npy file holds one array; write .*x.npy$"),
        ("two.h5", r"two.h5 does not say which array: .*two.h5:/PATH \(it holds 'x', 'z'\)"),
        ("all.h5:/z", "all.h5:/z: there is no dataset '/z'; there is '/deep/x', '/names'"),
        ("all.h5:/deep", "there is no dataset '/deep'; there is '/deep/x', '/names'"),
        ("text.npy", "text.npy cannot be read as an array of numbers or text"),
        ("text.npz:x", "text.npz:x cannot be read as an array of numbers or text"),
        ("text.h5:/x", "text.h5 is not an HDF5 file"),
        ("scalar.npy", "scalar.npy is a single int64; expected an array with rows"),
        ("empty.npy", r"empty.npy has no rows \(ndarray float64 \(0, 3\)\)|memmap float64 \(0, 3\)"),
        (
            "x.jpeg",
            "data '.*x.jpeg' is not understood; expected FILE.npy, .*FILE.h5.*digits, .*file.py",
        ),
    ],
)
def test_a_spec_that_names_nothing_says_what_there_is(files, spec, message):
    for name in ("text.npy", "text.npz", "text.h5"):
        (files / name).write_text("not an array")
    with h5py.File(files / "two.h5", "w") as file:
        file["x"], file["z"] = INPUTS, INPUTS
    np.save(files / "scalar.npy", np.int64(3))
    np.save(files / "empty.npy", np.zeros((0, 3)))
    with pytest.raises(SourceError, match=message) as caught:
        split_data([str(files / spec)])
    assert "\n" not in str(caught.value)


def test_ragged_labels_are_refused():
    with pytest.raises(SourceError, match="mine cannot be read as labels: setting an array element"):
        check_labels([[1, 2], [3]], "mine")


class Trap:
    """Unpickling this would be noticed."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


def test_nothing_is_unpickled(tmp_path):
    trapped = np.array([Trap(), None], dtype=object)
    np.save(tmp_path / "objects.npy", trapped, allow_pickle=True)
    np.savez(tmp_path / "objects.npz", x=trapped)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    for spec in ("objects.npy", "objects.npz:x", "pickle.npy"):
        with pytest.raises(SourceError, match=r"\(Python objects are refused\)"):
            split_data([f"{tmp_path}/{spec}"])
        with pytest.raises(SourceError, match=r"\(Python objects are refused\)"):
            read_labels(f"{tmp_path}/{spec}")


def test_hdf5_types_that_hide_objects_are_refused(tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["vlen"] = ["a", "bcd"]
        file["compound"] = np.zeros(3, dtype=[("a", "i4"), ("b", "f4")])
        file["reference"] = np.array([file.ref], dtype=h5py.ref_dtype)
        opaque = np.array([b"12345678"], dtype="V8")
        file.create_dataset("opaque", data=opaque)
    for name in ("vlen", "compound", "reference", "opaque"):
        with pytest.raises(
            SourceError, match=f"odd.h5:/{name} holds neither numbers nor text of a fixed width"
        ):
            split_data([f"{tmp_path}/odd.h5:/{name}"])
