"""What `append` takes: arrays of any library that speaks DLPack or `__array__`."""

import numpy as np
import pytest

import actstore
from actstore.errors import AdapterError

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.arange(6)


class BareDlpack:
    """Nothing but the protocol: no shape, no dtype."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **kwargs):
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


class BareArray:
    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return self._array


class OnGpu(BareDlpack):
    """As CuPy does: no implicit copy, but one that was asked for."""

    def __init__(self, array, reachable=True):
        super().__init__(array)
        self._reachable = reachable

    @property
    def shape(self):
        return self._array.shape

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, *, dl_device=None, **kwargs):
        if dl_device != (1, 0) or not self._reachable:
            raise BufferError("the memory is a GPU's")
        return self._array.__dlpack__()


def torch_tensor(array):
    torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
    return torch.from_numpy(array).requires_grad_(array.dtype.kind == "f")


def jax_array(array):
    jax = pytest.importorskip("jax", reason="jax is not installed: make test-frameworks")
    return jax.numpy.asarray(array)


FRAMEWORKS = [
    pytest.param(torch_tensor, marks=pytest.mark.framework),
    pytest.param(jax_array, marks=pytest.mark.framework),
]


@pytest.mark.parametrize("wrap", [np.asarray, BareDlpack, BareArray, OnGpu, *FRAMEWORKS])
def test_arrays_and_labels_of_any_library_are_stored(tmp_path, wrap):
    if wrap is OnGpu and np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("NumPy before 2.1 cannot ask for a copy to the CPU")
    activations, digits = {"x": wrap(X), "y": wrap(X[:, 0].copy())}, wrap(Y)
    with actstore.create(tmp_path / "run.h5") as recording:
        recording.append(activations, targets={"digit": digits})
    with actstore.open(tmp_path / "run.h5") as store:
        np.testing.assert_array_equal(store.layers["x"][:], X)
        np.testing.assert_array_equal(store.layers["y"][:], X[:, 0])
        assert store.layers["x"].dtype == np.float32
        assert store.targets["digit"].tolist() == Y.tolist()


def test_what_is_appended_is_copied(tmp_path):
    buffer = X.copy()
    with actstore.create(tmp_path / "run.acts") as recording:
        for factor in (1, 2):
            buffer[:] = factor * X
            recording.append({"x": BareDlpack(buffer)})
    with actstore.open(tmp_path / "run.acts") as store:
        np.testing.assert_array_equal(store.layers["x"][:], np.concatenate([X, 2 * X]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            OnGpu(X, reachable=False),
            "'x' cannot be stored: OnGpu .* cannot become a NumPy array: the memory is a GPU's",
        ),
        ([[1.0, 2.0]], "'x' cannot be stored: list of 1 .* is no array"),
        (BareDlpack(np.zeros((), np.float32)), "'x' cannot be stored: BareDlpack has no rows"),
        (
            BareArray(np.array(["a"])),
            r"'x' cannot be stored: BareArray is not of a dtype that a store holds \(",
        ),
    ],
)
def test_what_is_no_array_of_numbers_in_reach_is_named(tmp_path, value, message):
    with pytest.raises(AdapterError, match=message), actstore.create(tmp_path / "run.h5") as recording:
        recording.append({"x": value})
    assert not list(tmp_path.iterdir())
