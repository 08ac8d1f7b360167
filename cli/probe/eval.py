"""`probe eval`: fitted probes on other stored rows."""

from __future__ import annotations

from typing import Any

import click

from cli.shared import echo_json, echo_table, json_option, step_option


@click.command("eval")
@click.argument("probes", metavar="PROBES")
@click.argument("store", metavar="STORE")
@step_option
@json_option
def evaluate(probes: str, store: str, step: int | None, as_json: bool) -> None:
    """Score the probes of PROBES on the rows of STORE, split by split. Nothing is fitted.

    \b
    Example:
      probe eval probes.h5 shifted.h5
    """
    import solvers
    from cli.probe.bridge import open_store

    with open_store(store, step) as opened:
        found = [row for probe in solvers.load(probes).values() for row in _score(probe, opened)]
    if as_json:
        echo_json(found)
        return
    echo_table(
        ["layer", "target", "split", "rows", "error", "CE"],
        [
            [
                row["layer"],
                row["target"],
                row["split"] or "(none)",
                f"{row['rows']:,}",
                f"{row['error']:.4f}",
                f"{row['cross_entropy']:.4f}",
            ]
            for row in found
        ],
    )


def _score(probe: Any, store: Any) -> list[dict[str, Any]]:
    """One record for each split of the store that has labelled rows."""
    from dataclasses import asdict

    import numpy as np

    import solvers
    from actstore.plain_labels import without
    from cli.probe.bridge import features_of, target_of

    labels = without(target_of(store, probe.target), probe.proof.chosen.get("ignore_label", ()))
    layer = features_of(store, probe.where.layers)
    records = []
    for split in dict.fromkeys(store.splits.tolist()):
        rows = np.flatnonzero((store.splits == split) & ~np.ma.getmaskarray(labels))
        if len(rows):
            score = solvers.evaluate(probe, solvers.Rows(layer, rows), labels[rows])
            records.append({"layer": probe.layer, "target": probe.target, "split": split, **asdict(score)})
    return records
