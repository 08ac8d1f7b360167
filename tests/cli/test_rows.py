"""`--row token` from the command line: a dump, and every command that reads it."""

import csv
import json

import numpy as np
import pytest

NET = """
import numpy as np
TABLE = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)

def net(batch):
    hidden = TABLE[batch["input_ids"]]
    return {"embedding": hidden, "pooled": hidden.mean(axis=1)}

def batches(seed, count):
    rng = np.random.default_rng(seed)
    for start in range(0, count, 8):
        lengths = rng.integers(1, 7, size=8)
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
        yield {"input_ids": rng.integers(0, 30, size=mask.shape), "attention_mask": mask}, lengths % 2

train, test = list(batches(0, 160)), list(batches(1, 40))
"""
DUMP = (
    "actstore dump net.py:net --data train=net.py:train --data test=net.py:test --row token --layers embedding"
)


@pytest.fixture
def tokens(folder, run):
    (folder / "net.py").write_text(NET)
    run(f"{DUMP} -o run.acts")
    return "run.acts"


def test_tokens_go_through_every_command(run, folder, tokens):
    about = json.loads(run(f"actstore info {tokens} --json").stdout)
    rows = about["rows"]
    assert rows > 400
    assert run(f"actstore info {tokens}").stdout.count("token") >= 1
    run(f"actstore verify {tokens}")
    run(f"actstore rows {tokens} -o rows.csv")
    with (folder / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == rows
    assert table[0]["id"] == f"{table[0]['group']}/{table[0]['position']}" == "train/0/0"
    run(f"actstore export {tokens} --layer embedding -o x.npz")
    with np.load("x.npz") as exported:
        assert exported["row_unit"] == "token"
        assert exported["groups"].tolist() == [row["group"] for row in table]
    np.save("even.npy", [int(row["position"]) % 2 for row in table])
    run(f"actstore label {tokens} even.npy")
    run("actstore pack run.acts -o packed.h5")
    run("probe fit packed.h5 --target even --C 1 -o probes.h5")
    (fitted,) = json.loads(run("probe show probes.h5 --json").stdout)["probes"]
    assert fitted["status"] == "converged"
    # No example straddles the splits: a tenth of those of train, with all their tokens, choose C.
    assert sum(fitted["rows"].values()) == rows
    assert fitted["rows"]["test"] == sum(row["split"] == "test" for row in table)


def test_a_pooled_layer_is_refused_in_one_line(refused, folder, tokens):
    line = refused(f"{DUMP} --layers pooled -o other.acts")
    assert "layers whose row counts differ: 'pooled' has the shape (5,)" in line
    assert not (folder / "other.acts").exists()


def test_a_pool_is_refused_in_one_line(refused, tokens):
    assert "has no positions to pool" in refused(f"{DUMP} --pool mean -o other.acts")
