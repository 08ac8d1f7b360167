"""`probe explain`: pictures, what decoders make of a layer, and what its reference makes, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.probe.bridge import described, open_store
from cli.probe.decoding.decode_rows import INPUT
from cli.result import Result, command
from cli.shared import overwrite_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from actstore.store.reading.reader import Store
    from solvers.decoders.decoder import Decoder, Decoders
    from solvers.decoders.grid import Cell, Grid

_WORST, _BEST = 4, 4


@command()
@click.argument("decoder", metavar="DECODER")
@click.argument("store", metavar="STORE")
@click.option(
    "--rows",
    metavar="ROW[,ROW...]",
    help="Which rows, by number or id. Default: the four that are given back worst, then the four best.",
)
@click.option("--layer", "layers", multiple=True, metavar="NAME", help="Which layers of DECODER; repeatable.")
@click.option("--title", help="A title for the figure.")
@click.option("-o", "--output", required=True, metavar="FIG", help="FIG.svg, or FIG.png (needs Pillow).")
@overwrite_option
def explain(
    decoder: str,
    store: str,
    rows: str | None,
    layers: tuple[str, ...],
    title: str | None,
    output: str,
    overwrite: bool,
) -> Result:
    """Draw a grid: the picture, what each decoder of DECODER makes of a layer, what the reference makes of the picture.

    A row of the grid is a row of STORE; below each picture is its squared error, summed over the image. Of several
    seeds the first is shown. The difference between a layer's picture and its reference's is what the layer lost.

    \b
    Examples:
      probe explain decoders.h5 digits.h5 -o digits.svg
      probe explain cladec.h5 mnist.h5 --rows test/0,test/17 --layer fc1 -o fc1.png
    """
    from solvers.decoders.decoder_file import load_decoders
    from solvers.decoders.grid import refuse_existing_grid, save_grid

    refuse_existing_grid(Path(output), overwrite)
    found = load_decoders(decoder)
    chosen = _first_seed(found, layers, decoder)
    with open_store(store, chosen[0].step if len(_steps(store)) > 1 else None) as opened:
        same = _refuse_another(found, chosen, opened, decoder)
        numbers = _numbers(rows, opened) if rows is not None else _worst_and_best(found, chosen, same)
        drawing = _Drawing(found, opened, numbers, same)
        save_grid(
            drawing.grid(chosen, title or f"what layers keep: {Path(decoder).name}"), Path(output), overwrite
        )
    return Result({"output": output, "rows": numbers.tolist()}, [f"wrote {output}"])


def _steps(store: str) -> Sequence[int]:
    import actstore

    with actstore.open(store) as opened:
        return list(opened.steps)


def _first_seed(found: Decoders, layers: Sequence[str], path: str) -> list[Decoder]:
    """The decoders to show: of the layers asked for, of the first seed."""
    from solvers.errors import ProbeFileError

    names = list(dict.fromkeys(each.layer for each in found))
    missing = [name for name in layers if name not in names]
    if missing or not names:
        msg = f"{path} has no decoder of layer {(*missing, '')[0]!r}; it has {', '.join(names) or 'none'}"
        raise ProbeFileError(msg)
    seed = found.decoders[0].seed
    return [each for each in found if each.seed == seed and each.layer in (layers or names)]


def _refuse_another(found: Decoders, chosen: Sequence[Decoder], store: Store, path: str) -> bool:
    """Whether the store holds the very rows that were scored; refused where its layers are others."""
    from actstore.errors import StoreError

    stored = found.provenance.get("stored", {})
    for name in (INPUT, *dict.fromkeys(each.layer for each in chosen)):
        if name not in store.layers:
            msg = f"{store.path} has no layer {name!r}, which {path} is of; dump it, too"
            raise StoreError(msg)
        before, now = stored.get(name, {}), described(store, name)
        if before.get("reductions", []) != now.get("reductions", []):
            msg = f"layer {name!r} of {store.path} was reduced otherwise than the one that {path} was made from"
            raise StoreError(msg)
        if None not in (before.get("weights"), now.get("weights")) and before["weights"] != now["weights"]:
            msg = f"{store.path} was dumped from other weights than {path} was made from; decode that store"
            raise StoreError(msg)
    shape = chosen[0].units.stored
    if store.layers[INPUT].shape[1:] != shape:
        msg = (
            f"the pictures of {store.path} have the shape {store.layers[INPUT].shape[1:]}; {path} is of {shape}"
        )
        raise StoreError(msg)
    same = store.fingerprint == found.provenance.get("fingerprint")
    if same and len(found.rows) and not 0 <= found.rows.min() <= found.rows.max() < store.rows:
        msg = f"{path} is damaged: it was scored on rows that {store.path} has not; train the decoders again"
        raise StoreError(msg)
    return same


def _numbers(text: str, store: Store) -> np.ndarray:
    """Rows by number or id, in the order given."""
    import numpy as np

    ids = store.ids.tolist()
    found = []
    for word in (each.strip() for each in text.split(",")):
        if word in ids:
            found.append(ids.index(word))
        elif word.isascii() and word.isdigit() and len(word) < 16 and int(word) < len(ids):
            found.append(int(word))
        else:
            raise click.ClickException(
                f"{store.path} has no row {word!r}; it has the numbers 0 to {len(ids) - 1}, and ids such as {ids[0]!r}"
            )
    return np.asarray(found, np.int64)


def _worst_and_best(found: Decoders, chosen: Sequence[Decoder], same: bool) -> np.ndarray:
    """Scored rows: those that are given back worst, then best, by the mean error of the layers' least alphas."""
    import numpy as np

    from solvers.decoders.decoder import REFERENCE

    if not same:
        raise click.ClickException(
            "these are other rows than the decoders were scored on, so none is the worst or best: say which with --rows"
        )
    least = min(each.alpha for each in chosen)
    judged = [each for each in chosen if each.role != REFERENCE and each.alpha == least]
    error = np.mean([np.asarray(each.seen["squared_error"]) for each in judged], axis=0)
    order = np.argsort(-error, kind="stable")
    best = order[_WORST:][::-1][:_BEST]
    return found.rows[np.concatenate([order[:_WORST], best])]


