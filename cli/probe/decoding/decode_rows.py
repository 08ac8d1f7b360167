"""What `probe decode` reads of a store: its pictures, layers, rows and labels."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cli.probe.bridge import described, open_store
from cli.probe.row_columns import target_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.decoders.images import ImageUnits
    from solvers.decoders.plan import Plan, Study

INPUT = "input"


@contextmanager
def study_of(path: str, given: dict[str, Any], plan: Plan) -> Iterator[tuple[Store, Study]]:
    """The store, and what `probe decode PATH ...` asks of it."""
    import numpy as np

    from solvers.decoders.examples import Examples, roles_of
    from solvers.decoders.images import image_units
    from solvers.decoders.plan import Study
    from solvers.fitting.splits import split_rows

    with open_store(path, given["step"]) as store:
        _refuse_input(store)
        layers = _chosen(store, given["patterns"])
        groups = None if store.groups is None else np.unique(store.groups, return_inverse=True)[1]
        choose = plan.method == "linear" and (plan.penalties is None or len(plan.penalties) > 1)
        roles = roles_of(split_rows(store.splits, store.rows, {}).rows, groups, choose)
        images = store.layers[INPUT]
        units = image_units(images, roles.train, given["image_axes"], given["image_shape"])
        if units.pale:
            click.echo(_pale(units), err=True)
        classes, labels = _labels(store, given["target"])
        yield (
            store,
            Study(
                {name: store.layers[name] for name in layers},
                {name: store.layers[name].axes for name in layers},
                Examples(images, units, roles.train, roles.select, labels),
                roles.scored,
                roles.split,
                groups,
                store.fingerprint,
                store.steps[0],
                given["target"] or "",
                len(classes),
                {
                    "fingerprint": store.fingerprint,
                    "target": given["target"] or "",
                    "roles": roles.how,
                    "stored": {name: described(store, name) for name in (INPUT, *layers)},
                },
            ),
        )


def _pale(units: ImageUnits) -> str:
    """Say that pictures use little of their range."""
    low, high = units.held
    return (
        f"note: pictures are scaled by {units.rule}, {units.low:g} to {units.high:g}, but hold {low:g} to {high:g} "
        "only, so errors are small and pictures flat; dump them as floats to scale by what they hold"
    )


def _refuse_input(store: Store) -> None:
    """Refuse a store whose pictures are not there, or are no longer what the network was given."""
    from actstore.errors import StoreError

    if INPUT not in store.layers:
        msg = f"{store.path} has no layer `input`, which decoders give back; dump it, too: --layers input --layers ..."
        raise StoreError(msg)
    if described(store, INPUT).get("reductions"):
        msg = (
            f"the layer `input` of {store.path} was reduced, so there are no pictures to give back; dump it whole, "
            "with --pool 'input=none', and without --random-features or --random-projection"
        )
        raise StoreError(msg)


def _chosen(store: Store, patterns: Sequence[str]) -> list[str]:
    """The layers that patterns pick, in the order of the network; `input` only by its name."""
    from actstore.errors import StoreError
    from actstore.patterns import matcher, unknown

    names = list(store.layers)
    picked: set[str] = set()
    for pattern in patterns:
        matches = matcher(pattern, names)
        found = {name for name in names if matches(name) and (name != INPUT or pattern == INPUT)}
        if not found:
            raise unknown(pattern, names)
        picked |= found
    for name in (*picked, INPUT):
        if store.nonfinite.get(name):
            msg = (
                f"{store.nonfinite[name]:,} rows of layer {name!r} hold NaN or infinities; leave such rows out"
            )
            raise StoreError(msg)
    return [name for name in names if name in picked]


def _labels(store: Store, target: str | None) -> tuple[Any, np.ndarray | None]:
    """The classes of a target, and each row's place among them, -1 for none."""
    import numpy as np

    if target is None:
        return (), None
    labels = target_of(store, target)
    known = ~np.ma.getmaskarray(labels)
    values = np.ma.getdata(labels)
    if not known.any():
        raise click.ClickException(f"no row of {store.path} has a label of {target!r}")
    classes = np.unique(values[known])
    places = np.full(len(values), -1, np.int64)
    places[known] = np.searchsorted(classes, values[known])
    return classes, places
