"""HDF5 of others: what could do harm is refused in one line, before it is followed, loaded or read."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.formats.foreign_hdf5 import open_array
from actstore.formats.hdf5_checks import dataset_names, open_file
from actstore.sources import read_labels, split_data

ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)


def opened(path, key="/x"):
    return open_array(path, key, f"{path.name}:{key}")[()]


GOOD = {
    "contiguous": {},
    "chunked": {"chunks": (2, 2)},
    "growing": {"maxshape": (None, 2)},
    "deflate": {"compression": "gzip"},
    "all but szip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "big endian": {"dtype": ">f4"},
    "half": {"dtype": "f2"},
    "ints": {"dtype": "i8"},
    "unsigned": {"dtype": "u2"},
    "bools": {"dtype": "?"},
    "text": {"dtype": "S4"},
}


@pytest.mark.parametrize("options", GOOD.values(), ids=GOOD.keys())
def test_ordinary_datasets_are_read(tmp_path, options):
    data = ROWS.astype(options.get("dtype", "f4"))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("group/x", data=data, **{k: v for k, v in options.items() if k != "dtype"})
    for key in ("group/x", "/group/x", "//group/./x"):
        np.testing.assert_array_equal(opened(tmp_path / "f.h5", key), data, strict=True)


def test_a_compact_dataset_is_read(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT32, space, create).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.arange(3, dtype=np.int32)
        )
    assert opened(tmp_path / "f.h5").tolist() == [0, 1, 2]


def test_szip_is_refused(tmp_path):
    """The library does not say how many bytes came out of it, so that what did not could be anything."""
    if not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this HDF5 was built without szip")
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("x", data=np.arange(1024.0), chunks=(64,), compression="szip")
    with pytest.raises(
        SourceError, match=r"packed by filter 4 \('szip'\), which is not loaded; store it with one of"
    ):
        opened(tmp_path / "f.h5")


# -- attacks: each is written by h5py; a trap lies where it leads


def soft_link(file):
    file["real"] = ROWS
    file["x"] = h5py.SoftLink("/real")


def dangling_link(file):
    file["x"] = h5py.SoftLink("/nowhere")


def external_link(file):
    file["x"] = h5py.ExternalLink("trap.h5", "/x")


def group_behind_a_link(file):
    file["real/x"] = ROWS
    file["x"] = h5py.SoftLink("/real")


def external_storage(file):
    file.create_dataset("x", (6, 2), "f4", external=[("trap.h5", 0, 48)])


def virtual(file):
    layout = h5py.VirtualLayout((6, 2), "f4")
    layout[:] = h5py.VirtualSource("trap.h5", "x", (6, 2))
    file.create_virtual_dataset("x", layout)


def virtual_of_its_own_file(file):
    file["real"] = ROWS
    layout = h5py.VirtualLayout((6, 2), "f4")
    layout[:] = h5py.VirtualSource(".", "real", (6, 2))
    file.create_virtual_dataset("x", layout)


def create(file, kind, shape=(3,), filters=(), chunk=None):
    """A dataset of any type, written to by nobody."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunk is not None:
        creation.set_chunk(chunk)
    for code, flags in filters:
        creation.set_filter(code, flags, (1,))
    return h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple(shape), creation)


def unknown_filter(file):
    """Only an optional filter may be set without being there; what a file really has, h5py will not write."""
    create(file, h5py.h5t.NATIVE_FLOAT, (6,), [(32001, h5py.h5z.FLAG_OPTIONAL)], (3,))


def scale_offset(file):
    file.create_dataset("x", data=np.arange(6), scaleoffset=0, chunks=(3,))


def numpy_objects(file):
    """h5py takes the bytes for pointers to Python objects where a type has this tag."""
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    kind.set_tag(b"NUMPY:|O")
    create(file, kind).write(h5py.h5s.ALL, h5py.h5s.ALL, np.full(3, 0x41414141, "V8"), kind)


def opaque(file):
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
    kind.set_tag(b"anything")
    create(file, kind)


def references(file):
    file.create_dataset("x", data=np.array([file.ref], dtype=h5py.ref_dtype))


def region_references(file):
    file.create_dataset("x", (1,), h5py.regionref_dtype)


def compound(file):
    file["x"] = np.zeros(3, [("a", "i4"), ("b", "f4")])


def arrays(file):
    create(file, h5py.h5t.array_create(h5py.h5t.NATIVE_INT32, (2,)))


def variable_text(file):
    file["x"] = ["a", "bcd"]


def variable_numbers(file):
    file.create_dataset("x", (3,), h5py.vlen_dtype("i4"))


def enumeration(file):
    file.create_dataset("x", (3,), h5py.enum_dtype({"RED": 0, "BLUE": 1}, "i1"))


def wide_bools(file):
    file.create_dataset("x", (3,), h5py.enum_dtype({"FALSE": 0, "TRUE": 1}, "i8"))


def absurd_shape(file):
    file.create_dataset("x", (2**20, 2**20), "f4", chunks=(2, 2))


def absurd_chunk(file):
    file.create_dataset("x", (1, 1), "f4", chunks=(2**14, 2**14), maxshape=(None, None))


def absurd_text(file):
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(2**31)
    create(file, kind)


