import json

import h5py
import numpy as np
import pytest

import solvers
from solvers.errors import ProbeFileError


@pytest.fixture(scope="module")
def probes():
    """Two probes of three classes: the first looks at three of six features, the second at all of three."""
    generator = np.random.default_rng(0)
    layers = {"wide": generator.normal(size=(30, 2, 3)), "narrow": generator.normal(size=(30, 3))}
    return solvers.fit_layers(layers, np.arange(30) % 3, C=1.0, random_features=3)


def header_of(**changes):
    return np.frombuffer(
        json.dumps({"format": "actstore probes", "version": "0.9"} | changes).encode(), dtype=np.uint8
    )


def put(name, data):
    """A change to a probe file: one dataset replaced."""

    def change(file):
        del file[name]
        file[name] = data

    return change


def stored(name, **how):
    """A change to a probe file: the same dataset, stored in another way."""

    def change(file):
        data = file[name][()]
        del file[name]
        file.create_dataset(name, data=data, **how)

    return change


def external(file):
    del file["intercept.0"]
    file.create_dataset("intercept.0", (3,), "<f8", external=[("elsewhere.bin", 0, 24)])


def virtual(file):
    del file["intercept.0"]
    layout = h5py.VirtualLayout((3,), "<f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "bias", (3,))
    file.create_virtual_dataset("intercept.0", layout)


def absurd(file):
    del file["intercept.0"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((1 << 42,))
    h5py.h5d.create(file.id, b"intercept.0", h5py.h5t.IEEE_F64LE, space, plist)


DAMAGES = {
    "no header": (lambda file: file.pop("header"), "is HDF5 but not a probe file: it has no dataset `header`"),
    "header of text": (put("header", "{}"), "`header` is not of type uint8"),
    "header not JSON": (put("header", np.frombuffer(b"{", np.uint8)), "is damaged: its header is not JSON"),
    "header too deep": (
        put("header", np.frombuffer(b"[" * 10**6, np.uint8)),
        "is damaged: its header is not JSON",
    ),
    "header not UTF-8": (put("header", np.array([255], np.uint8)), "is damaged: its header is not JSON"),
    "header of others": (put("header", header_of(format="x")), "its header does not say `actstore probes`"),
    "header a list": (
        put("header", np.frombuffer(b"[]", np.uint8)),
        "its header does not say `actstore probes`",
    ),
    "newer": (
        put("header", header_of(version="1.0")),
        "is a probe file of version 1.0; this reads 0.9: update actstore",
    ),
    "newer after ten": (
        put("header", header_of(version="0.10")),
        "of version 0.10; this reads 0.9: update actstore",
    ),
    "older": (
        put("header", header_of(version=0)),
        "of version 0; this reads 0.9: fit the probes again, or use",
    ),
    "a version of others": (
        put("header", header_of(version=[1])),
        r"of version \[1\]; this reads 0.9: fit the probes",
    ),
    "no probes": (put("header", header_of()), "is damaged: its header does not describe its probes"),
    "odd probes": (put("header", header_of(probes=[3])), "is damaged: its header does not describe its probes"),
    "lacking": (put("header", header_of(probes=[{}], failures={})), "is damaged: its header does not describe"),
    "no weights": (lambda file: file.pop("weights.1"), "the dataset `weights.1` is missing"),
    "other shape": (put("mean.1", np.zeros(5)), r"mean.1 has the shape \(5,\), not \(3,\)"),
    "columns beyond": (put("columns.0", np.array([1, 6])), "columns.0 is not ascending from 0 to 5"),
    "columns twice": (put("columns.0", np.array([4, 4])), "columns.0 is not ascending from 0 to 5"),
    "float32": (put("weights.0", np.zeros((6, 3), "f4")), "`weights.0` is not of type float64"),
    "objects": (put("intercept.0", ["a", "b", "c"]), "`intercept.0` is not of type float64"),
    "a scalar": (put("intercept.0", 3.0), r"intercept.0 has the shape \(\)"),
    "nothing": (put("intercept.0", h5py.Empty("<f8")), "`intercept.0` is empty"),
    "compressed": (stored("weights.0", compression="gzip"), "`weights.0` is not stored in one plain piece"),
    "chunked": (stored("weights.0", chunks=(2, 3)), "`weights.0` is not stored in one plain piece"),
    "external storage": (external, "`intercept.0` is not stored in one plain piece"),
    "virtual": (virtual, "`intercept.0` is not stored in one plain piece"),
    "soft link": (put("intercept.0", h5py.SoftLink("/intercept.1")), "`intercept.0` is missing or is a link"),
    "external link": (
        put("intercept.0", h5py.ExternalLink("x.h5", "/x")),
        "`intercept.0` is missing or is a link",
    ),
    "header link": (
        put("header", h5py.ExternalLink("x.h5", "/x")),
        "its dataset `header` is missing or is a link",
    ),
    "a group": (
        lambda file: (file.pop("intercept.0"), file.create_group("intercept.0")),
        "`intercept.0` is not a dataset",
    ),
    "absurd size": (absurd, "`intercept.0` declares more than the file holds"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_outside_the_profile_is_refused(probes, tmp_path, damage, message):
    path = tmp_path / "probes.h5"
    probes.save(path)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(ProbeFileError, match=message):
        solvers.load(path)
