"""Of two fits into one folder one writes; and what others put there is theirs."""

import errno
import os
import subprocess
import sys

import pytest

import solvers
from solvers.errors import ProbeFileError
from solvers.probing.fit_layers import FitInterrupted
from tests.solvers.test_parts import HOUSE, fit, same, stop_at


@pytest.fixture
def parts(tmp_path):
    return tmp_path / "p.h5.parts"


@pytest.fixture
def begun(parts):
    """Parts of a fit that was interrupted with two of three layers finished."""
    with pytest.raises(FitInterrupted):
        fit(parts, progress=stop_at("fc"))
    return parts


HOLD = (
    "import sys\n"
    "from tests.solvers.test_parts import fit\n"
    "def hold(progress):\n"
    "    if progress.layer == 'fc':\n"
    "        print('begun', flush=True)\n"
    "        sys.stdin.read()\n"
    "fit(sys.argv[1], progress=hold)[0].save(sys.argv[2])\n"
)


def test_of_two_processes_at_once_the_second_is_told_and_leaves_nothing(parts, tmp_path):
    command = [sys.executable, "-c", HOLD, str(parts), str(tmp_path / "p.h5")]
    with subprocess.Popen(command, cwd=HOUSE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"begun\n"
        there = sorted(os.listdir(parts))
        with pytest.raises(
            ProbeFileError, match=r"p\.h5\.parts is in use: another process writes it; wait for it, or"
        ):
            fit(parts)
        with pytest.raises(ProbeFileError, match="is in use"):
            fit(parts, C=[7.0], overwrite=True)
        assert sorted(os.listdir(parts)) == there
        first.communicate()
    assert first.returncode == 0
    assert os.listdir(tmp_path) == ["p.h5"]
    assert same(solvers.load(tmp_path / "p.h5"), fit(None)[0])


def test_probes_that_are_not_saved_yet_keep_other_processes_out(parts, tmp_path):
    probes, _ = fit(parts)
    command = [sys.executable, "-c", HOLD, str(parts), str(tmp_path / "q.h5")]
    done = subprocess.run(command, cwd=HOUSE, input=b"", capture_output=True, check=False)
    assert b"is in use: another process writes it" in done.stderr
    probes.save(tmp_path / "p.h5")
    assert os.listdir(tmp_path) == ["p.h5"]


def test_two_threads_at_once(parts):
    def within(progress):
        with pytest.raises(ProbeFileError, match="is in use: another thread writes it"):
            fit(parts)

    fit(parts, progress=within)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_a_file_system_cannot_lock(parts, tmp_path, monkeypatch, number):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("solvers.disk.folder_lock.fcntl.flock", no_locks)
    probes, _ = fit(parts)
    assert (parts / "lock.held").exists()
    probes.save(tmp_path / "p.h5")
    assert os.listdir(tmp_path) == ["p.h5"]
    parts.mkdir()
    (parts / "lock.held").touch()
    with pytest.raises(ProbeFileError, match=r"lock\.held says so: remove that file where none runs; wait"):
        fit(parts)


def test_a_part_of_another_question_is_fitted_again(begun, tmp_path):
    """The digest of the question goes with every part: names and keys alone do not tell it from others."""
    with pytest.raises(FitInterrupted):
        fit(tmp_path / "other.parts", C=[0.2, 2.0], progress=stop_at("fc"))
    (begun / "layer-0001.h5").write_bytes((tmp_path / "other.parts" / "layer-0001.h5").read_bytes())
    probes, said = fit(begun)
    assert "layer 'conv' is fitted again" in said[0]
    assert "was fitted for another question" in said[0]
    assert same(probes, fit(None)[0])


def test_layers_of_others_in_a_folder_of_that_name_are_left_alone(parts):
    parts.mkdir()
    (parts / "layer-0001.h5").write_bytes(b"features of mine")
    with pytest.raises(ProbeFileError, match="is in the way: it holds files that no fit wrote"):
        fit(parts, overwrite=True)
    assert [file.name for file in parts.iterdir()] == ["layer-0001.h5"]
