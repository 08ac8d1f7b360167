"""`actstore label`: attach labels to the rows of a store."""

from __future__ import annotations

from typing import Any

import click

from cli.result import Result, command
from cli.shared import count_labels, describe_labels, ignore_label_option, shown_warnings


@command()
@click.argument("store")
@click.argument("labels", metavar="LABELS")
@click.option(
    "--name", metavar="N", help="What to call the target; by default as the column or the file is called."
)
@click.option("--column", metavar="C", help="Which column of a table has the labels.")
@click.option(
    "--split-by", metavar="C", help="Attach the column C of a table, too, for `probe fit --split-by C`."
)
@click.option(
    "--group-by", metavar="C", help="Attach the column C of a table, too, for `probe fit --group-by C`."
)
@ignore_label_option
@click.option("--overwrite", is_flag=True, help="Put these labels in the place of a target of that name.")
def label(
    store: str, labels: str, name: str | None, column: str | None, overwrite: bool, **given: Any
) -> Result:
    """Attach the labels in LABELS to the rows of STORE, a folder (NAME.acts) whose dump is complete.

    LABELS is FILE.csv, with row ids in the column `id` (else the first one); FILE.jsonl:COLUMN or a saved dataset,
    FOLDER:COLUMN, by their ids where they have such; or FILE.npy or FILE.npz:KEY, with a label for every row in their
    order. Rows whose cell is empty, or that the table leaves out, have no label. `actstore rows` writes the ids.

    \b
    Examples:
      actstore label run.acts colours.csv --column colour
      actstore label run.acts words.csv --column sense --group-by speaker --ignore-label NA
    """
    import actstore
    from actstore.labels import place, read_file
    from actstore.rows.choice import whole
    from actstore.rows.ignored_labels import warned_of_unfound

    with actstore.open(store) as opened, shown_warnings():
        ids = opened.ids.tolist()
        with warned_of_unfound(given["ignore_label"]):
            found = read_file(labels, column, given["ignore_label"])
        attached = {name or found.name: place(found, ids, labels)}
        for what in ("split", "group"):
            wanted = given[f"{what}_by"]
            if wanted is not None:
                values = place(read_file(labels, wanted), ids, labels)
                attached[wanted] = whole(values, f"--{what}-by {wanted!r} of {labels}", what)
        for target, values in attached.items():
            opened.attach(target, values, overwrite=overwrite)
        placed = {target: opened.targets[target] for target in attached}
    return Result(
        {"store": store, "targets": {target: describe_labels(values) for target, values in placed.items()}},
        [count_labels(target, values) for target, values in placed.items()],
    )
