"""Keras files from elsewhere: what they name outside themselves is refused before Keras reads them."""

import io
import os
import stat
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.adapters.for_keras import archive
from actstore.adapters.for_keras.archive import check_archive, check_weights
from actstore.errors import AdapterError
from actstore.models import load_model
from tests.frameworks.keras_networks import convnet

# Keras 3.15 makes NumPy's arrays of its variables in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "net.keras"
    convnet().save(path)
    return path


@pytest.fixture
def saved(original, tmp_path):
    """A copy of a model's file."""
    path = tmp_path / "net.keras"
    path.write_bytes(original.read_bytes())
    return path


def with_weights(path, change):
    """Change the HDF5 file in a model's file."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    weights = path.with_name("w.h5")
    weights.write_bytes(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        change(file)
    members["model.weights.h5"] = weights.read_bytes()
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return weights


def first(file):
    """The path of a dataset with values."""
    found = []
    file.visititems(
        lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) and item.size else None
    )
    return found[0]


def secret(file):
    """A file of the user's: numbers that nobody should see."""
    path = Path(file.filename).with_name("secret.h5")
    with h5py.File(path, "w") as other:
        other["x"] = np.ones(file[first(file)].shape, file[first(file)].dtype)
    return path


def external_link(file):
    name, other = first(file), secret(file)
    del file[name]
    file[name] = h5py.ExternalLink(str(other), "x")


def soft_link(file):
    name = first(file)
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


def external_storage(file):
    name = first(file)
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    where = [(str(Path(file.filename).with_name("raw")), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset(name, shape, dtype, external=where)


def virtual(file):
    name, other = first(file), secret(file)
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(other), "x", shape)
    file.create_virtual_dataset(name, layout)


def huge(file):
    file.create_dataset("huge", (10**6, 10**6), "f4", chunks=(1000, 1000))


CHANGES = {
    external_link: "has the link .* which could lead to any file",
    soft_link: "has the link .* which could lead to any file",
    external_storage: "lies in another file, which could be any",
    virtual: "lies in another file, which could be any",
    huge: r"'/huge', declares 4,000,000,000,000 bytes in a file of ",
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_lead_out_of_their_file_are_refused(saved, change):
    weights = with_weights(saved, change)
    with pytest.raises(AdapterError, match=CHANGES[change]) as caught:
        load_model(str(saved))
    assert "\n" not in str(caught.value)
    weights = weights.rename(weights.with_name("w.weights.h5"))
    with pytest.raises(AdapterError, match=CHANGES[change]):
        adapt(convnet()).load_weights(weights, None)


@pytest.mark.parametrize(
    "name", ["../out.txt", "/out.txt", "assets/../../out.txt", "a\\..\\..\\out.txt", "C:/out.txt"]
)
def test_members_outside_the_folder_are_refused(saved, name):
    with zipfile.ZipFile(saved, "a") as file:
        file.writestr(name, b"x")
    with pytest.raises(AdapterError, match="would be written outside its folder: the file is not read"):
        load_model(str(saved))


def test_a_member_that_is_a_link_is_refused(saved):
    member = zipfile.ZipInfo("assets/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(saved, "a") as file:
        file.writestr(member, os.fsencode("/etc/hostname"))
    with pytest.raises(AdapterError, match=r"'assets/link', which is a link"):
        load_model(str(saved))


def test_a_bomb_is_refused_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_RATIO", 100)
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model.weights.h5", bytes(2_000_000))
    with pytest.raises(AdapterError, match=r"declares 2,000,000 bytes in a file of"):
        check_archive(path)


def test_what_keras_writes_is_accepted(saved, tmp_path):
    check_archive(saved)
    assert adapt(load_model(str(saved))).provenance() == adapt(convnet()).provenance()
    convnet().save_weights(tmp_path / "net.weights.h5")
    check_weights(tmp_path / "net.weights.h5", "it", (tmp_path / "net.weights.h5").stat().st_size)
    with pytest.raises(AdapterError, match="it is no HDF5 file, or a damaged one"):
        check_weights(io.BytesIO(b"none"), "it", 4)
