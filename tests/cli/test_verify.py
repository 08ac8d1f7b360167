"""`actstore verify`: one line per damage, and the exit code."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from actstore import Captured, RowBatch, Writer
from actstore.store.verifying.report import VerifyProgress
from cli.shared import ProgressLine
from cli.store.verify import _shown_on


@pytest.fixture(params=["s.acts", "s.h5"])
def store(request, folder):
    data = np.arange(60, dtype="f4").reshape(20, 3)
    with Writer(request.param) as writer:
        writer.append(
            RowBatch({"fc1": Captured(data, "float32", ("f",))}, [f"r{n}" for n in range(20)], [""] * 20, {})
        )
    return request.param


def damage(folder, store):
    """Flip a bit of the last activation. Returns the file's name as it is printed."""
    path = folder / store if store.endswith(".h5") else folder / store / "steps/0/rank-0000/shard-000000.h5"
    data = bytearray(path.read_bytes())
    place = bytes(data).index(np.float32(59).tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    return store if path == folder / store else "steps/0/rank-0000/shard-000000.h5"


def test_a_sound_store_is_said_to_be_sound(run, store):
    output = run(f"actstore verify {store}").output
    assert output.startswith("20 rows, ")
    assert output.endswith(" bytes: every byte is as it was written\n")


def test_damage_is_printed_with_its_place_and_exits_1(run, folder, store):
    name = damage(folder, store)
    lines = run(f"actstore verify {store}", code=1).output.splitlines()
    assert lines == [
        f"{name}: layer 'fc1', rows 0 to 19: these bytes are not those that were written",
        f"{store}: 1 damage; restore what is damaged from a copy",
    ]


def test_json_has_all_of_it(run, folder, store):
    assert json.loads(run(f"actstore verify {store} --json").output)["damages"] == []
    damage(folder, store)
    found = json.loads(run(f"actstore verify {store} --json", code=1).output)
    assert (found["rows"], found["complete"], len(found["damages"])) == (20, True, 1)
    assert found["damages"][0]["place"] == "layer 'fc1', rows 0 to 19"


def test_an_unfinished_store_says_so(run, folder):
    data = np.zeros((20, 3), "f4")
    writer = Writer("s.acts", shard_bytes=100)
    writer.append(
        RowBatch({"fc1": Captured(data, "float32", ("f",))}, [f"r{n}" for n in range(20)], [""] * 20, {})
    )
    writer.abandon()
    (folder / "s.acts/steps/0/rank-0000/shard-000009.h5.tmp").touch()
    lines = run("actstore verify s.acts").output.splitlines()
    assert lines[0] == "s.acts: 1 file left over from an interrupted writer, which belongs to no row"
    assert lines[1].startswith("20 rows sealed; the store is unfinished, ")
    assert lines[1].endswith(" bytes: every byte is as it was written")


def test_what_is_no_store_is_one_line(refused):
    assert "none.acts cannot be opened" in refused("actstore verify none.acts")


def test_progress_says_how_much_and_how_fast(monkeypatch):
    shown = []
    line = ProgressLine()
    monkeypatch.setattr(line, "show", shown.append)
    _shown_on(line)(VerifyProgress(2_500_000, 5_000_000, Path("a/shard-000001.h5")))
    assert re.fullmatch(r"2\.5 MB of 5\.0 MB, [0-9.]+ [kMGT]?B/s: shard-000001\.h5", shown[0])
