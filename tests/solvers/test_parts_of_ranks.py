"""Processes that share the layers of a fit through one folder: each layer once, whoever dies, and the same probes."""

import errno
import os
import signal
import threading
import time

import numpy as np
import pytest

import solvers
from solvers.disk.file_lock import FileLock
from solvers.errors import ProbeFileError, ProblemError
from solvers.probing.finished import together
from solvers.probing.finished.folder import TURN, claim_file
from solvers.probing.fit_layers import FitInterrupted
from tests.solvers.test_parts import NAMES, fit, problem, same, stop_at

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # forks are on purpose


@pytest.fixture
def parts(tmp_path):
    return tmp_path / "p.h5.parts"


def rank(parts, number, world_size=2, **changes):
    """A rank's fit in this process; gives the probes and what was noticed."""
    return fit(parts, rank=number, world_size=world_size, **changes)


class Forked:
    """A rank in a process of its own, held as it begins the layer ``at`` until it is told to go on, or killed."""

    def __init__(self, parts, number, at):
        (self.told, tell), (wait, self.go) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(tell)
            os.close(wait)
            assert os.read(self.told, 6) == b"begun\n"
            return
        status = 1
        try:
            os.close(self.told)
            os.close(self.go)

            def hold(progress):
                if progress.layer == at and progress.fit is None:
                    os.write(tell, b"begun\n")
                    os.read(wait, 1)

            probes, _ = rank(parts, number, progress=hold)
            probes.save(parts.with_suffix(""))
            os.write(tell, str(sorted(probes.parts.fitted)).encode())
            status = 0
        finally:
            os._exit(status)

    def go_on(self):
        os.close(self.go)

    def fitted(self):
        """What it fitted, once it has ended."""
        with os.fdopen(self.told) as told:
            said = told.read()
        assert os.waitpid(self.pid, 0)[1] == 0
        return said

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(self.pid, 0)[1]) == signal.SIGKILL
        os.close(self.told)
        os.close(self.go)


def test_each_layer_is_fitted_once_and_the_probes_are_those_of_one_process(parts, tmp_path):
    other = Forked(parts, 0, "input")

    def then(progress):
        if progress.layer == "fc" and progress.fit is None:  # then this one waits for the other
            other.go_on()

    probes, said = rank(parts, 1, progress=then)
    probes.save(tmp_path / "p.h5")
    assert other.fitted() == "[0]"
    assert probes.parts.fitted == {1, 2}
    assert said == []
    assert os.listdir(tmp_path) == ["p.h5"]
    assert same(probes, fit(None)[0])
    assert same(solvers.load(tmp_path / "p.h5"), fit(None)[0])


def test_the_layer_of_a_rank_that_is_killed_is_taken_over(parts, tmp_path):
    other = Forked(parts, 0, "input")

    def then(progress):
        if progress.layer == "fc" and progress.fit is None:
            other.kill()

    probes, _ = rank(parts, 1, progress=then)
    probes.save(tmp_path / "p.h5")
    assert probes.parts.fitted == {0, 1, 2}
    assert os.listdir(tmp_path) == ["p.h5"]
    assert same(probes, fit(None)[0])


def test_all_ranks_killed_and_the_same_command_again(parts, tmp_path):
    ranks = [Forked(parts, 0, "fc"), Forked(parts, 1, "conv")]
    for each in ranks:
        each.kill()
    assert sorted(path.name for path in parts.glob("*.h5")) == ["layer-0000.h5"]
    probes, said = rank(parts, 1)
    assert said == [f"1 of 3 layers are finished in {parts} already; going on with the others"]
    assert probes.parts.fitted == {1, 2}
    probes.save(tmp_path / "p.h5")
    assert os.listdir(tmp_path) == ["p.h5"]
    assert same(probes, fit(None)[0])


def test_what_ranks_left_one_process_goes_on_with_and_the_other_way_round(parts, tmp_path):
    Forked(parts, 0, "fc").kill()
    probes, said = fit(parts)
    assert said[0].startswith("1 of 3")
    probes.save(tmp_path / "p.h5")
    assert os.listdir(tmp_path) == ["p.h5"]
    with pytest.raises(FitInterrupted):
        fit(tmp_path / "q.h5.parts", progress=stop_at("fc"))
    again, said = rank(tmp_path / "q.h5.parts", 0)
    assert said[0].startswith("2 of 3")
    assert same(probes, again)


def test_locks_that_nobody_holds_never_block(parts):
    Forked(parts, 0, "input").kill()
    for name in ("lock", TURN, *(f"layer-000{number}.lock" for number in range(3))):
        (parts / name).touch()
    begun_s = time.monotonic()
    probes, _ = rank(parts, 1)
    assert probes.parts.fitted == {0, 1, 2}
    assert time.monotonic() - begun_s < 20


