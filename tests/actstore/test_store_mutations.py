"""Stores are damaged at many places, and lied about: all of it is found, and nothing crashes, hangs or strays."""

from __future__ import annotations

import subprocess
import sys

import pytest

import actstore
from actstore.store.verifying.report import Damage, Report
from tests.actstore import mutation_pool, mutation_worker
from tests.actstore.mutation_bytes import KINDS
from tests.actstore.mutation_pool import run

CASES = 700
SEED = 2016_10_01


@pytest.fixture(scope="module")
def cases():
    """`make fuzz` runs 20,000."""
    return run(CASES, SEED, workers=2)


def test_every_mutation_is_found_in_the_file_that_it_changed(cases):
    assert len(cases) == CASES
    assert [case for case in cases if case.outcome != "found"] == []


def test_every_kind_was_tried_often_enough_to_mean_something(cases):
    counts = {kind: sum(case.kind == kind for case in cases) for kind in [*KINDS, "lying documents"]}
    assert min(counts.values()) >= 15, counts
    assert sum(counts.values()) - counts["lying documents"] >= 500
    assert {case.what.partition(":")[0] for case in cases} == {"whole.acts", "single.h5"}


# -- the engine itself: one that calls everything found proves nothing


@pytest.mark.parametrize("outcome", ["found", "missed", "raised"])
def test_what_is_missed_or_raised_is_told_apart(tmp_path, monkeypatch, outcome):
    path = tmp_path / "store.json"
    path.write_text("{}")
    damages = [Damage(path, "document", "changed")] if outcome == "found" else []

    def verify(*args, **options):
        if outcome == "raised":
            raise ZeroDivisionError
        return Report(tmp_path, 1, 1, complete=True, damages=damages, leftovers=[])

    monkeypatch.setattr(actstore, "verify", verify)
    assert mutation_worker.examine(tmp_path, {path})[0] == outcome


@pytest.mark.parametrize(("code", "outcome"), [("os.abort()", "crashed"), ("time.sleep(60)", "hung")])
def test_a_worker_that_dies_or_hangs_is_replaced(tmp_path, monkeypatch, code, outcome):
    """Its last case is counted as such, and the cases after it go on in another process."""
    began = 'print(\'{"kind": "k", "what": "w"}\', flush=True)'
    script = f"import os, sys, time\nfor line in sys.stdin:\n  {began}\n  {code}"
    monkeypatch.setattr(mutation_pool, "COMMAND", [sys.executable, "-c", script])
    monkeypatch.setattr(mutation_pool, "HUNG_S", 0.2)
    cases = mutation_pool.run(2, seed=1, workers=1)
    assert [(case.number, case.outcome) for case in cases] == [(0, outcome), (1, outcome)]


def test_files_outside_the_store_are_seen_to_be_opened(tmp_path):
    script = (
        "from pathlib import Path; from tests.actstore.mutation_worker import Watch; w = Watch();"
        "w.inside = Path('/nowhere'); open('/etc/hostname', 'rb').close(); w.inside = None; print(w.strays)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=mutation_pool.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['/etc/hostname']\n"
