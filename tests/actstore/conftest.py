"""Rows to store, and stores to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from actstore import Captured, RowBatch, Store, StoreError, Writer
from actstore import open as open_store
from actstore.adapters import ModelLayer
from actstore.reductions import ReductionSettings, plan_reductions
from actstore.reductions.apply import reduce_layer
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.reductions.positions import RealPositions
from actstore.store.documents.records import Seen
from actstore.store.documents.write_place import WritePlace
from actstore.store.writing.batch_checks import describe_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from actstore.store.format import StoredLayer

FEATURES = {
    "conv1": ("float32", (3, 4)),
    "act/1": ("float16", (5,)),
    "fc": ("bfloat16", (2,)),
    "norm": ("float64", ()),
}


def example_array(name: str, rows: int) -> np.ndarray:
    """The activations of ``rows`` rows of a layer; a longer array begins with a shorter one."""
    dtype, shape = FEATURES[name]
    rng = np.random.default_rng(len(name))
    values = rng.normal(size=(rows, *shape))
    return (values * 1000).astype(np.int16).view(np.uint16) if dtype == "bfloat16" else values.astype(dtype)


@pytest.fixture(scope="session")
def arrays() -> Callable[[int], dict[str, np.ndarray]]:
    """``arrays(rows)``: what the example layers hold, by name."""
    return lambda rows: {name: example_array(name, rows) for name in FEATURES}


@pytest.fixture(scope="session")
def batch_of(arrays: Callable[[int], dict[str, np.ndarray]]) -> Callable[..., RowBatch]:
    """``batch_of(rows, first=0, **changes)``: example rows from row ``first`` on, with fields of the batch replaced."""

    def make(rows: int, first: int = 0, **changes: Any) -> RowBatch:
        numbers = np.arange(first, first + rows)
        activations = {
            name: Captured(array[first:], FEATURES[name][0], tuple("abc"[: array.ndim - 1]))
            for name, array in arrays(first + rows).items()
        }
        fields: dict[str, Any] = {
            "activations": activations,
            "ids": [f"row/{number}" for number in numbers],
            "splits": ["train" if number % 3 else "test" for number in numbers],
            "targets": {"digit": numbers % 10},
        }
        return RowBatch(**{**fields, **changes})

    return make


@pytest.fixture
def write_store(tmp_path: Path, batch_of: Callable[..., RowBatch]) -> Callable[..., Store]:
    """``write_store(name, rows=40)``: a complete store of example rows, several shards long where it is a folder."""

    def write(name: str, rows: int = 40, *, batch_rows: int = 7, **options: Any) -> Store:
        writer = Writer(tmp_path / name, **{"shard_bytes": 2000, **options})
        for first in range(0, rows, batch_rows):
            writer.append(batch_of(min(batch_rows, rows - first), first))
        return writer.finish()

    return write


@pytest.fixture
def write_shares(batch_of: Callable[..., RowBatch]) -> Callable[..., Store]:
    """``write_shares(path, [21, 7], step=None)``: a complete step of example rows, shared by as many ranks."""

    def write(path: Path, shares: Sequence[int], step: int | None = None) -> Store:
        for rank, rows in enumerate(shares):
            before = sum(shares[:rank])
            place = WritePlace(step, rank, len(shares), before, rows)
            with Writer(path, place=place, shard_bytes=1000) as writer:
                for first in range(before, before + rows, 5):
                    writer.append(batch_of(min(5, before + rows - first), first))
        return open_store(path)

    return write


@pytest.fixture(params=["out.acts", "out.h5"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a store goes: a folder, and a single file."""
    return tmp_path / request.param


@pytest.fixture
def partial() -> Callable[[Path], Path]:
    """``partial(out)``: where an output lies until it is whole, if nothing was there before."""
    return lambda out: out if out.suffix == ".acts" else out.with_name(out.name + ".partial")


@pytest.fixture
def batches(batch_of: Callable[..., RowBatch]) -> list[RowBatch]:
    """Forty rows with groups and positions, and targets that lack labels, or are missing from some shards."""
    found = []
    for first in range(0, 40, 6):
        numbers = np.arange(first, min(first + 6, 40))
        targets: dict[str, np.ndarray] = {"digit": np.ma.MaskedArray(numbers % 10, mask=numbers % 4 == 0)}
        if first > 20:
            targets["word"] = np.array([f"w{number % 5}" for number in numbers])
        groups, positions = [f"g{number // 3}" for number in numbers], [int(number % 3) for number in numbers]
        found.append(batch_of(len(numbers), first, targets=targets, groups=groups, positions=positions))
    return found


@pytest.fixture
def layers(batches: list[RowBatch]) -> tuple[StoredLayer, ...]:
    """Those of ``batches``."""
    return describe_layers(batches[0].activations)


@pytest.fixture
def write() -> Callable[..., Store | str]:
    """``write(out, batches, layers, stop=None)``: all batches, or ``stop`` of them and then the end of the process.

    With ``resume=True`` those that are there are left out. Two batches make a shard.
    """
    noted = {"options": {"batch_size": 6}, "model": {"weights": "abc"}}

    def write(
        out: Path, batches: list[RowBatch], layers: Any, *, stop: int | None = None, **options: Any
    ) -> Any:
        writer = Writer(out, **{"shard_bytes": 1500, "provenance": noted, **options})
        try:
            there = writer.begin(layers).batches
            for number, batch in enumerate(batches[:stop], start=1):
                if number > there:
                    writer.append(batch, Seen(number, f"inputs {number}", f"labels {number}"))
        except StoreError:
            writer.abandon()
            raise
        return writer.finish() if stop is None else writer.abandon()

    return write


@pytest.fixture
def sealed() -> Callable[[Writer], None]:
    """``sealed(writer)``: wait until the shards that were begun are on the disk. For what a test looks at meanwhile."""
    return lambda writer: writer._begun.pipeline.wait()


@pytest.fixture
def names_in() -> Callable[[Path], list[str]]:
    """``names_in(folder)``, sorted."""
    return lambda folder: sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="session")
def reduced() -> Callable[..., tuple[ModelLayer, np.ndarray]]:
    """``reduced(array, axes, *pool, mask=None, dtype=None)``: a layer as it is stored, and its array."""

    def reduce(
        array: np.ndarray, axes: tuple[str, ...], *pool: str, mask: Any = None, dtype: str | None = None
    ) -> tuple[ModelLayer, np.ndarray]:
        bits = Bits(array, dtype or array.dtype.name)
        whole = ModelLayer("layer", "array", array.shape[1:], axes, bits.dtype)
        plan = plan_reductions(ReductionSettings(pool), [whole])
        inputs = array if mask is None else {"input_ids": array, "attention_mask": mask}
        found, _ = reduce_layer(bits, plan.of("layer"), RealPositions(inputs), ArrayOperations())
        (layer,) = plan.layers
        assert (found.array.shape[1:], found.dtype) == (layer.shape, layer.dtype)
        assert len(layer.axes) == len(layer.shape)
        return layer, found.array

    return reduce
