"""What files of others say of their numbers: applied or refused, never ignored (AnnData, netCDF, MATLAB; zarr)."""

import re

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from actstore.errors import SourceError
from actstore.exchange import import_files
from actstore.sources import RowChoice, read_labels, split_data

X = np.random.default_rng(0).normal(size=(9, 4)).astype("f4")


def rows_of(spec):
    (item,) = split_data([spec], as_features=True)
    with item.source.opened() as array:
        whole = np.asarray(array[0 : array.shape[0]])
    batches = [batch.inputs for batch in item.batches(4, RowChoice())]
    np.testing.assert_array_equal(np.concatenate(batches), whole)
    return whole


DOORS = {
    "data": lambda spec: split_data([spec]),
    "features": lambda spec: split_data([spec], as_features=True),
    "labels": read_labels,
    "import": lambda spec: import_files([spec], "unwritten.acts"),
}


def refusing(spec, message):
    """Which doors refuse this in one line that has the message."""
    found = []
    for door, read in DOORS.items():
        with pytest.raises(SourceError) as caught:
            read(spec)
        if re.search(message, str(caught.value)) and "\n" not in str(caught.value):
            found.append(door)
    return found


# -- MATLAB


def matlab(path, **arrays):
    """A file as MATLAB's save(..., '-v7.3') writes it: a block of its own, and axes in reverse."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            turned = np.ascontiguousarray(np.atleast_2d(array).T)
            dataset = file.create_dataset(name, data=turned, chunks=turned.shape)
            dataset.attrs["MATLAB_class"] = np.bytes_("single" if array.dtype == "f4" else "double")
        file.create_group("#refs#")["a"] = np.zeros((2, 2))
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128))


def test_arrays_of_matlab_come_the_right_way_round(tmp_path):
    cube = np.arange(24.0).reshape(4, 3, 2)
    matlab(tmp_path / "a.mat", x=X, cube=cube, y=np.arange(9.0)[:, None], flat=np.arange(9.0)[None])
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/a.mat:/x"), X)
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/a.mat:/cube"), cube)
    assert (
        read_labels(f"{tmp_path}/a.mat:/y").tolist()
        == read_labels(f"{tmp_path}/a.mat:/flat").tolist()
        == [*range(9)]
    )
    matlab(tmp_path / "b.mat", x=X, twice=X * 2)
    with import_files([f"{tmp_path}/b.mat"], tmp_path / "o.h5") as store:
        np.testing.assert_array_equal(store.layers["x"][:], X)
        np.testing.assert_array_equal(store.layers["twice"][:], X * 2)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"MATLAB_class": np.bytes_("char")}, "is a char of MATLAB's"),
        ({"MATLAB_class": np.bytes_("double"), "MATLAB_empty": 1}, "is an empty array of MATLAB's"),
    ],
)
def test_what_matlab_means_otherwise_is_refused(tmp_path, attributes, message):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["x"] = np.arange(6, dtype="u2").reshape(2, 3)
        file["x"].attrs.update(attributes)
    assert refusing(f"{tmp_path}/a.mat:/x", message) == [*DOORS]


# -- groups


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"encoding-type": "csr_matrix"}, r"/X.* is a sparse matrix, whose parts are no rows; write it dense"),
        ({"encoding-type": "csc_matrix"}, "is a sparse matrix"),
        ({"h5sparse_format": "csr"}, "is a sparse matrix"),
        ({"encoding-type": "categorical"}, "is a column of categories, whose codes are no labels"),
        ({"encoding-type": "dataframe"}, "is a table of AnnData"),
        ({"MATLAB_sparse": 4}, "is a sparse matrix of MATLAB's"),
        ({"pandas_type": "frame"}, r"was written by pandas \(HDFStore\)"),
    ],
)
def test_the_parts_of_what_is_no_array_are_not_read_by_themselves(tmp_path, attributes, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("X")
        group["data"], group["codes"] = np.arange(5.0), np.array([0, -1, 1], "i1")
        group.attrs.update(attributes)
    for part in ("data", "codes"):
        assert refusing(f"{tmp_path}/a.h5:/X/{part}", message) == [*DOORS]
    with pytest.raises(SourceError, match=message):
        import_files([f"{tmp_path}/a.h5"], tmp_path / "o.h5")


def anndata(path, x):
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        file["obsm/X_pca"], file["layers/raw"], file["varm/PCs"] = X[:, :2], X * 2, np.ones((4, 2))
        file["obs/_index"] = [f"cell{n}" for n in range(9)]
        file["obs/count"] = np.arange(9.0)
        file["obs"].attrs["encoding-type"] = "dataframe"
        file["obsp/distances"] = np.ones((9, 9))
        x(file)


def test_of_an_anndata_the_arrays_with_a_row_for_each_cell_are_layers(tmp_path):
    anndata(tmp_path / "a.h5ad", lambda file: file.create_dataset("X", data=X))
    with pytest.warns(UserWarning, match=r"left out, since it is no layer: .*'obs/count'"):
        store = import_files([f"{tmp_path}/a.h5ad"], tmp_path / "o.h5")
    with store:
        assert sorted(store.layers) == ["X", "layers/raw", "obsm/X_pca"]
        np.testing.assert_array_equal(store.layers["X"][:], X)
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/a.h5ad:/obsm/X_pca"), X[:, :2])
    assert refusing(f"{tmp_path}/a.h5ad:/obs/count", "is a table of AnnData") == [*DOORS]


def test_a_sparse_anndata_is_refused_whole_and_read_by_its_dense_parts(tmp_path):
    def sparse(file):
        file["X/data"], file["X/indices"], file["X/indptr"] = np.ones(9), np.zeros(9, "i4"), np.arange(10)
        file["X"].attrs["encoding-type"] = "csr_matrix"

    anndata(tmp_path / "a.h5ad", sparse)
    with pytest.raises(SourceError, match=r"a\.h5ad:/X is a sparse matrix"):
        import_files([f"{tmp_path}/a.h5ad"], tmp_path / "o.h5")
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/a.h5ad:/layers/raw"), X * 2)


# -- netCDF


def netcdf(path, x, **attributes):
    """A file as netCDF-4 writes it: coordinates beside the variable."""
    with h5py.File(path, "w") as file:
        file.attrs["_NCProperties"] = "version=2,netcdf=4.9.2,hdf5=1.14.3"
        file["x"] = x
        file["x"].attrs.update(attributes)
        file["time"] = np.arange(float(len(x)))
        file["time"].make_scale("time")
        file["x"].dims[0].attach_scale(file["time"])


def test_a_variable_of_netcdf_is_read_and_its_coordinates_are_no_layers(tmp_path):
    netcdf(tmp_path / "a.nc", X)
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/a.nc"), X)
    with pytest.warns(UserWarning, match="no layer: 'time'"):
        store = import_files([f"{tmp_path}/a.nc"], tmp_path / "o.h5")
    with store:
        assert [*store.layers] == ["x"]


@pytest.mark.parametrize("name", ["scale_factor", "add_offset", "valid_range", "valid_min", "_Unsigned"])
def test_numbers_that_mean_others_are_refused(tmp_path, name):
    netcdf(tmp_path / "a.nc", X, **{name: np.bytes_("true") if name == "_Unsigned" else 2.0})
    assert refusing(f"{tmp_path}/a.nc:/x", f"has the attribute {name}, by which") == [*DOORS]
    with pytest.raises(SourceError, match=f"has the attribute {name}"):
        import_files([f"{tmp_path}/a.nc"], tmp_path / "o.h5")


def test_what_nobody_wrote_is_found_where_netcdf_s_own_fill_value_stands(tmp_path):
    filled = X.copy()
    filled[5, 1] = np.float32(9.969209968386869e36)
    netcdf(tmp_path / "a.nc", filled)
    with pytest.raises(SourceError, match=r"a.nc:/x has 9.96\S+ in row 5, which stands for no value"):
        rows_of(f"{tmp_path}/a.nc:/x")
    netcdf(tmp_path / "b.nc", filled, _FillValue=np.float32(-1))
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/b.nc:/x"), filled)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["x"] = filled  # of no netCDF: a number like any other
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/plain.h5:/x"), filled)


# -- zarr


@pytest.fixture(params=[2, 3])
def group(request, tmp_path):
    return zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=request.param)


def add(group, name="x", values=X, chunks=(4, 4), **options):
    array = group.create_array(name, shape=values.shape, chunks=chunks, dtype=values.dtype, **options)
    array[:] = values
    return array


def test_chunks_that_are_not_there_are_no_zeros(group, tmp_path):
    values = X.copy()
    values[4:8] = 0  # zarr writes no chunk of the fill value alone
    add(group, values=values)
    assert refusing(
        f"{tmp_path}/a.zarr:/x",
        "was written in part, or has chunks of nothing but its fill value: 2 of 3 chunks",
    ) == [*DOORS]
    add(group, "y", values, config={"write_empty_chunks": True})
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/a.zarr:/y"), values)
    (tmp_path / "a.zarr" / "y" / ("0.0" if group.metadata.zarr_format == 2 else "c/0/0")).unlink()
    assert refusing(f"{tmp_path}/a.zarr:/y", "2 of 3 chunks are there") == [*DOORS]


@pytest.mark.parametrize("name", ["scale_factor", "add_offset", "valid_max"])
def test_zarr_whose_numbers_mean_others(group, tmp_path, name):
    add(group).attrs[name] = 2.0
    assert refusing(f"{tmp_path}/a.zarr:/x", f"has the attribute {name}") == [*DOORS]


@pytest.mark.parametrize("fill", [-7.0, "AAAAAAAAHMA="])  # the second as xarray writes -7.0
def test_fill_values_of_zarr_are_looked_for(group, tmp_path, fill):
    values = X.copy()
    values[6, 2] = -7
    add(group, values=values).attrs["_FillValue"] = fill
    with pytest.raises(SourceError, match=r"a.zarr:/x has -7.0 in row 6, which stands for no value"):
        rows_of(f"{tmp_path}/a.zarr:/x")


def test_groups_of_zarr_that_are_no_arrays(group, tmp_path):
    sparse = group.create_group("X")
    add(sparse, "data", np.arange(1.0, 5), chunks=(4,))
    sparse.attrs["encoding-type"] = "csr_matrix"
    assert refusing(f"{tmp_path}/a.zarr:/X/data", "a.zarr:/X is a sparse matrix") == [*DOORS]
    with pytest.raises(SourceError, match=r"a\.zarr:/X is a sparse matrix"):
        import_files([f"{tmp_path}/a.zarr"], tmp_path / "o.h5")


def test_packing_that_is_not_known_is_refused(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    add(group, chunks=(2, 2), shards=(4, 4))
    assert refusing(f"{tmp_path}/a.zarr:/x", "is packed by 'sharding_indexed', which is not undone") == [*DOORS]


def test_an_array_in_fortran_s_order_and_one_alone(tmp_path):
    zarr.create_array(tmp_path / "f.zarr", shape=X.shape, chunks=(4, 4), dtype="f4", order="F", zarr_format=2)[
        :
    ] = X
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/f.zarr"), X)


# -- Parquet


def test_parquet_says_what_it_holds(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(
        {
            "gaps": pa.array([[1.0], None]),
            "ragged": pa.array([[1.0], [1.0, 2.0]]),
            "deep": pa.array([[[1, 2]], [[3, 4]]]),
            "struct": pa.array([{"a": 1}, {"a": 2}]),
            "when": pa.array([0, 1], pa.timestamp("s")),
            "hole": pa.array([1, None]),
            "label": pa.array(["a", None]).dictionary_encode(),
            "big": pa.array([2**60 + 1, 2]),
            "half": pa.array([0.5, 1.5]),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    spec = f"{tmp_path}/a.parquet"
    for column, message in {
        "gaps": "column 'gaps' has no value in row 1",
        "ragged": r"column 'ragged' has rows of several lengths \(1 to 2\)",
        "struct": "column 'struct' holds struct<a: int64>",
        "when": r"column 'when' holds timestamp",
        "hole": "column 'hole' has no value in row 1",
        "big,half": r"column 'big' has numbers beyond 2\*\*53",
        "nothing": "has no column 'nothing'",
    }.items():
        with pytest.raises(SourceError, match=message):
            rows_of(f"{spec}:{column}")
    assert rows_of(f"{spec}:deep").tolist() == [[[1, 2]], [[3, 4]]]
    assert rows_of(f"{spec}:big").tolist() == [[2**60 + 1], [2]]
    assert read_labels(f"{spec}:label").tolist() == ["a", None]
    assert read_labels(f"{spec}:hole").tolist() == [1, None]
    for column in ("struct", "when", "deep"):
        with pytest.raises(SourceError, match=f"column '{column}' holds"):
            read_labels(f"{spec}:{column}")


def test_the_index_of_a_frame_names_its_rows_and_is_no_feature(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}, index=["z", "x", "y"])
    frame.to_parquet(tmp_path / "x.parquet")
    pd.DataFrame({"id": ["x", "y", "z"], "mark": [1, 2, 3]}).to_csv(tmp_path / "y.csv", index=False)
    (item,) = split_data([f"{tmp_path}/x.parquet"], [f"mark={tmp_path}/y.csv:mark"], as_features=True)
    assert item.targets["mark"].tolist() == [3, 1, 2]
    np.testing.assert_array_equal(rows_of(f"{tmp_path}/x.parquet"), [[1, 4], [2, 5], [3, 6]])
    with import_files([f"train={tmp_path}/x.parquet"], tmp_path / "o.h5") as store:
        assert store.ids.tolist() == ["train/z", "train/x", "train/y"]