@dataclass(frozen=True)
class _Drawing:
    """Rows of a store, as a grid."""

    found: Decoders
    store: Store
    rows: np.ndarray
    same: bool

    def grid(self, chosen: Sequence[Decoder], title: str) -> Grid:
        """Columns: the picture, then every decoder, layer by layer."""
        from solvers.decoders.grid import Cell, Grid

        true = chosen[0].units.to_unit(self._taken(INPUT))
        columns: list[Sequence[Cell]] = [[Cell(picture) for picture in true]]
        titles: list[tuple[str, ...]] = [("input",)]
        notes = []
        for each in chosen:
            cells, note = self._cells(each, true)
            if note:
                notes.append(note)
            columns.append(cells)
            titles.append((each.layer, "linear" if each.method == "linear" else each.part))
        ids = self.store.ids
        lines = [(str(ids[row]), *self._label(row)) for row in self.rows]
        rows = list(zip(lines, zip(*columns, strict=True), strict=True))
        return Grid(title, titles, rows, self._notes(chosen, notes))

    def _taken(self, layer: str) -> np.ndarray:
        from solvers.rows import take

        source: Any = self.store.layers[layer]
        return take(source, self.rows).reshape(len(self.rows), *source.shape[1:])

    def _cells(self, decoder: Decoder, true: np.ndarray) -> tuple[list[Cell], str]:
        """A column, and what must be said of it."""
        import numpy as np

        from solvers.decoders.decoder import REFERENCE
        from solvers.decoders.grid import Cell

        if decoder.role != REFERENCE:
            made = decoder.reconstruct(self._taken(decoder.layer))
            return [Cell(one, _error(one, other)) for one, other in zip(made, true, strict=True)], ""
        places = {int(row): place for place, row in enumerate(self.found.rows)} if self.same else {}
        seen = decoder.seen.get("pictures")
        cells = []
        for row, other in zip(self.rows, true, strict=True):
            place = None if seen is None else places.get(int(row))
            if seen is None or place is None:
                cells.append(Cell(None, "not kept"))
            else:
                one = np.asarray(seen[place], np.float64)
                cells.append(Cell(one, _error(one, other)))
        kept = all(cell.picture is not None for cell in cells)
        return cells, "" if kept else "the reference's pictures are kept of the scored rows alone"

    def _label(self, row: int) -> tuple[str, ...]:
        """The row's label, where the decoders were told of a target."""
        import numpy as np

        target = self.found.provenance.get("target")
        if not target or target not in self.store.targets:
            return ()
        labels = self.store.targets[target]
        return () if np.ma.getmaskarray(labels)[row] else (f"{target} {labels[row]}",)

    def _notes(self, chosen: Sequence[Decoder], more: Sequence[str]) -> list[str]:
        from solvers.decoders.claims import untrained
        from solvers.decoders.decoder import REFERENCE

        notes = ["below each picture: its squared error, summed over the values of the image, each 0 to 1"]
        if not any(each.role == REFERENCE for each in chosen):
            notes.append(
                "no reference was trained (probe decode --reference): what is lost here, the decoder may have lost"
            )
        behind = {
            (layer, part) for layer, part, seed in untrained(self.found.all_scores()) if seed == chosen[0].seed
        }
        shown = [f"{each.layer} {each.part}" for each in chosen if (each.layer, each.part) in behind]
        if shown:
            notes.append(
                f"no nearer to the pictures than their mean, so not trained to the end: {', '.join(shown)}"
            )
        seeds = len({each.seed for each in self.found})
        if seeds > 1:
            notes.append(f"seed {chosen[0].seed} of {seeds}")
        return [*notes, *dict.fromkeys(more)]


def _error(one: np.ndarray, other: np.ndarray) -> str:
    return f"{float(((one - other) ** 2).sum()):.3g}"
