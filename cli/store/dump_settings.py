"""What is asked of `actstore dump`, and all of it that is checked before the model is built."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.ranks import rank_and_world_size
from cli.result import checked_beforehand
from cli.shared import notice_features, shown_warnings
from cli.store.layers import check_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actstore.dumping.dump import DumpSettings
    from actstore.sources import SplitData


def checked_data(patterns: tuple[str, ...], output: str | None, given: dict[str, Any]) -> Sequence[SplitData]:
    """Return the data, once nothing that is known without the model speaks against the dump.

    Raises:
        click.ClickException: exit code 2.
    """
    from actstore.dumping.dump import check_beforehand, check_output
    from actstore.rows.ignored_labels import warned_of_unfound
    from actstore.sources import RowColumns, split_data

    if not given["data"]:
        raise click.UsageError(
            "--data is missing: what is the model to run on? For example --data train=images.npy"
        )
    if patterns and output is None:
        raise click.UsageError("-o is missing: where is the store to go? For example -o run.h5")
    with checked_beforehand(), shown_warnings():
        settings = settings_of(patterns, given)
        check_weights(given["weights"])
        columns = RowColumns(given["split_by"], given["group_by"], given["ignore_label"])
        with warned_of_unfound(columns.ignore):
            data = split_data(given["data"], given["targets"], columns)
        notice_features(data)
        place = check_beforehand(data, settings)
        if output is not None and not _may_join(output, given, settings):
            check_output(data, output, settings, place)
    return data


def _may_join(output: str, given: dict[str, Any], settings: DumpSettings) -> bool:
    """Whether this may be one of several ranks at a store that is begun, as only the model's file would say.

    That is: nobody has told the rank, and others are writing there, or the file speaks of what is distributed.
    """
    from actstore.store.disk.locks import is_locked
    from actstore.store.documents.rank import locks_of
    from actstore.store.format import COMPLETE, STEPS, step_folder

    folder = Path(output)
    begun = (folder / STEPS).is_dir() and not (folder / step_folder(settings.step or 0) / COMPLETE).exists()
    if given["rank"] is not None or settings.world_size > 1 or not begun:
        return False
    file = Path(given["model"].rpartition(":")[0])
    return any(map(is_locked, locks_of(folder))) or (file.is_file() and b"distributed" in file.read_bytes())


def settings_of(patterns: tuple[str, ...], given: dict[str, Any]) -> DumpSettings:
    """Return the settings of a dump, in its options' words."""
    from actstore.adapters.for_jax.processes import jax_process
    from actstore.dumping.dump import DumpSettings
    from actstore.reductions import ReductionSettings

    rank, world_size = rank_and_world_size(given["rank"], given["world_size"], os.environ, jax_process)
    if (given["resume"] or given["resume_anyway"]) and given["overwrite"]:
        raise click.UsageError("--resume goes on with what is there, --overwrite replaces it: choose one")
    return DumpSettings(
        layers=patterns,
        exclude_layers=given["exclude_layers"],
        row=given["row"],
        batch_size=given["batch_size"],
        limit=given["limit"],
        sample=given["sample"],
        reductions=ReductionSettings(
            pool=given["pool"],
            random_features=given["random_features"],
            random_projection=given["random_projection"],
            dtype=given["dtype"],
            seed=given["seed"],
        ),
        device=given["device"],
        autocast=given["autocast"],
        trace=given["trace"],
        step=given["step"],
        rank=rank,
        world_size=world_size,
        skip_bad=given["skip_bad"],
        overwrite=given["overwrite"],
        resume=given["resume"],
        axes=given["axes"],
        batch_axis=given["batch_axis"],
        truncate=given["truncate"],
        stop_early=given["stop_early"],
        resume_anyway=given["resume_anyway"],
        selfcheck=given["selfcheck"],
        keep_input=given["keep_input"],
        inputs=tuple(_read(given)),
        command=shlex.join(["actstore", *sys.argv[1:]]),
    )


def _read(given: dict[str, Any]) -> Iterator[str]:
    """Yield what is read, as SPECs without the names before them."""
    yield given["model"]
    if given["weights"]:
        yield given["weights"]
    for text in (*given["data"], *given["targets"]):
        yield from (text, text.partition("=")[2])
