"""Fits that end early keep their finished layers, and the same call goes on with them."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers.disk import new_file
from solvers.errors import ProbeFileError
from solvers.probing.fit_layers import FitInterrupted

HOUSE = Path(__file__).parents[2]
ROWS = 120
NAMES = ("input", "conv", "fc")


def problem():
    """Three layers and two targets."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, ROWS)
    layers = {name: np.eye(3, 6)[labels] + generator.normal(size=(ROWS, 6)) for name in NAMES}
    return layers, {"kind": labels, "odd": labels == 1}


def fit(parts, **changes):
    """The fit that every test is about; gives the probes and what was noticed."""
    layers, labels = problem()
    said = []
    settings = {"C": [0.1, 1.0], "parts": parts, "notice": said.append} | changes
    probes = solvers.fit_layers(settings.pop("layers", layers), settings.pop("labels", labels), **settings)
    return probes, said


def stop_at(layer, error=KeyboardInterrupt):
    """A progress callback that raises as a layer is begun."""

    def stop(progress):
        if progress.layer == layer:
            raise error

    return stop


@pytest.fixture
def parts(tmp_path):
    return tmp_path / "p.h5.parts"


@pytest.fixture
def begun(parts):
    """Parts of a fit that was interrupted with two of three layers finished."""
    with pytest.raises(FitInterrupted):
        fit(parts, progress=stop_at("fc"))
    return parts


def same(left, right):
    """Whether two fits gave the same probes, to the bit."""
    return list(left) == list(right) and all(
        np.array_equal(left[key].weights, right[key].weights) and left[key].error == right[key].error
        for key in left
    )


def test_parts_go_when_the_probes_are_saved_and_not_before(parts, tmp_path):
    probes, said = fit(parts)
    written = ["identity.json", *(f"layer-000{order}.h5" for order in range(3)), "lock"]
    assert sorted(file.name for file in parts.iterdir()) == written
    probes.save(tmp_path / "p.h5")
    assert [file.name for file in tmp_path.iterdir()] == ["p.h5"]
    assert said == []
    assert same(solvers.load(tmp_path / "p.h5"), fit(None)[0])


def test_what_a_part_holds(begun):
    part = solvers.load(begun / "layer-0001.h5")
    assert list(part) == [("conv", "kind", 0), ("conv", "odd", 0)]


def test_an_interrupted_fit_goes_on_and_gives_what_an_undisturbed_one_gives(begun):
    fitted = []
    probes, said = fit(begun, progress=lambda progress: fitted.append((progress.layer, progress.done)))
    assert set(fitted) == {("fc", 2)}
    assert said == [f"2 of 3 layers are finished in {begun} already; going on with the others"]
    assert same(probes, fit(None)[0])


def test_all_layers_finished_already(parts):
    first, _ = fit(parts)
    again, said = fit(parts, progress=stop_at("input"))
    assert said == [f"3 of 3 layers are finished in {parts} already; joining them"]
    assert same(first, again)


def test_an_interrupt_says_where_the_finished_layers_are(parts):
    with pytest.raises(
        FitInterrupted,
        match=r"at layer 'fc', with 2 of 3 layers fitted, kept in .*p\.h5\.parts; the same command goes on",
    ) as caught:
        fit(parts, progress=stop_at("fc"))
    assert len(caught.value.probes) == 4


def test_saving_what_an_interrupt_left_keeps_the_parts(parts, tmp_path):
    with pytest.raises(FitInterrupted, match="2 of 3") as caught:
        fit(parts, progress=stop_at("fc"))
    caught.value.probes.save(tmp_path / "some.h5")
    assert len(solvers.load(tmp_path / "some.h5")) == 4
    assert fit(parts)[1][0].startswith("2 of 3")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "Input/output error")])
def test_where_no_layer_is_finished_no_folder_stays(parts, error):
    with pytest.raises((FitInterrupted, OSError), match=r"with 0 of 3 layers fitted$|Input/output"):
        fit(parts, progress=stop_at("input", error))
    assert not parts.exists()


def test_a_failure_says_where_the_finished_layers_are(parts):
    with pytest.raises(OSError, match="Input/output error") as caught:
        fit(parts, progress=stop_at("conv", OSError(errno.EIO, "Input/output error")))
    assert caught.value.__notes__ == [
        f"1 of 3 layers are finished and kept in {parts}; the same command goes on from there"
    ]
    assert fit(parts)[1][0].startswith("1 of 3")


