"""`probe fit` by several processes: by option or by what started them, each layer once, one probe file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import solvers

HOUSE = Path(__file__).parents[2]
FIT = "probe fit s.h5 --target sign --C 1"


def same(one, two):
    one, two = solvers.load(one), solvers.load(two)
    return list(one) == list(two) and all(
        one[key].weights.tobytes() == two[key].weights.tobytes()
        and one[key].intercept.tobytes() == two[key].intercept.tobytes()
        and one[key].scores == two[key].scores
        and one[key].proof.gap_nats == two[key].proof.gap_nats
        for key in one
    )


def test_the_first_rank_does_all_that_nobody_else_does_and_the_second_finds_it_done(run, store, folder):
    run(f"{FIT} -o alone.h5")
    first = run(f"{FIT} --rank 1 --world-size 2 -o p.h5")
    assert first.stdout.rstrip().endswith("rank 1 of 2 fitted 2 of 2 layers")
    before = (folder / "p.h5").read_bytes()
    second = run(f"{FIT} --rank 0 --world-size 2 -o p.h5 --json")
    document = json.loads(second.stdout)
    assert (document["rank"], document["world_size"], document["fitted"]) == (0, 2, 0)
    assert document["messages"] == ["p.h5 holds the probes of this fit already; nothing is left to fit"]
    assert len(document["probes"]) == 2
    assert (folder / "p.h5").read_bytes() == before
    assert same("p.h5", "alone.h5")
    assert not list(folder.glob("*.parts"))


def test_the_tasks_of_a_slurm_step_write_one_probe_file(run, store, folder):
    """As real processes, at once; `fitted` says that each layer was fitted by one of them."""
    run(f"{FIT} -o alone.h5")
    children = []
    for rank in range(2):
        step = {"SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "2"}
        environment = {**os.environ, **step, "PYTHONPATH": str(HOUSE)}
        command = [sys.executable, "-m", "solvers", *FIT.split()[1:], "-o", "p.h5", "--json"]
        children.append(
            subprocess.Popen(
                command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    documents = [json.loads(out) for out, _ in said]
    assert sum(document["fitted"] for document in documents) == 2
    assert [document["rank"] for document in documents] == [0, 1]
    assert same("p.h5", "alone.h5")
    assert not list(folder.glob("*.parts"))


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        ("--rank 0", {}, "--rank and --world-size come together"),
        ("--rank 2 --world-size 2", {}, "rank 2 of a world size of 2; expected a rank from 0"),
        ("", {"RANK": "3", "WORLD_SIZE": "2"}, "rank 3 of a world size of 2"),
        ("", {"RANK": "one", "WORLD_SIZE": "2"}, "the environment has RANK=one and WORLD_SIZE=2"),
    ],
)
def test_what_is_no_rank_is_wrong_usage(refused, store, monkeypatch, options, environment, says, folder):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert says in refused(f"{FIT} {options} -o p.h5", code=2)
    assert not list(folder.glob("p.h5*"))


def test_another_question_is_refused_before_anything_is_fitted(run, refused, store, folder):
    run(f"{FIT} --rank 0 --world-size 2 -o p.h5")
    before = (folder / "p.h5").read_bytes()
    again = "probe fit s.h5 --target sign --C 2 --rank 1 --world-size 2 -o p.h5"
    assert "p.h5 exists already; choose another name, or say `--overwrite`" in refused(again)
    assert (folder / "p.h5").read_bytes() == before
    run(f"{again} --overwrite")
    assert {probe.C for probe in solvers.load("p.h5").values()} == {2.0}


def test_a_layer_that_cannot_be_fitted_fails_every_rank(run, folder):
    np.savez("f.npz", x=np.full((40, 3), np.nan, np.float32), y=np.arange(40) % 2)
    line = "probe fit f.npz:x --target y=f.npz:y --C 1 --world-size 2 -o p.h5"
    for rank in (0, 1):
        assert "layer 'features' has no probe" in run(f"{line} --rank {rank}", code=1).stderr


def test_what_is_no_probe_file_is_never_replaced(refused, store, folder):
    (folder / "p.h5").write_text("mine")
    line = f"{FIT} --rank 0 --world-size 2 -o p.h5"
    assert "exists already" in refused(line)
    assert "is no probe file" in refused(f"{line} --overwrite")
    assert (folder / "p.h5").read_text() == "mine"
