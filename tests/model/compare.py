"""Whether a store is what its plain dictionaries say, to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import actstore
from actstore.errors import ActstoreError

if TYPE_CHECKING:
    from pathlib import Path

    from actstore import Store
    from model.plain import Plain, Step


def difference(path: Path, plain: Plain | None) -> str:
    """How a store differs from a whole one; empty where it does not. None is no store at all."""
    if plain is None or not path.exists():
        return (
            ""
            if plain is None and not path.exists()
            else f"{path.name} is{'' if path.exists() else ' not'} there"
        )
    if path.is_dir() != plain.folder:
        return f"{path.name} is of the other kind"
    with actstore.open(path) as store:
        if store.steps != sorted(plain.steps):
            return f"{path.name} has the steps {store.steps} and not {sorted(plain.steps)}"
        if not store.complete:
            return f"{path.name} is not complete"
        found = [_of_step(store, number, plain) for number in plain.steps]
    return next(
        (
            f"{path.name}, step {number}: {each}"
            for number, each in zip(plain.steps, found, strict=True)
            if each
        ),
        "",
    )


def _of_step(store: Store, number: int, plain: Plain) -> str:
    step = plain.steps[number]
    with store.at(number) as one:
        said = rows_differ(one, step, whole=True)
        targets = {name: np.ma.asarray(values).tolist() for name, values in one.targets.items()}
        wanted = plain.targets(number)
        if targets != wanted:
            return said or f"targets {targets}, expected {wanted}"
        return said


def rows_differ(store: Store, step: Step, *, whole: bool) -> str:
    """How the rows of one step differ from those of ``step``, or from as many first ones of it."""
    rows = store.rows
    if rows > len(step.ids) or (whole and rows != len(step.ids)):
        return f"{rows} rows of {len(step.ids)}"
    if list(store.layers) != list(step.layers):
        return f"layers {list(store.layers)}"
    for name, (dtype, array) in step.layers.items():
        layer = store.layers[name].raw
        read = layer[:]
        if layer.stored_dtype != dtype or read.tobytes() != np.ascontiguousarray(array[:rows]).tobytes():
            return f"layer {name!r} has other bits"
        if layer[::-2].tobytes() != np.ascontiguousarray(array[:rows][::-2]).tobytes():
            return f"layer {name!r} has other bits from the end"
    known = (store.ids, step.ids), (store.splits, step.splits), (store.groups, step.groups)
    for read, wanted in (*known, (store.positions, step.positions)):
        if (None if read is None else read.tolist()) != (None if wanted is None else wanted[:rows]):
            return f"{read} and not {wanted}"
    return ""


INTERRUPTED = "attaching it was interrupted (nothing is lost"


def unsound(path: Path, *, tidy: bool, labelling: bool = False) -> str:
    """What verify finds, with ``tidy`` also what is left over within; empty where nothing.

    Where ``labelling`` was killed, the labels that nothing lists yet may be told, with the word that nothing is lost.
    """
    try:
        report = actstore.verify(path, workers=1)
    except ActstoreError as error:
        return f"{path.name}: {error}"
    damages = [each for each in report.damages if not (labelling and INTERRUPTED in each.reason)]
    found = [*damages, *(report.leftovers if tidy else ())]
    return f"{path.name}: {found}" if found else ""