def test_a_forked_child_does_not_hold_on_to_a_layer(parts):
    """It has a copy of the descriptor, by which the lock would outlive the rank."""
    parts.mkdir()
    lock = FileLock.take(claim_file(parts, 0))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    assert FileLock.take(claim_file(parts, 0)) is None
    lock.release()
    free = FileLock.take(claim_file(parts, 0))
    os.close(writing)
    os.close(reading)
    os.waitpid(child, 0)
    assert free is not None
    free.release()


def at_once(parts, world_size, **changes):
    """Ranks as threads of this process. Gives what each returned."""
    found, failed = {}, []

    def one(number):
        try:
            found[number] = rank(parts, number, world_size, **changes)[0]
        except Exception as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    return [found[number] for number in range(world_size)]


STEPS = {step: {name: rows + step * 0.01 for name, rows in problem()[0].items()} for step in (0, 5, 9)}
NAN = problem()[0] | {"conv": np.full((120, 6), np.nan)}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layers": STEPS},
        {"one_C": True},
        {"one_C": True, "layers": STEPS},
        {"feature_subset": 4, "seeds": 3},
        {"split_features": 2},
        {"layers": NAN},
    ],
    ids=["layers", "steps", "one C", "one C of steps", "draws", "slices", "a layer without a probe"],
)
def test_ranks_fit_what_one_process_fits(parts, tmp_path, changes):
    alone, _ = fit(None, **changes)
    every = at_once(parts, 3, **changes)
    for probes in every:
        assert same(probes, alone)
        assert probes.failures == alone.failures
        assert [probe.proof.chosen for probe in probes.values()] == [
            probe.proof.chosen for probe in alone.values()
        ]
    if "one_C" not in changes:
        fitted = sorted(number for probes in every for number in probes.parts.fitted)
        assert fitted == list(range(len(fitted)))
        assert len(fitted) == len(alone) // 2 + len(alone.failures)
    for probes in every:
        probes.save(tmp_path / "p.h5")
    assert os.listdir(tmp_path) == ["p.h5"]
    assert same(solvers.load(tmp_path / "p.h5"), alone)


# -- other questions, other fits


def test_a_rank_of_another_question_is_refused_whatever_it_would_replace(parts):
    def within(progress):
        if progress.layer == "conv" and progress.fit is None:
            for overwrite in (False, True):
                with pytest.raises(
                    ProbeFileError, match=r"p\.h5\.parts is in use by ranks of another fit: C was .* join"
                ):
                    rank(parts, 1, C=[7.0], overwrite=overwrite)
            with pytest.raises(ProbeFileError, match="is in use: another process writes it"):
                fit(parts)

    probes, _ = rank(parts, 0, progress=within)
    assert same(probes, fit(None)[0])


def test_what_ranks_of_another_question_left_is_kept_unless_overwritten(parts):
    Forked(parts, 0, "fc").kill()
    there = sorted(os.listdir(parts))
    with pytest.raises(ProbeFileError, match=r"holds finished layers of another fit: C was \[0.1, 1.0\] there"):
        rank(parts, 0, C=[0.2, 2.0])
    assert sorted(os.listdir(parts)) == there
    probes, said = rank(parts, 0, C=[0.2, 2.0], overwrite=True)
    assert said == []
    assert same(probes, fit(None, C=[0.2, 2.0])[0])


def test_a_rank_beside_a_fit_of_one_process_is_refused(parts):
    def within(progress):
        with pytest.raises(ProbeFileError, match=r"is in use: another process fits there alone; wait for it"):
            rank(parts, 1)

    assert same(fit(parts, progress=within)[0], fit(None)[0])


def test_a_rank_that_is_late_finds_the_probes(parts, tmp_path):
    probes, _ = rank(parts, 0)
    probes.save(tmp_path / "p.h5")
    for overwrite in (False, True):
        late, said = rank(parts, 1, overwrite=overwrite, progress=stop_at("input"))
        assert said == ["p.h5 holds the probes of this fit already; nothing is left to fit"]
        assert same(late, probes)
        late.save(tmp_path / "p.h5")
        assert os.listdir(tmp_path) == ["p.h5"]


def test_probes_of_another_question_are_refused_before_anything_is_fitted(parts, tmp_path):
    fit(None)[0].save(tmp_path / "p.h5")
    before = (tmp_path / "p.h5").read_bytes()
    with pytest.raises(
        ProbeFileError, match=r"p\.h5 exists already; choose another name, or say `--overwrite`"
    ):
        rank(parts, 0, progress=stop_at("input"))
    assert os.listdir(tmp_path) == ["p.h5"]
    assert (tmp_path / "p.h5").read_bytes() == before
    probes, _ = rank(parts, 0, overwrite=True)
    probes.save(tmp_path / "p.h5", overwrite=True)
    assert os.listdir(tmp_path) == ["p.h5"]


@pytest.mark.parametrize("change", [lambda probes: probes.renamed({"fc": "cf"})])
def test_probes_that_were_changed_are_not_taken_for_those_of_the_fit(parts, tmp_path, change):
    change(rank(parts, 0)[0]).save(tmp_path / "p.h5")
    with pytest.raises(ProbeFileError, match="exists already"):
        rank(parts, 1)


