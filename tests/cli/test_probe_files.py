"""What `probe` writes and what it leaves alone: outputs onto inputs, two at once, files of a later version."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def fitted(run, store):
    """`p.h5`: probes of the store's two layers."""
    run(f"probe fit {store} --target sign --C 1 -o p.h5")
    return "p.h5"


def digest(path):
    return Path(path).read_bytes()


def test_a_store_is_not_overwritten_by_probes(run, refused, store):
    before = digest(store)
    said = refused(f"probe fit {store} --target sign --C 1 -o {store} --overwrite")
    assert said == (
        "Error: s.h5 is no probe file, and only a probe file is overwritten; choose another name, or remove it"
    )
    assert digest(store) == before


def test_features_labels_and_models_are_not_overwritten(refused, store):
    for output in ("train.npz", "net.py"):
        before = digest(output)
        line = f"probe fit train=train.npz:x --target train:y=train.npz:y --C 1 -o {output} --overwrite"
        assert "is no probe file" in refused(line)
        assert digest(output) == before


def test_the_probes_that_a_fit_starts_from_are_not_overwritten(refused, store, fitted):
    before = digest(fitted)
    said = refused(f"probe fit {store} --target sign --C 2 --warm-start p.h5 -o ./p.h5 --overwrite")
    assert "p.h5 is read by this very command, so it is not overwritten; choose another name" in said
    assert digest(fitted) == before


def test_probes_are_overwritten_when_that_is_said(run, refused, store, fitted):
    before = digest(fitted)
    assert "--overwrite" in refused(f"probe fit {store} --target sign --C 2 -o p.h5")
    assert digest(fitted) == before
    run(f"probe fit {store} --target sign --C 2 -o p.h5 --overwrite")
    assert {row["C"] for row in json.loads(run("probe show p.h5 --json").stdout)["probes"]} == {2.0}


@pytest.mark.parametrize("name", ["f.svg", "f.png", "f.html"])
def test_a_figure_replaces_a_figure_of_its_kind_only(run, refused, fitted, folder, name):
    (folder / name).write_text("a drawing of mine")
    said = refused(f"probe plot p.h5 -o {name} --overwrite")
    assert f"{name} is no {name[2:]} figure, and only such a figure is overwritten" in said
    assert (folder / name).read_text() == "a drawing of mine"
    (folder / name).unlink()
    run(f"probe plot p.h5 -o {name}")
    assert "--overwrite" in refused(f"probe plot p.h5 -o {name}")
    run(f"probe plot p.h5 -o {name} --overwrite")
    assert not [file for file in folder.iterdir() if file.name.startswith(".")]


def test_a_link_to_somebody_s_file_is_not_followed(refused, store, folder):
    (folder / "mine.txt").write_text("mine")
    (folder / "p.h5").symlink_to("mine.txt")
    assert "exists already" in refused(f"probe fit {store} --target sign --C 1 -o p.h5")
    assert "is no probe file" in refused(f"probe fit {store} --target sign --C 1 -o p.h5 --overwrite")
    assert (folder / "mine.txt").read_text() == "mine"


def test_the_same_fit_twice_at_once(run, store, folder):
    """One writes the probes; the other is told so in a line, and nothing is left of it."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from cli.probe.fit import Reporter\n"
        "from cli.main import probe\n"
        "call = Reporter.__call__\n"
        "def slow(self, progress):\n"
        "    Path(sys.argv.pop() if sys.argv[-1].startswith('begun') else 'again').touch()\n"
        "    time.sleep(0.5)\n"
        "    call(self, progress)\n"
        "Reporter.__call__ = slow\n"
        "probe(sys.argv[1:7])\n"
    )
    arguments = ["fit", store, "--target", "sign", "-o", "p.h5"]
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HOUSE)!r})\n{code}", *arguments]
    with subprocess.Popen(
        [*command, "begun"], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        while not (folder / "begun").exists():
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.05)
        said = run(["probe", *arguments], code=1).stderr
        first.communicate()
    assert said.strip().split("\n") == [
        "Error: p.h5.parts is in use: another process writes it; wait for it, or save to another name"
    ]
    assert first.returncode == 0
    assert len(json.loads(run("probe show p.h5 --json").stdout)["probes"]) == 2
    assert not (folder / "p.h5.parts").exists()


def edit(path, change):
    with h5py.File(path, "r+") as file:
        header = json.loads(file["header"][()].tobytes())
        change(header)
        del file["header"]
        file["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)


def test_a_file_with_fields_that_are_not_known_is_shown(run, fitted):
    before = run("probe show p.h5").stdout
    edit(fitted, lambda header: header["probes"][0]["metrics"].update(auroc={"test": 0.9}))
    edit(fitted, lambda header: header["probes"][0].update(later=[1]))
    assert run("probe show p.h5").stdout == before
    shown = json.loads(run("probe show p.h5 --json").stdout)
    assert shown["probes"][0]["metrics"] == {"auroc": {"test": 0.9}}


@pytest.mark.parametrize("command", ["probe show p.h5", "probe eval p.h5 s.h5", "probe plot p.h5 -o f.svg"])
def test_a_later_version_is_refused_by_number(refused, fitted, command):
    edit(fitted, lambda header: header.update(version="1.0"))
    assert refused(command) == "Error: p.h5 is a probe file of version 1.0; this reads 0.9: update actstore"


def test_labels_of_two_signs_and_of_two_kinds(run, refused, net, folder):
    np.save("a.npy", np.array([3, 2**63 + 1] * 150, "u8"))
    np.save("b.npy", np.array([3, 4] * 50))
    features = (
        "probe fit train=train.npz:x test=test.npz:x --target train:y=a.npy --target test:y={} --C 1 -o p.h5"
    )
    run(features.format("b.npy"))
    shown = json.loads(run("probe show p.h5 --json").stdout)["probes"]
    assert shown[0]["classes"] == [3, 2**63 + 1]
    shutil.move("p.h5", "q.h5")
    np.save("b.npy", np.array(["3", "4"] * 50))
    said = run(features.format("b.npy"), code=2).stderr
    assert "the labels of one target are of several kinds (uint64, <U1); give one kind for all splits" in said
    np.save("b.npy", np.array([-3, 4] * 50))
    assert (
        "labels from -3 to 9223372036854775809 fit no whole number of 64 bits"
        in run(features.format("b.npy"), code=2).stderr
    )


def test_labels_of_two_signs_that_are_all_ignored(run, refused, net, folder):
    np.save("a.npy", np.full(300, 9, "u8"))
    np.save("b.npy", np.full(100, 9))
    said = refused(
        "probe fit train=train.npz:x test=test.npz:x --target train:y=a.npy --target test:y=b.npy --ignore-label 9 "
        "--C 1 -o p.h5"
    )
    assert "target 'y' has no label in its 0 labelled training rows" in said
