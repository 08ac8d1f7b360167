"""Which share of a dump a process takes: by option, by what started it, by neither."""

import sys
from types import SimpleNamespace

import click
import pytest

from actstore.adapters.for_jax.processes import jax_process
from cli.ranks import rank_and_world_size

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2"}
STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_NTASKS": "3", "SLURM_STEP_NUM_TASKS": "3"}
INTERACTIVE = {
    "SLURM_STEP_ID": "4294967290",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "3",
    "SLURM_STEP_NUM_TASKS": "1",
}
BATCH_SCRIPT = {"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}


@pytest.mark.parametrize(
    ("options", "environment", "jax", "expected"),
    [
        ((None, None), {}, None, (0, 1)),
        ((4, 5), TORCHRUN | STEP, (3, 4), (4, 5)),
        ((0, 1), TORCHRUN | STEP, (3, 4), (0, 1)),
        ((None, None), TORCHRUN | STEP, (3, 4), (1, 2)),
        ((None, None), STEP, (3, 4), (3, 4)),
        ((None, None), STEP, None, (2, 3)),
        ((None, None), INTERACTIVE, None, (0, 1)),
        ((None, None), BATCH_SCRIPT, None, (0, 1)),
    ],
    ids=["nothing", "options", "options switch off", "torchrun", "jax", "srun", "salloc", "sbatch"],
)
def test_the_first_that_says_so_counts(options, environment, jax, expected):
    assert rank_and_world_size(*options, environment, lambda: jax) == expected


@pytest.mark.parametrize("options", [(1, None), (None, 2)])
def test_options_come_together_whatever_the_environment_says(options):
    with pytest.raises(click.UsageError, match="--rank and --world-size come together"):
        rank_and_world_size(*options, TORCHRUN, lambda: None)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "RANK=1 and no WORLD_SIZE; expected two whole numbers"),
        ({"WORLD_SIZE": "2"}, "no RANK and WORLD_SIZE=2"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK=one and WORLD_SIZE=2"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "no SLURM_PROCID and SLURM_STEP_NUM_TASKS=2"),
    ],
)
def test_half_an_environment_is_refused(environment, message):
    with pytest.raises(click.UsageError, match=message):
        rank_and_world_size(None, None, environment, lambda: None)


def test_jax_is_asked_only_where_its_processes_were_joined(monkeypatch):
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert jax_process() is None
    joined = [False]
    jax = SimpleNamespace(
        distributed=SimpleNamespace(is_initialized=lambda: joined[0]),
        process_index=lambda: 3,
        process_count=lambda: 4,
    )
    monkeypatch.setitem(sys.modules, "jax", jax)
    assert jax_process() is None
    joined[0] = True
    assert jax_process() == (3, 4)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(distributed=SimpleNamespace()))
    assert jax_process() is None, "an older one, which cannot be asked"


def test_the_tasks_of_a_slurm_step_write_one_store(run, net, monkeypatch):
    line = f"actstore dump {net} --data train.npz:x --batch-size 100 --layers hidden -o run.acts"
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    for rank in (0, 1):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        assert f"rank {rank} of 2 is done" in run(line).stdout or rank == 1
    assert "300 rows" in run("actstore info run.acts").stdout
    monkeypatch.setenv("SLURM_PROCID", "7")
    assert "rank 7 of a world size of 2" in run(f"{line} --overwrite", code=2).stderr
