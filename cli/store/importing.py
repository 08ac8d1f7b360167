"""`actstore import`: activations that others wrote, into a store."""

from __future__ import annotations

import shlex
import sys

import click

from cli.result import Result, command
from cli.shared import ProgressLine, layers_of, overwrite_option, shown_warnings
from cli.store.summary import nonfinite_lines, outline


@command("import")
@click.argument("files", nargs=-1, required=True, metavar="[SPLIT=]FILE...")
@click.option(
    "-o", "--output", required=True, metavar="STORE", help="NAME.h5 for one file, NAME.acts for a folder."
)
@click.option("--split", default="", metavar="NAME", help="The split of files that name none.")
@click.option("--layer", metavar="NAME", help="What the only layer is called, instead of by its file or array.")
@click.option("--row", "row_unit", type=click.Choice(["example", "token", "word"]), help="What a row is.")
@overwrite_option
def import_(
    files: tuple[str, ...],
    output: str,
    split: str,
    layer: str | None,
    row_unit: str | None,
    overwrite: bool,
) -> Result:
    """Store activations that other programs wrote. Nothing is unpickled, and no link in a file is followed.

    \b
    FILE.npy             one layer, called as the file (or by --layer)
    FILE.npz             every array a layer; ids, splits, groups, positions and target:NAME, as
                         `actstore export` names them, are what is known of the rows
    FILE.npz:KEY         one array of it
    FILE.safetensors     every tensor a layer; FILE.safetensors:KEY one of them; of a file with hidden_states
                         and token_ids, as vLLM writes it for each request, a row per token
    FILE.pt              every tensor in a dict a layer, flat whole numbers and texts beside them targets
    FILE.h5, .h5ad, .nc  every dataset a layer; FILE.h5:/PATH one of them. MATLAB's (v7.3) come the right way round
    FOLDER.zarr          every array a layer; FOLDER.zarr:/PATH one of them
    FILE.parquet         a column of vectors a layer, else the columns of numbers side by side; a column `id` names
                         the rows. Also .feather, .csv and .tsv; FILE.csv:COLUMNS, with commas or a star
    FILE.h5              a dataset per sentence, 0, 1, ..., each (layers, tokens, features), as the
                         structural-probe tools and NeuroX write it (--row token where all are of one shape):
                         layers layer.0, layer.1, ...
                         a row per token, with its sentence as its group

    What a file is, its first bytes tell and not its name; any may be packed by gzip.

    Files of one split lie side by side where their layers have other names (the same rows, more layers); a layer that
    came before begins new rows below. Every split needs the same layers: --layer helps where files are called
    otherwise. Ids are SPLIT/INDEX unless the file has some (SPLIT/SENTENCE/TOKEN for sentences). SPLIT= overrides
    splits that a file has.

    \b
    Example:
      actstore import train=train/conv1.npy train=train/fc.npy test=test/conv1.npy test=test/fc.npy -o net.acts
      actstore import train=ptb-train.bert.hdf5 test=ptb-test.bert.hdf5 -o bert.acts
      actstore import train=a_train.npy test=a_test.npy --layer a -o a.h5
    """
    from actstore.exchange import ImportSettings, import_files

    settings = ImportSettings(split, layer, row_unit, overwrite, shlex.join(["actstore", *sys.argv[1:]]))
    with ProgressLine() as line, shown_warnings():
        store = import_files(
            files, output, settings, lambda rows, total: line.show(f"{rows:,} of {total:,} rows")
        )
    with store:
        return Result(
            outline(store, output),
            [f"{output}: {layers_of(store.rows, len(store.layers))}"],
            nonfinite_lines(store),
        )
