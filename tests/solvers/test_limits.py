"""What a process may use: its cgroup, its environment, the number of threads, and the memory that was asked for."""

import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import solvers
from solvers.errors import EngineError
from solvers.workers import limits
from solvers.workers.threads import Threads, at_most

GB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 8 cores and 16 GB, nothing of them used; its files are written by path."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(limits, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "_OWN", tmp_path / "own")
    monkeypatch.setattr(limits, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(limits.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write({"meminfo": f"MemTotal: {32 << 20} kB\nMemAvailable: {16 << 20} kB\n", "cgroup/none": ""})
    return write


def cores():
    return limits.cores.__wrapped__()


def test_without_a_cgroup_it_is_the_machine(machine):
    assert (cores(), limits.free_bytes()) == (8, 16 * GB)
    machine({"own": "0::/\n"})
    assert (cores(), limits.free_bytes()) == (8, 16 * GB)


@pytest.mark.parametrize(
    ("said", "expected"), [("max 100000", 8), ("300000 100000", 3), ("150000 100000", 2), ("5000 100000", 1)]
)
def test_a_quota_of_version_2_is_rounded_up(machine, said, expected):
    machine({"own": "0::/slurm/job\n", "cgroup/slurm/job/cpu.max": said})
    assert cores() == expected


def test_the_groups_around_it_bound_it_too(machine):
    machine(
        {
            "own": "0::/slurm/job/step\n",
            "cgroup/slurm/job/step/memory.max": "max",
            "cgroup/slurm/job/step/memory.current": "1000",
            "cgroup/slurm/job/memory.max": str(4 * GB),
            "cgroup/slurm/job/memory.current": str(3 * GB),
            "cgroup/slurm/job/memory.stat": f"anon {2 * GB}\ninactive_file {GB // 2}\n",
            "cgroup/slurm/job/cpu.max": "200000 100000",
        }
    )
    assert (cores(), limits.free_bytes()) == (2, GB + GB // 2)


def test_a_group_that_is_full_leaves_nothing_and_no_less(machine):
    machine({"own": "0::/\n", "cgroup/memory.max": str(GB), "cgroup/memory.current": str(GB + 4096)})
    assert limits.free_bytes() == 0


def test_version_1_has_a_folder_for_each_controller(machine):
    machine(
        {
            "own": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n0::/\n",
            "cgroup/memory/docker/x/memory.limit_in_bytes": str(2 * GB),
            "cgroup/memory/docker/x/memory.usage_in_bytes": str(GB),
            "cgroup/memory/docker/x/memory.stat": f"inactive_file 5\ntotal_inactive_file {GB // 4}\n",
            "cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
            "cgroup/memory/memory.usage_in_bytes": str(9 * GB),
            "cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "400000",
            "cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
            "cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
        }
    )
    assert (cores(), limits.free_bytes()) == (4, GB + GB // 4)


def test_in_a_container_the_path_is_the_hosts_and_the_root_stands_for_it(machine):
    machine({"own": "0::/docker/not-mounted\n", "cgroup/memory.max": str(GB), "cgroup/memory.current": "0"})
    assert limits.free_bytes() == GB


@pytest.mark.parametrize(
    ("said", "expected"), [("2", 2), ("3,1", 3), ("64", 8), ("0", 1), ("", 8), ("many", 8)]
)
def test_omp_num_threads_is_heeded(machine, monkeypatch, said, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert cores() == expected


def test_a_process_heeds_what_it_was_started_with():
    code = "from solvers.arrays import NUMPY; print(NUMPY.workers.count)"
    for asked in ("1", "2"):
        said = subprocess.run(
            ["env", f"OMP_NUM_THREADS={asked}", sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(said.stdout) <= int(asked)


def blas_threads():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_threads_are_those_asked_for_and_it_ends_with_the_fit(make_rows):
    seen = []
    rows, labels = make_rows(300, 5, 2)
    before = Threads().count
    solvers.fit(rows, labels, threads=3, progress=lambda _: seen.append((Threads().count, Threads(1).count)))
    assert set(seen) == {(3, 1)}
    solvers.fit_layers(
        {"a": rows}, {"t": labels}, C=1.0, threads=5, progress=lambda _: seen.append(Threads().count)
    )
    assert set(seen[1:]) - {(3, 1)} == {5}
    assert Threads().count == before
    with at_most(1):
        assert blas_threads() == {1}
        with at_most(None):
            assert Threads().count == before


def test_the_number_of_threads_changes_only_rounding(make_rows):
    rows, labels = make_rows(4000, 40, 3)
    one, four = (solvers.fit(rows, labels, threads=count, engine="numpy") for count in (1, 4))
    np.testing.assert_allclose(one.weights, four.weights, atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "width", "said"),
    [(2, 5, "2 classes on 5 columns needs 1,920 bytes"), (300, 4, "300 classes on 4 columns needs")],
)
def test_less_memory_than_a_probe_needs_is_refused_with_the_number(classes, width, said):
    rows = np.random.default_rng(0).standard_normal((2 * classes, width))
    labels = np.arange(2 * classes) % classes
    with pytest.raises(
        EngineError, match=rf"{said}.* beside its rows but may take 1,000; allow more"
    ) as refused:
        solvers.fit(rows, labels, engine="numpy", memory_bytes=1000)
    needed = int(str(refused.value).split(" needs ")[1].split(" bytes")[0].replace(",", ""))
    assert solvers.fit(rows, labels, engine="numpy", memory_bytes=needed).status == "converged"
