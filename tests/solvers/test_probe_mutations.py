"""Probe files and parts are damaged at many places: one line, or what stands in the file; never a crash."""

import h5py
import pytest

import solvers
from solvers.probing import probe_file
from tests.actstore.mutation_pool import run
from tests.solvers import mutation_probes
from tests.solvers.mutation_probes import KINDS, examine, fitted

CASES = 400
SEED = 2016_10_02


@pytest.fixture(scope="module")
def cases():
    """`make fuzz` runs more."""
    return run(CASES, SEED, workers=2, module="tests.solvers.mutation_probes")


@pytest.mark.xfail(
    int(h5py.version.hdf5_version.partition(".")[0]) < 2,
    reason="the HDF5 library before 2.0 crashes on some damaged files (docs/probes.md)",
    strict=True,
)
def test_damage_is_one_line_or_what_stands_in_the_file(cases):
    assert len(cases) == CASES
    assert [case for case in cases if case.outcome != "found"] == []


def test_every_kind_was_tried_and_most_were_refused(cases):
    counts = {kind: [case.detail for case in cases if case.kind == kind] for kind in KINDS}
    assert min(map(len, counts.values())) >= 40
    assert counts["probes: cut"].count("refused") > 30
    assert counts["probes: header"].count("refused") > 20
    assert "went on" in counts["probes: parts"]


# -- the engine itself: one that calls everything found proves nothing


def test_a_number_that_is_not_in_the_file_is_told(tmp_path, monkeypatch):
    fitted(tmp_path / "p.h5")
    assert examine(tmp_path / "p.h5") == ("found", "read")
    read = probe_file.FileArrays.read
    monkeypatch.setattr(
        probe_file.FileArrays,
        "read",
        lambda file, name: read(file, name) + 0.5 if name == "weights.0" else read(file, name),
    )
    outcome, detail = examine(tmp_path / "p.h5")
    assert outcome == "missed"
    assert "weights" in detail


def test_what_is_raised_is_told(tmp_path, monkeypatch):
    def load(path):
        raise ZeroDivisionError

    monkeypatch.setattr(solvers, "load", load)
    assert mutation_probes.examine(tmp_path)[0] == "raised"