@pytest.mark.parametrize(
    ("name", "code_then", "says"),
    [(signal.SIGKILL, -signal.SIGKILL, ""), (signal.SIGINT, 1, "with 2 of 3 layers fitted, kept in")],
    ids=["kill", "ctrl-c"],
)
def test_a_process_that_is_killed_between_layers(parts, name, code_then, says):
    code = (
        "import os, signal, sys\n"
        "from tests.solvers.test_parts import fit\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored, where `make test &` runs this
        "def kill(progress):\n"
        "    if progress.layer == 'fc':\n"
        f"        os.kill(os.getpid(), {int(name)})\n"
        "fit(sys.argv[1], progress=kill)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(parts)], cwd=HOUSE, capture_output=True, text=True, check=False
    )
    assert done.returncode == code_then, done.stderr
    assert says in done.stderr
    assert sorted(file.name for file in parts.glob("layer-*")) == ["layer-0000.h5", "layer-0001.h5"]
    probes, said = fit(parts)
    assert said[0].startswith("2 of 3")
    assert same(probes, fit(None)[0])


def test_a_process_that_is_killed_while_it_writes_a_layer(parts):
    code = (
        "import os, signal, sys\n"
        "from tests.solvers.test_parts import fit\n"
        "from solvers.disk import new_file\n"
        "publish = new_file._publish\n"
        "def kill(temporary, path, may_replace):\n"
        "    if path.name == 'layer-0001.h5':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return publish(temporary, path, may_replace)\n"
        "new_file._publish = kill\n"
        "fit(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(parts)], cwd=HOUSE, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(parts.glob(".layer-0001.h5.*.partial"))) == 1
    probes, said = fit(parts)
    assert said[0].startswith("1 of 3")
    probes.save(parts.with_name("p.h5"))
    assert not parts.exists()


def test_a_full_disk_loses_nothing(begun, tmp_path, monkeypatch):
    probes, _ = fit(begun)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(new_file.os, "fsync", full)
    with pytest.raises(ProbeFileError, match="No space left on device; make room") as caught:
        probes.save(tmp_path / "p.h5")
    assert caught.value.__notes__ == [
        f"3 of 3 layers are finished and kept in {begun}; the same command goes on from there"
    ]
    monkeypatch.undo()
    assert fit(begun)[1][0].startswith("3 of 3")


def test_a_layer_that_can_not_be_fitted_is_finished_too(parts):
    layers, _ = problem()
    layers["conv"][7, 0] = np.nan
    with pytest.raises(FitInterrupted, match="2 of 3"):
        fit(parts, layers=layers, progress=stop_at("fc"))
    probes, said = fit(parts, layers=layers)
    assert said[0].startswith("2 of 3")
    assert list(probes.failures) == ["conv"]
    assert len(probes) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"C": [0.1, 2.0]}, r"C was \[0.1, 1.0\] there and is \[0.1, 2.0\] here"),
        ({"C": [0.1, np.inf]}, r"C was \[0.1, 1.0\] there and is \[0.1, Infinity\] here"),
        ({"scale": False}, "scale was true there and is false here"),
        ({"gap_nats": 1e-6}, "gap_nats was 1e-05 there and is 1e-06 here"),
        ({"engine": "numpy"}, 'engine was "auto" there and is "numpy" here'),
        ({"seed": 1}, "seed was 0 there and is 1 here"),
        ({"feature_subset": 5}, "feature_subset was null there and is 5 here"),
        ({"full_path": True}, "full_path was false there and is true here"),
        ({"class_weight": "balanced"}, 'class_weight was null there and is "balanced" here'),
        (
            {"split_features": 2},
            r'layers was \["input", "conv", "fc"\] there and is \["input@0", "input@1", "conv@',
        ),
        ({"step": 3}, "step was 0 there and is 3 here"),
        ({"fingerprint": "f00"}, 'store was "" there and is "f00" here'),
        ({"labels": {"kind": problem()[1]["kind"]}}, r'targets was \["kind", "odd"\] there and is \["kind"\]'),
        (
            {"labels": problem()[1] | {"odd": problem()[1]["kind"] == 2}},
            "the labelled rows of 'odd' differ",
        ),
        ({"splits": ["train"] * 100 + ["test"] * 20}, "the labelled rows of 'kind', 'odd' differ"),
        ({"layers": problem()[0] | {"fc": np.ones((ROWS, 6))}}, "the activations of 'fc' differ"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_question_is_refused_and_loses_nothing(begun, changes, message):
    wanted = rf"p\.h5\.parts holds finished layers of another fit: {message}.*start anew with `--overwrite`"
    with pytest.raises(ProbeFileError, match=wanted):
        fit(begun, **changes)
    assert fit(begun)[1][0].startswith("2 of 3")


class Slices:
    """A row source that has nothing but what one must have."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, rows):
        return self.rows[rows]


@pytest.mark.parametrize("given", [np.asarray, Slices, solvers.ConcatFeatures])
def test_a_single_row_that_changed_is_another_question(begun, given, monkeypatch):
    monkeypatch.setattr("solvers.probing.layer.question._HASHED_BYTES", 1000)  # several blocks
    layers = problem()[0]
    assert fit(begun, layers={name: given(rows) for name, rows in layers.items()})[1][0].startswith("2 of 3")
    for row in range(ROWS):
        changed = {name: rows.copy() for name, rows in layers.items()}
        changed["conv"][row, 5] += 5
        with pytest.raises(ProbeFileError, match="the activations of 'conv' differ"):
            fit(begun, layers={name: given(rows) for name, rows in changed.items()})


def test_where_a_fingerprint_vouches_for_the_rows_they_are_not_read(parts):
    class Unread(Slices):
        def __getitem__(self, rows):
            raise AssertionError("read")

    fit(parts, fingerprint="f00")
    layers = {name: Unread(rows) for name, rows in problem()[0].items()}
    assert fit(parts, layers=layers, fingerprint="f00")[1][0].startswith("3 of 3")


def test_overwrite_starts_anew_only_where_the_question_is_another(begun):
    assert fit(begun, overwrite=True)[1][0].startswith("2 of 3")
    probes, said = fit(begun, overwrite=True, C=[0.2, 2.0])
    assert said == []
    assert same(probes, fit(None, C=[0.2, 2.0])[0])
    assert json.loads((begun / "identity.json").read_text())["C"] == [0.2, 2.0]


def test_memory_and_device_are_no_part_of_the_question(begun):
    assert fit(begun, memory_bytes=10**9, command="other")[1][0].startswith("2 of 3")


@pytest.mark.parametrize("damage", ["truncated", "another layer", "no probe file"])
def test_a_damaged_part_is_fitted_again(begun, damage):
    part = begun / "layer-0001.h5"
    content = {
        "truncated": part.read_bytes()[:-100],
        "another layer": (begun / "layer-0000.h5").read_bytes(),
        "no probe file": b"mine",
    }[damage]
    part.write_bytes(content)
    probes, said = fit(begun)
    assert said[0].startswith("layer 'conv' is fitted again, as its part is not whole: ")
    assert said[1].startswith("1 of 3 layers are finished")
    assert same(probes, fit(None)[0])


def test_without_anyone_to_tell_the_lines_are_warnings(begun):
    with pytest.warns(UserWarning, match="2 of 3 layers are finished") as caught:
        fit(begun, notice=None)
    assert caught[0].filename == __file__


def test_an_identity_that_is_damaged(begun):
    (begun / "identity.json").write_text("{")
    with pytest.raises(ProbeFileError, match=r"another fit: its identity.json is missing or damaged; ask"):
        fit(begun)
    assert fit(begun, overwrite=True)[1] == []


def test_files_of_others_are_left_alone(parts, tmp_path):
    parts.mkdir()
    (parts / "mine.txt").write_text("mine")
    with pytest.raises(ProbeFileError, match=r"p\.h5\.parts is in the way: it holds files that no fit wrote"):
        fit(parts, overwrite=True)
    (parts / "mine.txt").unlink()
    probes, _ = fit(parts)
    (parts / "mine.txt").write_text("mine")
    probes.save(tmp_path / "p.h5")
    assert [file.name for file in parts.iterdir()] == ["mine.txt"]


def test_a_folder_that_can_not_be_made(tmp_path):
    with pytest.raises(
        ProbeFileError, match=r"cannot be kept in .*: No such file or directory; make its folder or"
    ):
        fit(tmp_path / "no" / "p.h5.parts")
    assert not any(tmp_path.iterdir())
