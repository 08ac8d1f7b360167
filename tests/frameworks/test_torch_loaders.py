"""What real DataLoaders do to the order and the number of rows is said, or refused."""

import subprocess
import sys

import numpy as np
import pytest

import actstore
from actstore.errors import SourceError
from actstore.sources import split_data
from actstore.sources.python import RowOrderWarning

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
ROWS = 24

FILE = """
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset
x = torch.arange(48.0).reshape(24, 2)
data = TensorDataset(x)
plain = DataLoader(data, batch_size=5)
shuffled = DataLoader(data, batch_size=5, shuffle=True)
sampled = DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 5, drop_last=False))
subset = DataLoader(data, batch_size=5, sampler=torch.utils.data.SubsetRandomSampler(range(24)))
"""


WORKERS = """
import sys, warnings
import torch
import actstore

ROWS = 24


class Stream(torch.utils.data.IterableDataset):  # all rows, whoever asks; divided among the workers that ask
    def __init__(self, divided):
        self.divided = divided

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        first, every = (worker.id, worker.num_workers) if self.divided and worker else (0, 1)
        return iter(torch.arange(2.0 * ROWS).reshape(ROWS, 2)[first::every])


loader = torch.utils.data.DataLoader(Stream(sys.argv[2] == "True"), batch_size=4, num_workers=2)
with warnings.catch_warnings(record=True) as caught, actstore.create(sys.argv[1], ["0"]) as store:
    warnings.simplefilter("always")
    store.dump(torch.nn.Sequential(torch.nn.Linear(2, 2)), loader)
print(actstore.open(sys.argv[1]).rows, *(warning.message for warning in caught), sep="\\n")
"""


@pytest.mark.parametrize("name", ["shuffled", "sampled", "subset"])
def test_a_shuffled_loader_takes_no_labels_from_a_file(tmp_path, name):
    (tmp_path / "d.py").write_text(FILE)
    np.save(tmp_path / "y.npy", np.arange(ROWS) % 2)
    with pytest.raises(SourceError, match=rf"d.py:{name} shuffles its rows \(RandomSampler\)"):
        split_data([f"{tmp_path}/d.py:{name}"], [f"y={tmp_path}/y.npy"])
    (item,) = split_data([f"{tmp_path}/d.py:plain"], [f"y={tmp_path}/y.npy"])
    assert not item.source.shuffled


def test_a_shuffled_loader_is_warned_of(tmp_path):
    data = torch.utils.data.TensorDataset(torch.zeros(8, 2), torch.arange(8) % 2)
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    with (
        pytest.warns(RowOrderWarning, match="RandomSampler"),
        actstore.create(tmp_path / "a.acts", ["0"]) as store,
    ):
        store.dump(torch.nn.Sequential(torch.nn.Linear(2, 2)), loader)


@pytest.mark.parametrize("divided", [False, True])
def test_workers_that_all_read_everything_are_warned_of(tmp_path, divided):
    """In an interpreter of its own: workers are forks, which JAX, if it is loaded here, forbids."""
    command = [sys.executable, "-c", WORKERS, str(tmp_path / "a.acts"), str(divided)]
    rows, *warned = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    said = "24 of 48 rows of loader DataLoader are in batches whose inputs"
    assert int(rows) == (ROWS if divided else 2 * ROWS)
    assert any(said in line for line in warned) is not divided