def test_the_layers_of_another_fit_that_was_begun_over_published_probes_stay(parts, tmp_path):
    rank(parts, 0)[0].save(tmp_path / "p.h5")
    with pytest.raises(FitInterrupted):
        fit(parts, C=[0.2, 2.0], progress=stop_at("fc"))
    assert rank(parts, 1)[1] == ["p.h5 holds the probes of this fit already; nothing is left to fit"]
    assert fit(parts, C=[0.2, 2.0])[1][0].startswith("2 of 3")


# -- ends


def test_killed_between_publishing_and_removing(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(together.Together, "_leave", lambda *_, **__: None)
    rank(parts, 0)[0].save(tmp_path / "p.h5")
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["p.h5", "p.h5.parts"]
    rank(parts, 1)[0].save(tmp_path / "p.h5")
    assert os.listdir(tmp_path) == ["p.h5"]


def test_ctrl_c_while_it_waits(parts, monkeypatch):
    held = []

    def then(progress):
        held.append(FileLock.take(claim_file(parts, 0)))  # as another rank would

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("solvers.probing.finished.parts.time.sleep", interrupt)
    with pytest.raises(
        FitInterrupted, match=r"while other ranks fit the last layers, with 2 of 3 layers fitted, k"
    ):
        rank(parts, 1, progress=then)
    monkeypatch.undo()
    held[0].release()
    assert rank(parts, 1)[1][0].startswith("2 of 3")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "Input/output error")])
def test_a_rank_that_ends_early_leaves_its_layer_to_others(parts, error):
    with pytest.raises((FitInterrupted, OSError)):
        rank(parts, 0, progress=stop_at("input", error))
    assert not parts.exists()
    with pytest.raises((FitInterrupted, OSError)):
        rank(parts, 0, progress=stop_at("fc", error))
    assert rank(parts, 1)[1][0].startswith("1 of 3")


def test_a_full_disk_as_the_probes_are_saved(parts, tmp_path, monkeypatch):
    probes, _ = rank(parts, 0)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("solvers.disk.new_file.os.fsync", full)
    with pytest.raises(ProbeFileError, match="No space left on device; make room") as caught:
        probes.save(tmp_path / "p.h5")
    monkeypatch.undo()
    assert caught.value.__notes__ == [
        f"3 of 3 layers are finished and kept in {parts}; the same command goes on from there"
    ]
    assert rank(parts, 1)[1][0].startswith("3 of 3")


@pytest.mark.parametrize("damage", [b"mine", b""])
def test_a_part_that_is_damaged_is_fitted_again(parts, damage):
    Forked(parts, 0, "fc").kill()
    (parts / "layer-0000.h5").write_bytes(damage)
    probes, said = rank(parts, 1)
    assert said[0].startswith("layer 'input' is fitted again, as its part is not whole: ")
    assert same(probes, fit(None)[0])


def test_where_a_file_system_cannot_lock(parts, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("solvers.disk.file_lock.fcntl.flock", no_locks)
    with pytest.raises(
        ProbeFileError,
        match=r"a file system that cannot lock \(No locks available\), by which ranks share layers",
    ):
        rank(parts, 0)
    assert not any(tmp_path.iterdir())


def test_files_of_others_are_left_alone(parts):
    parts.mkdir()
    (parts / "mine.txt").write_text("mine")
    with pytest.raises(ProbeFileError, match="it holds files that no fit wrote"):
        rank(parts, 0, overwrite=True)
    assert os.listdir(parts) == ["mine.txt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"rank": 2, "world_size": 2},
            "rank 2 of a world size of 2; expected a rank from 0 to the world size less",
        ),
        ({"rank": 0}, "rank 0 of a world size of None"),
        ({"world_size": 2}, "rank None of a world size of 2"),
        ({"rank": -1, "world_size": 2}, "rank -1 of a world size of 2"),
        ({"rank": 0.5, "world_size": 2}, r"rank 0\.5 of a world size of 2"),
        ({"rank": True, "world_size": 2}, "rank True of a world size of 2"),
        (
            {"rank": 0, "world_size": 2, "parts": None},
            r"parts is None; ranks share .* give parts='PROBES\.parts'",
        ),
        ({"rank": 0, "world_size": 2, "parts": "there"}, r"parts is 'there'; ranks share"),
        ({"rank": 0, "world_size": 2, "parts": ".parts"}, r"parts is '\.parts'; ranks share"),
    ],
)
def test_what_is_no_rank(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemError, match=message):
        fit(**{"parts": "p.h5.parts"} | given)
    assert not any(tmp_path.iterdir())


def test_a_world_of_one_needs_no_folder():
    assert list(fit(None, rank=0, world_size=1)[0]) == list(fit(None)[0])
    assert tuple(dict.fromkeys(layer for layer, *_ in fit(None)[0])) == NAMES
