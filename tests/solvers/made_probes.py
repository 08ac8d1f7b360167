"""Probes that were not fitted, with predictions of chosen quality: what scores and comparisons are tested on."""

from dataclasses import replace

import numpy as np

from solvers.probing.probe import Probe
from solvers.probing.probes import Probes
from solvers.probing.records import ProbeMap, Proof, Scores, Tried, Where
from solvers.probing.row_table import Beside, RowTable

SPLITS = ("train", "val", "test")


def made(
    layers=("a", "b", "c"),
    classes=2,
    rows=200,
    groups=None,
    targets=("t",),
    steps=(0,),
    kept=("val", "test"),
    chosen=("split", "val"),
    seed=0,
    sharpness=None,
):
    """Probes of every layer, target and step; ``sharpness`` of each layer says how much it knows."""
    generator = np.random.default_rng(seed)
    names = np.array([f"class {code}" for code in range(classes)])
    tables, probes = {}, []
    for target in targets:
        for split in SPLITS:
            arrays = {
                "index": np.arange(rows),
                "truth": generator.integers(0, classes, rows).astype(np.int32),
            }
            if groups is not None:
                arrays["group"] = np.sort(
                    np.append(np.arange(groups), generator.integers(0, groups, rows - groups))
                )
            tables[target, split] = RowTable(target, split, arrays, None, names)
    for target in targets:
        for step in steps:
            for number, layer in enumerate(layers):
                sharp = min(number, 5) if sharpness is None else sharpness[number]
                said = {
                    split: _said(tables[target, split].arrays["truth"], classes, sharp, generator)
                    for split in SPLITS
                }
                probes.append(_probe((layer, number, target, step), names, said, chosen, kept))
    return Probes(probes, beside=Beside(tuple(tables[key] for key in tables if key[1] in kept)))


def _said(truth, classes, sharp, generator):
    logits = generator.normal(size=(len(truth), classes)) + sharp * np.eye(classes)[truth]
    return truth, logits.astype(np.float32)


def _probe(place, names, said, chosen, kept):
    layer, order, target, step = place
    error = {split: float(np.mean(logits.argmax(axis=1) != truth)) for split, (truth, logits) in said.items()}
    nats = {
        split: float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(truth)), truth]))
        for split, (truth, logits) in said.items()
    }
    rows = {split: len(truth) for split, (truth, _) in said.items()}
    none = dict.fromkeys(said, 0)
    how, split = chosen
    tried = tuple(
        Tried(C, 0.5, 1e-6, "converged", 1.0, 1.0, {"error": {"train": 0.1, "val": 0.2, "test": 0.3}})
        for C in (0.1, 1.0, 10.0)
    )
    return Probe(
        Where((layer,), target, (4,), order=order, step=step),
        ProbeMap(np.zeros((4, len(names))), np.zeros(len(names)), np.zeros(4), names, scale=np.ones(4)),
        Proof(1.0, "converged", 1e-6, 0.3, "numpy", "", tried, {"how": how, "split": split, "rows": 10}),
        Scores(error, nats, dict.fromkeys(said, 0.5), rows, none, none),
        predictions={(target, split, None): {"logits": said[split][1]} for split in kept},
    )


def with_divided_groups(probes, **counts):
    """The same probes, as if so many groups of training rows had rows in these splits."""
    return probes.changed(
        lambda probe: replace(
            probe, proof=replace(probe.proof, chosen={**probe.proof.chosen, "divided_groups": counts})
        )
    )
