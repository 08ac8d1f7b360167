"""The way of a batch, walked: the rooms that a dump enters for one, and that no call climbs (docs/architecture.md)."""

import sys
import tomllib
from pathlib import Path

import numpy as np

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData
from actstore.sources.python import from_object

ROOT = Path(actstore.__file__).parent
INPUTS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def model(batch):
    return {"a": batch * 2, "b": batch[:, None] * np.ones((1, 3, 1), np.float32)}


def floors():
    """Each room with its height, as the contracts of pyproject.toml have it."""
    contracts = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = {contract["name"]: contract.get("layers", []) for contract in contracts}
    heights = {}
    for height, line in enumerate(reversed(named["floors of actstore"])):
        for room in line.split(" : "):
            heights[room.removeprefix("actstore.")] = float(height)
    within = named["floors of the store"]
    for step, room in enumerate(reversed(within)):
        heights[room.removeprefix("actstore.")] = heights["store"] + step / 100
    return heights


def room_of(frame):
    try:
        parts = Path(frame.f_code.co_filename).relative_to(ROOT).with_suffix("").parts
    except ValueError:
        return None
    return ".".join(parts[:2]) if parts[0] == "store" else parts[0]


def caller(frame):
    above = frame.f_back
    while above is not None and room_of(above) is None:
        above = above.f_back
    return None if above is None else room_of(above)


def walked(out):
    """The rooms of every call of the second batch, each with the room of its caller; until it is handed to a shard."""
    steps, batches = [], []

    def see(frame, event, _argument):
        if event == "call" and len(batches) == 1 and (room := room_of(frame)) is not None:
            steps.append((caller(frame), room))

    sys.setprofile(see)
    try:
        settings = DumpSettings(("**",), 10, reductions=ReductionSettings(dtype="float16"), selfcheck=False)
        dump(model, [SplitData("", from_object(INPUTS, "inputs"))], out, settings, batches.append).close()
    finally:
        sys.setprofile(None)
    return steps


def test_a_batch_passes_at_most_eight_rooms_from_adapter_to_shard_and_no_call_climbs(tmp_path):
    steps, heights = walked(tmp_path / "run.acts"), floors()
    rooms = list(dict.fromkeys(room for _, room in steps))
    from_adapter = rooms[rooms.index("adapters") :]
    assert {"adapters", "reductions", "store.writing", "store.documents"} <= set(from_adapter)
    assert len({*from_adapter, "arrays", "dumping"}) <= 8, rooms
    assert [step for step in steps if step[0] is not None and heights[step[1]] > heights[step[0]]] == []


def test_going_back_and_forth_between_rooms_is_bounded(tmp_path):
    """Two layers that are cast: 32 steps when every array was asked for in two rooms, 18 now."""
    ours = ("dumping", "adapters", "reductions", "arrays")
    rooms = [room for before, room in walked(tmp_path / "run.acts") if room in ours and before in ours]
    steps = [room for before, room in zip(["", *rooms], rooms, strict=False) if room != before]
    assert len(steps) <= 20, " ".join(steps)
