"""What stores hold, as plain dictionaries: worked out without a line of the package, to compare with."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

FROZEN = Path(__file__).parents[1] / "actstore" / "frozen"
SPLIT_ROWS = (("train", 8), ("test", 5))
LATER = {"word": ["red", "é", "日本", None, "a b"], "mark": [3, None, -1, 2**40, 0]}
"""What is attached, by target: the labels that are dealt to rows."""

_spec = importlib.util.spec_from_file_location("make_version_1", FROZEN / "make_version_1.py")
frozen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(frozen)

Labels = dict[str, list]


@dataclass(frozen=True)
class Dump:
    """What a dump is of: which rows, by what model, as which step."""

    rows: int
    scale: int
    step: int | None = None
    world_size: int = 1

    @property
    def number(self) -> int:
        return self.step or 0

    def alike(self, other: Dump | None) -> bool:
        """Whether it stores the same: step 0 that is named, or not."""
        return other is not None and replace(self, step=self.number) == replace(other, step=other.number)


@dataclass(frozen=True)
class Step:
    """One step: each layer's type and bits, and what is known of its rows."""

    layers: dict[str, tuple[str, np.ndarray]]
    ids: list[str]
    splits: list[str]
    targets: Labels
    groups: list[str] | None = None
    positions: list[int] | None = None


@dataclass(frozen=True)
class Plain:
    """A whole store. ``model`` is what its layers were computed by, ``given`` which rows, ``dumped`` the dump it is."""

    folder: bool
    steps: dict[int, Step]
    model: Any
    given: int | None = None
    dumped: Dump | None = None
    attached: Labels = field(default_factory=dict)

    def targets(self, step: int) -> Labels:
        """The labels that are shown: an older target of the same name is hidden."""
        return self.steps[step].targets | self.attached

    @property
    def rows(self) -> int:
        return len(next(iter(self.steps.values())).ids)


def inputs(rows: int) -> dict[str, np.ndarray]:
    """What is dumped, by split; each number of ``rows`` gives others, in splits of their own names."""
    rng = np.random.default_rng(rows)
    return {f"{split}{rows}": rng.normal(size=(count, 4)).astype(np.float32) for split, count in SPLIT_ROWS}


def digits(rows: int, count: int) -> np.ndarray:
    return (np.arange(count) + rows) % 4


def computed(array: np.ndarray, scale: int) -> dict[str, np.ndarray]:
    """What the model that is dumped gives: layers of three types."""
    scaled = array * np.float32(scale)
    return {
        "scaled": scaled,
        "act/1": scaled[:, ::2].astype(np.float16),
        "norm": scaled.sum(1).astype(np.float64),
    }


def dumped(dump: Dump, folder: bool) -> Plain:
    """The store that a dump ends with."""
    parts = inputs(dump.rows)
    every = computed(np.concatenate(list(parts.values())), dump.scale)
    labels = [int(label) for array in parts.values() for label in digits(dump.rows, len(array))]
    step = Step(
        {name: (array.dtype.name, array) for name, array in every.items()},
        [f"{split}/{number}" for split, array in parts.items() for number in range(len(array))],
        [split for split, array in parts.items() for _ in array],
        {"digit": labels},
    )
    return Plain(folder, {dump.number: step}, dump.scale, dump.rows, dump)


def with_step(store: Plain, dump: Dump) -> Plain:
    """A store with one more step."""
    return replace(store, steps=store.steps | dumped(dump, folder=True).steps)


def labels_of(target: str, shift: int, count: int) -> list:
    known = LATER[target]
    return [known[(number + shift) % len(known)] for number in range(count)]


def labelled(store: Plain, target: str, shift: int) -> Plain:
    return replace(store, attached=store.attached | {target: labels_of(target, shift, store.rows)})


def merged(stores: list[Plain]) -> Plain | None:
    """Whole stores one after another; None where they do not go together."""
    first = stores[0]
    ids = [name for store in stores for name in next(iter(store.steps.values())).ids]
    alike = all(
        store.folder and store.model == first.model and store.steps.keys() == first.steps.keys()
        for store in stores
    )
    if not alike or len(set(ids)) < len(ids):
        return None
    steps = {number: _joined([store.steps[number] for store in stores]) for number in first.steps}
    attached = {
        name: [label for store in stores for label in _shown(store, name)]
        for name in {name: None for store in stores for name in store.attached}
    }
    return Plain(True, steps, first.model, first.given if len(stores) == 1 else None, attached=attached)


def _shown(store: Plain, name: str) -> list:
    return store.targets(min(store.steps)).get(name, [None] * store.rows)


def _joined(steps: list[Step]) -> Step:
    first = steps[0]
    layers = {
        name: (dtype, np.concatenate([step.layers[name][1] for step in steps]))
        for name, (dtype, _) in first.layers.items()
    }
    names = {name: None for step in steps for name in step.targets}
    targets = {
        name: [label for step in steps for label in step.targets.get(name, [None] * len(step.ids))]
        for name in names
    }
    return Step(
        layers,
        [name for step in steps for name in step.ids],
        [split for step in steps for split in step.splits],
        targets,
        None if first.groups is None else [group for step in steps for group in step.groups],
        None if first.positions is None else [place for step in steps for place in step.positions],
    )


def one_step(store: Plain, number: int, folder: bool) -> Plain:
    """One step of a store by itself, its labels within: what is packed, and unpacked."""
    step = replace(store.steps[number], targets=store.targets(number))
    return Plain(folder, {number: step}, store.model, store.given)


def frozen_store(folder: bool) -> Plain:
    """What the frozen stores of version 1 hold: by the script that made them."""
    steps = {}
    for number in frozen.STEPS if folder else frozen.STEPS[1:]:
        layers = {name: (dtype, frozen.activations(name, number)) for name, (dtype, _) in frozen.LAYERS.items()}
        targets: Labels = {"digit": frozen.DIGITS, "a/flag": frozen.FLAGS, "word": frozen.WORDS}
        own = targets if folder else targets | {"later": frozen.LATER}
        steps[number] = Step(layers, frozen.IDS, frozen.SPLITS, own, frozen.GROUPS, frozen.POSITIONS)
    return Plain(folder, steps, "frozen", attached={"later": frozen.LATER} if folder else {})
