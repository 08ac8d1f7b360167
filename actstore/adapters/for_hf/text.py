"""Text as a transformers model takes it: token ids, padded to the longest of the batch, and whose word each one is."""

from __future__ import annotations

import copy
import inspect
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import RowError

if TYPE_CHECKING:
    from collections.abc import Sequence

_OWN_POSITIONS = "create_position_ids_from_inputs_embeds"
"""A method of embeddings that count positions themselves, from behind the id of padding (RoBERTa's)."""


class TruncatedTextWarning(UserWarning):
    """Texts that are longer than the model takes were cut, as was asked for."""


class Texts:
    """Tokenises batches for one model. The tokenizer that is given stays as it is.

    Args:
        tokenizer: of transformers.
        model: that takes what it gives.
        truncate: whether texts that are longer than the model takes are cut.
    """

    def __init__(self, tokenizer: Any, model: Any, *, truncate: bool = False) -> None:
        self._tokenizer = tokenizer
        self._cut, self._warned = truncate, False
        if tokenizer.pad_token is None:
            # Any token serves: padding is masked, and no row of a store.
            self._tokenizer = copy.deepcopy(tokenizer)
            self._tokenizer.pad_token = tokenizer.eos_token or next(iter(tokenizer.get_vocab()))
        embeddings = next((part for part in model.modules() if hasattr(part, _OWN_POSITIONS)), None)
        self._limit = _position_limit(model)
        if embeddings is not None and self._limit is not None:
            self._limit -= embeddings.padding_idx + 1
        self._positions = embeddings is None and "position_ids" in _arguments(model)
        self._spaces = _drops_spaces(tokenizer)

    def prepared(self, texts: Sequence[Any] | np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """What the model takes, and (examples, positions) whose word each position is (``Adapter.prepared``; None of
        a tokenizer that is written in Python, which cannot tell).

        Args:
            texts: (examples,) texts, or lists of the words of each. A word without any token (control characters)
                becomes the unknown token. Where a tokenizer takes spaces as part of what follows, all words but the
                first of an example get one.

        Raises:
            RowError: a text that is longer than the model takes (unless it is cut, which is warned of once), or a word
                that is no token at all.
        """
        texts = texts.tolist() if isinstance(texts, np.ndarray) else texts
        split = not isinstance(texts[0], str)
        encoded = self._encoded(texts, split)
        word_of = self._word_of(encoded, len(texts))
        if split and word_of is not None:
            known = self._known(texts, word_of, self._cut_off(encoded, len(texts)))
            if known is not texts:
                encoded = self._encoded(known, split)
                word_of = self._word_of(encoded, len(texts))
        inputs = {name: np.asarray(values) for name, values in encoded.items()}
        if not inputs["attention_mask"].shape[1]:  # nothing but empty texts: each is one position of padding
            inputs = self._padding(len(texts))
            word_of = None if word_of is None else np.full((len(texts), 1), -1, np.int64)
        mask = inputs["attention_mask"]
        self._check_lengths(mask.sum(axis=1))
        self._warn_of_cuts(texts, self._cut_off(encoded, len(texts)))
        if self._positions and not mask[:, 0].all():
            inputs["position_ids"] = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
        return inputs, word_of

    def _encoded(self, texts: Sequence[Any], split: bool) -> Any:
        if split and self._spaces:
            texts = [[word if not place else f" {word}" for place, word in enumerate(words)] for words in texts]
        return self._tokenizer(
            [list(words) for words in texts] if split else list(texts),
            is_split_into_words=split,
            padding=True,
            return_attention_mask=True,
            return_tensors="np",
            **({"truncation": True, "max_length": self._limit} if self._cut and self._limit else {}),
        )

    def _padding(self, rows: int) -> dict[str, np.ndarray]:
        """What the model takes for texts without any token, as it is beside texts that have some."""
        one = self._tokenizer([self._tokenizer.pad_token], add_special_tokens=False, return_tensors="np")
        mask = {"attention_mask": np.zeros((rows, 1), np.int64)}
        return {name: np.repeat(np.asarray(values)[:, :1], rows, axis=0) for name, values in one.items()} | mask

    def _cut_off(self, encoded: Any, examples: int) -> list[bool]:
        """Which examples were cut. A tokenizer that is written in Python does not say so: those that are full."""
        if not self._cut or self._limit is None:
            return [False] * examples
        if self._tokenizer.is_fast:
            return [bool(one.overflowing) for one in encoded.encodings]
        return (np.asarray(encoded["attention_mask"]).sum(axis=1) >= self._limit).tolist()

    def _warn_of_cuts(self, texts: Sequence[Any], cut: Sequence[bool]) -> None:
        """Warn once: where a store has the beginning of a text alone, whoever reads it has to know."""
        if self._warned or not any(cut):
            return
        self._warned = True
        first = texts[list(cut).index(True)]
        begin = (first if isinstance(first, str) else " ".join(map(str, first)))[:40]
        msg = (
            f"texts of more than the {self._limit:,} tokens that the model takes are cut (--truncate); the first of "
            f"them begins {begin!r}"
        )
        warnings.warn(msg, TruncatedTextWarning, stacklevel=2)

    def _word_of(self, encoded: Any, examples: int) -> np.ndarray | None:
        if not self._tokenizer.is_fast:
            return None
        words = [encoded.word_ids(example) for example in range(examples)]
        return np.array([[-1 if word is None else word for word in of] for of in words], np.int64)

    def _known(self, texts: Sequence[Any], word_of: np.ndarray, cut: Sequence[bool]) -> Sequence[Any]:
        """The texts, with the unknown token for words that became no token; themselves where there is no such word."""
        found = list(texts)
        for row, words in enumerate(texts):
            reached = int(word_of[row].max(initial=-1)) + 1 if cut[row] else len(words)
            lost = sorted(set(range(reached)) - set(word_of[row].tolist()))
            if not lost:
                continue
            unknown = self._tokenizer.unk_token
            if unknown is None:
                what = f"has the word {words[lost[0]]!r}, of which the tokenizer makes no token; leave it out"
                raise RowError(row, what)
            found[row] = [unknown if place in lost else word for place, word in enumerate(words)]
        return found if found != list(texts) else texts

    def _check_lengths(self, lengths: np.ndarray) -> None:
        if self._limit is None:
            return
        too_long = np.flatnonzero(lengths > self._limit)
        if len(too_long):
            row = int(too_long[0])
            what = (
                f"has {lengths[row]:,} tokens, more than the {self._limit:,} that the model takes; split it, leave it "
                "out of the data, or cut all such texts (--truncate)"
            )
            raise RowError(row, what)


def _position_limit(model: Any) -> int | None:
    """How many positions a model has; None where it knows distances alone, whatever its configuration says.

    A table of positions has so many rows, and a model that rotates was made for so many; XLNet, T5 or Bloom take any.
    """
    declared = getattr(model.config, "max_position_embeddings", None)
    declared = declared if isinstance(declared, int) and declared > 0 else None
    tables = [
        part.num_embeddings
        for name, part in model.named_modules()
        if hasattr(part, "num_embeddings") and _is_of_positions(name)
    ]
    if tables:
        return min([*tables, *([declared] if declared else [])])
    rotates = any("Rotary" in type(part).__name__ for part in model.modules())
    return declared if rotates else None


def _is_of_positions(name: str) -> bool:
    own = name.rpartition(".")[2]
    return own == "wpe" or ("position" in own and "relative" not in own)


def _arguments(model: Any) -> set[str]:
    """The names of what the model's ``forward`` takes."""
    return set(inspect.signature(model.forward).parameters)


def _drops_spaces(tokenizer: Any) -> bool:
    """Whether words on their own are tokenised as if no space were before them, though tokens have spaces in them."""
    if not tokenizer.is_fast:
        return False
    steps = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    return any(
        step.get("add_prefix_space") is False or step.get("prepend_scheme") in ("first", "never")
        for step in steps
    )
