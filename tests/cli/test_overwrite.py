"""`--overwrite` replaces what the command itself writes: never an input, never a file of another kind."""

from __future__ import annotations

import hashlib
import os

import h5py
import numpy as np
import pytest

import actstore

NET = "import numpy as np\ndef run(batch):\n    return {'a': np.asarray(batch, np.float32)}\n"


@pytest.fixture
def there(folder):
    """Every kind of input, and two stores."""
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype("f4")
    (folder / "net.py").write_text(NET)
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"], file["y"] = rows, np.arange(20) % 2
    np.save(folder / "x.npy", rows)
    np.savez(folder / "x.npz", x=rows, y=np.arange(20) % 2)
    for name in ("s.h5", "s.acts", "other.h5"):
        with actstore.create(folder / name) as store:
            store.append({"a": rows + len(name)}, targets={"y": np.arange(20) % 2})
    (folder / "thesis.npy").write_text("precious")
    (folder / "thesis.npz").write_text("precious")
    (folder / "thesis.csv").write_text("name,mark\r\nme,1\r\n")
    (folder / "thesis.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    os.symlink("data.h5", folder / "link.h5")
    os.link(folder / "data.h5", folder / "hard.h5")
    return folder


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in str(path)
    }


DUMP = "actstore dump net.py:run --layers a --no-selfcheck"
INPUTS = {
    "data": f"{DUMP} --data data.h5:/x -o data.h5",
    "data of a split": f"{DUMP} --data train=data.h5:/x -o data.h5",
    "data, by a link": f"{DUMP} --data data.h5:/x -o link.h5",
    "data, by another name": f"{DUMP} --data hard.h5:/x -o data.h5",
    "data, spelled otherwise": f"{DUMP} --data ./data.h5:/x -o data.h5",
    "labels": f"{DUMP} --data x.npy --target y=data.h5:/y -o data.h5",
    "labels of a split": f"{DUMP} --data train=x.npy --target train:y=data.h5:/y -o data.h5",
    "import": "actstore import data.h5:/x -o data.h5",
    "import of a split": "actstore import train=data.h5:/x -o link.h5",
    "pack": "actstore pack s.h5 -o s.h5",
    "pack into what is read": "actstore pack s.acts -o s.acts/packed.h5",
    "export into what is read": "actstore export s.acts --layer a -o s.acts/a.npy",
    "rows into what is read": "actstore rows s.acts -o s.acts/rows.csv",
}
KINDS = {
    "foreign HDF5, dump": f"{DUMP} --data x.npy -o data.h5",
    "foreign HDF5, link": f"{DUMP} --data x.npy -o link.h5",
    "foreign HDF5, pack": "actstore pack s.acts -o data.h5",
    "foreign HDF5, import": "actstore import x.npy -o data.h5",
    "shard, pack": "actstore pack s.h5 -o s.acts/steps/0/rank-0000/shard-000000.h5",
    "npy": "actstore export s.h5 --layer a -o thesis.npy",
    "npz": "actstore export s.h5 --layer a -o thesis.npz",
    "somebody's npz": "actstore export s.h5 --layer a -o x.npz",
    "safetensors": "actstore export s.h5 --layer a -o thesis.safetensors",
    "csv": "actstore rows s.h5 -o thesis.csv",
}


def code_of(command):
    """A dump refuses it before the model is built, as wrong usage."""
    return 2 if command.startswith("actstore dump") else 1


@pytest.mark.parametrize("command", INPUTS.values(), ids=INPUTS.keys())
def test_an_input_is_never_replaced(there, refused, command):
    before = digests(there)
    assert "is an input (" in refused(f"{command} --overwrite", code_of(command))
    assert digests(there) == before


@pytest.mark.parametrize("command", KINDS.values(), ids=KINDS.keys())
def test_a_file_of_another_kind_is_never_replaced(there, refused, command):
    before = digests(there)
    assert "is not a file that this command writes" in refused(f"{command} --overwrite", code_of(command))
    assert digests(there) == before


SAME = {
    "dump, file": (f"{DUMP} --data x.npy", "other.h5"),
    "dump, folder": (f"{DUMP} --data x.npy", "s.acts"),
    "pack": ("actstore pack s.acts", "other.h5"),
    "import": ("actstore import x.npy", "other.h5"),
    "npy": ("actstore export s.h5 --layer a", "x.npy"),
    "npz": ("actstore export s.h5 --layer a", "new.npz"),
    "safetensors": ("actstore export s.h5 --layer a", "new.safetensors"),
    "csv": ("actstore rows s.h5", "new.csv"),
}


@pytest.mark.parametrize(("command", "out"), SAME.values(), ids=SAME.keys())
def test_a_file_of_the_same_kind_is_replaced(there, run, command, out):
    if not (there / out).exists():
        run(f"{command} -o {out}")
    before = set(os.listdir(there))
    stamp = (there / out).stat().st_ino
    run(f"{command} -o {out} --overwrite")
    assert (there / out).stat().st_ino != stamp
    assert set(os.listdir(there)) - {"__pycache__"} == before - {"__pycache__"}
