"""Any rows that a batch can hold come back with every bit, whether or not their dump was interrupted."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import actstore
from actstore import Captured, RowBatch, Writer
from actstore.store.documents.records import Seen
from actstore.store.format import BFLOAT16, DTYPES
from actstore.store.writing.batch_checks import describe_layers

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
SIDES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def stores(draw):
    """Layers of any dtype, shape and bits; ids, splits, groups and labels; cut into batches."""
    rows = draw(st.integers(1, 30))
    layers = {}
    for name in draw(st.lists(TEXT, min_size=1, max_size=4, unique=True)):
        dtype, shape = draw(st.sampled_from(DTYPES)), draw(SIDES)
        stored = np.dtype("uint16" if dtype == BFLOAT16 else dtype)
        size = rows * int(np.prod(shape, dtype=int)) * stored.itemsize
        noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).bytes(size)  # NaN payloads of every kind
        array = np.frombuffer(noise, stored) if dtype != "bool" else np.frombuffer(noise, np.uint8) > 99
        axes = tuple(draw(st.lists(TEXT, min_size=len(shape), max_size=len(shape))))
        layers[name] = Captured(array.reshape(rows, *shape), dtype, axes)
    labels = st.one_of(
        hnp.arrays(draw(st.sampled_from(["int8", "int64", "uint64", "bool"])), rows),
        st.lists(TEXT, min_size=rows, max_size=rows).map(np.array),
    )
    masks = hnp.arrays(bool, rows)
    targets = {
        name: np.ma.MaskedArray(draw(labels), mask=draw(masks))
        for name in draw(st.lists(TEXT, max_size=3, unique=True))
    }
    grouped = draw(st.booleans())
    batch = RowBatch(
        activations=layers,
        ids=draw(st.lists(TEXT, min_size=rows, max_size=rows, unique=True)),
        splits=draw(st.lists(TEXT, min_size=rows, max_size=rows)),
        targets=targets,
        groups=draw(st.lists(TEXT, min_size=rows, max_size=rows)) if grouped else None,
        positions=draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows))
        if grouped
        else None,
    )
    cuts = sorted({0, *draw(st.lists(st.integers(0, rows))), rows})
    interrupted = draw(st.one_of(st.none(), st.integers(0, len(cuts))))
    return batch, cuts, draw(st.integers(1, 3000)), interrupted


def write(path, batch, cuts, shard_bytes, interrupted):
    """A store of the batch, cut into several; after so many of these the writer is ``interrupted``, and resumed."""
    parts = list(enumerate((part(batch, *ends) for ends in itertools.pairwise(cuts)), start=1))
    writer, there = Writer(path, shard_bytes=shard_bytes), 0
    if interrupted is not None:
        for number, rows in parts[:interrupted]:
            writer.append(rows, Seen(number))
        writer.abandon()
        writer = Writer(path, shard_bytes=shard_bytes, resume=True)
        there = writer.begin(describe_layers(batch.activations)).batches
    for number, rows in parts[there:]:
        writer.append(rows, Seen(number))
    writer.finish().close()


def part(batch, start, stop):
    rows = slice(start, stop)
    return RowBatch(
        {name: Captured(one.array[rows], one.dtype, one.axes) for name, one in batch.activations.items()},
        batch.ids[rows],
        batch.splits[rows],
        {name: values[rows] for name, values in batch.targets.items()},
        None if batch.groups is None else batch.groups[rows],
        None if batch.positions is None else batch.positions[rows],
    )


def bits(array):
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("name", ["any.acts", "any.h5"])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(stored=stores())
def test_any_rows_come_back_bit_for_bit(name, stored):
    batch, *how = stored
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name, batch, *how)
        store = actstore.open(Path(folder) / name)
        assert list(store.layers) == list(batch.activations)
        for layer, captured in batch.activations.items():
            read = store.layers[layer].raw
            assert (read.shape, read.axes) == (captured.array.shape, captured.axes)
            assert (read.dtype, read.stored_dtype) == (captured.array.dtype, captured.dtype)
            assert bits(read[:]) == bits(captured.array)
            assert bits(read[::-2]) == bits(captured.array[::-2])
        assert store.ids.tolist() == list(batch.ids)
        assert store.splits.tolist() == list(batch.splits)
        assert (store.groups is None) == (batch.groups is None)
        if store.groups is not None:
            assert store.groups.tolist() == list(batch.groups)
            assert store.positions.tolist() == list(batch.positions)
        assert set(store.targets) == set(batch.targets)
        for target, values in batch.targets.items():
            labels = np.ma.asarray(store.targets[target])
            assert labels.tolist() == values.tolist()
            assert labels.dtype.kind == "U" or labels.dtype == values.dtype