def unwritten(file):
    file.create_dataset("x", (2**40,), "f4")


def promised(file):
    file.create_dataset("x", (6, 2), "f4")


def no_space(file):
    file["x"] = h5py.Empty("f4")


def no_dataset(file):
    file.create_group("x/y")


def named_type(file):
    file["x"] = np.dtype("f4")


TYPES = r"f.h5:/x holds neither numbers nor text of a fixed width \(Python objects and the like are refused\)$"
LINK = "f.h5:/x is reached through a soft or external link, which is not followed: name the dataset where"
ATTACKS = {
    soft_link: LINK,
    dangling_link: LINK,
    external_link: LINK,
    group_behind_a_link: LINK,
    external_storage: "f.h5:/x is stored outside its file, in others that are not opened",
    virtual: "f.h5:/x is a virtual dataset, made of parts of other ones, which are not opened",
    virtual_of_its_own_file: "f.h5:/x is a virtual dataset",
    unknown_filter: r"f.h5:/x is packed by filter 32001 \('.*'\), which is not loaded; store it with one of deflate",
    scale_offset: r"f.h5:/x is packed by filter 6 \('scaleoffset'\), which is not loaded",
    numpy_objects: TYPES,
    opaque: TYPES,
    references: TYPES,
    region_references: TYPES,
    compound: TYPES,
    arrays: TYPES,
    variable_text: TYPES,
    variable_numbers: TYPES,
    enumeration: TYPES,
    wide_bools: TYPES,
    absurd_shape: "f.h5:/x declares 4,398,046,511,104 bytes in a file of [0-9,]+: more than 1,000 times as much",
    absurd_chunk: "f.h5:/x declares 1,073,741,824 bytes in a file of",
    absurd_text: "f.h5:/x declares 6,442,450,944 bytes in a file of",
    unwritten: "f.h5:/x declares 4,398,046,511,104 bytes in a file of",
    promised: "f.h5:/x was never written: the file has room for it but no values",
    no_space: "f.h5:/x has no shape; expected an array",
    no_dataset: "f.h5:/x: there is no dataset '/x'; there is none$",
    named_type: "f.h5:/x: there is no dataset '/x'; there is none$",
}


@pytest.fixture
def attacked(tmp_path, request, monkeypatch):
    """A file made by an attack; where it leads to is readable, so that a refusal is ours."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("trap.h5", "w") as file:
        file["x"] = ROWS
    with h5py.File("f.h5", "w") as file:
        request.param(file)
    return tmp_path / "f.h5"


@pytest.mark.parametrize(
    ("attacked", "message"),
    ATTACKS.items(),
    ids=lambda value: getattr(value, "__name__", ""),
    indirect=["attacked"],
)
def test_what_could_do_harm_is_refused(attacked, message):
    for read in (split_data, lambda specs: read_labels(specs[0])):
        with pytest.raises(SourceError, match=message) as caught:
            read([f"{attacked}:/x"])
        assert "\n" not in str(caught.value)


OPENED = """
import sys
opened = []
sys.path.insert(0, sys.argv[1])
from actstore.errors import SourceError
from actstore.sources import split_data
try:
    split_data(["f.h5:/x"])
except SourceError:
    print("refused")
"""


@pytest.mark.parametrize(
    "attacked", [external_link, external_storage, virtual], ids=lambda value: value.__name__, indirect=True
)
def test_where_it_leads_is_not_opened(attacked, request):
    """A pipe without a writer lies there: opening it would wait for ever."""
    import os

    os.remove(attacked.parent / "trap.h5")
    os.mkfifo(attacked.parent / "trap.h5")
    command = [sys.executable, "-c", OPENED, str(request.config.rootpath)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=attacked.parent)
    assert done.stdout == "refused\n"


@pytest.mark.parametrize("attacked", [unknown_filter], ids=lambda value: value.__name__, indirect=True)
def test_no_plugin_is_looked_for(attacked, request):
    """A pipe lies in the folder of plugins, under a plugin's name: loading it would wait for ever."""
    import os

    plugins = attacked.parent / "plugins"
    plugins.mkdir()
    for name in ("libtrap.so", "libtrap.dylib"):
        os.mkfifo(plugins / name)
    command = [sys.executable, "-c", OPENED, str(request.config.rootpath)]
    environment = {**os.environ, "HDF5_PLUGIN_PATH": str(plugins)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=attacked.parent, env=environment
    )
    assert done.stdout == "refused\n"


def test_names_are_listed_without_following_links_or_circles(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["b/x"] = ROWS
        file["b/again"] = file["/"]
        file["a"] = ROWS
        file["soft"] = h5py.SoftLink("/a")
        file["far"] = h5py.ExternalLink("none.h5", "/x")
    with open_file(tmp_path / "f.h5") as file:
        assert dataset_names(file) == ["/a", "/b/x"]


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(500), b"text"])
def test_what_is_no_hdf5_is_said_in_one_line(tmp_path, content):
    (tmp_path / "f.h5").write_bytes(content)
    with pytest.raises(SourceError, match=r"f\.h5 is not an HDF5 file: [^\n]+$"):
        open_file(tmp_path / "f.h5")
