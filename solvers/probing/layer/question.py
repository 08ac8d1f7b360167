"""What a fit is asked, by which its finished layers are known again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.probing.finished.folder import FORMAT, VERSION
from solvers.rows import blocks, flat_width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.settings import LayerSettings
    from solvers.probing.task import Task
    from solvers.rows import RowSource

__all__ = ["question"]

_HASHED_BYTES = 4 * 2**20
"""Of a layer's rows, as many are in memory at a time while they are hashed."""


def question(layers: Sequence[FitLayer], tasks: Mapping[str, Task], settings: LayerSettings) -> dict[str, Any]:
    """Return what a fit is asked, as a JSON object: layers fitted for the same question may stand in one file.

    How it is computed (memory, device, where it starts) is no part of it.
    """
    several = len({layer.step for layer in layers}) > 1
    whole = {(layer.step, layer.name): layer for layer in layers if not layer.head}
    looks = {
        f"{name} (step {step})" if several else name: _look(layer.source, layer.fingerprint)
        for (step, name), layer in whole.items()
    }
    asked = {
        "format": FORMAT,
        "version": VERSION,
        "targets": list(tasks),
        "layers": list(dict.fromkeys(layer.name for layer in layers)),
        "step": _one_or_all([layer.step for layer in layers]),
        "C": list(settings.C),
        **settings.asked(),
        "store": _one_or_all([layer.fingerprint for layer in layers]),
        "labelled rows": {target: task.mark for target, task in tasks.items()},
        "activations": looks,
    }
    return json.loads(json.dumps(asked))


def _one_or_all(values: Sequence[Any]) -> Any:
    """What all layers have alike, else the list."""
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else distinct


def _look(source: RowSource, fingerprint: str) -> list[Any]:
    """Shape, type, and where no store vouches for the activations a hash of all rows.

    Of all, as activations that differ in a few rows make other probes; a fit reads them many times over anyway.
    """
    shape, dtype = list(source.shape), str(source.dtype)
    if fingerprint:
        return [shape, dtype]
    digest = hashlib.sha256()
    row_bytes = flat_width(source) * source.dtype.itemsize
    for _, block in blocks(source, max(1, _HASHED_BYTES // row_bytes)):
        digest.update(np.ascontiguousarray(block).data)
    return [shape, dtype, digest.hexdigest()]
