"""The hidden states of one request to a serving engine, in a file of its own: a row per token.

vLLM's ``ExampleHiddenStatesConnector`` writes ``REQUEST.safetensors`` with ``token_ids`` (tokens,) and
``hidden_states`` (tokens, layers, width); which layers these are, its settings say and the file does not, so they are
``layer.0``, ``layer.1``, … in their order. See
https://docs.vllm.ai/en/latest/features/speculative_decoding/extract_hidden_states/.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from actstore.activations import Captured
from actstore.errors import SourceError
from actstore.exchange.base import ArrayLayer, Facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actstore.formats.containers.base import FileArray

STATES, TOKENS = "hidden_states", "token_ids"
TARGET = "token_id"
AXES = ("feature",)


def is_request(arrays: Mapping[str, FileArray]) -> bool:
    """Whether a file has the tensors of a request, and no others."""
    return {*arrays} == {STATES, TOKENS}


class RequestBlock:
    """The tokens of one request: its file is their group, and their place in it the position."""

    row_unit: str | None = "token"

    def __init__(self, arrays: Mapping[str, FileArray], split: str, shown: str) -> None:
        """SourceError where the two tensors do not fit together."""
        states, tokens = arrays[STATES], arrays[TOKENS]
        if (
            len(states.shape) != 3
            or tokens.shape != states.shape[:1]
            or not tokens.dtype.startswith(("int", "uint"))
        ):
            msg = (
                f"{shown} has {STATES} of shape {states.shape} and {TOKENS} of {tokens.dtype} {tokens.shape}; expected "
                "(tokens, layers, width) and (tokens,) whole numbers. Name one of them to import it alone (FILE:KEY)"
            )
            raise SourceError(msg)
        self.split, self._states, self._tokens = split, states, tokens
        name = PurePath(shown.removesuffix(".gz")).stem
        self._group = f"{split}/{name}" if split else name
        self.rows, layers, width = states.shape
        if not self.rows or not layers:
            msg = f"{shown} has no tokens" if layers else f"{shown} has no layers"
            raise SourceError(msg)
        dtype = ArrayLayer(states.spec, states.dtype, (1,), states.blocks).dtype
        self.layers: Mapping[str, tuple[str, tuple[int, ...]]] = {
            f"layer.{number}": (dtype, (width,)) for number in range(layers)
        }

    def batches(self, nbytes: int) -> Iterator[tuple[Mapping[str, Captured], Facts]]:
        """All rows in order, about ``nbytes`` at a time."""
        row_bytes = max(1, int(np.prod(self._states.shape[1:])) * self._states.values.dtype.itemsize)
        start = 0
        tokens = self._tokens.whole()
        for piece in self._states.blocks(max(1, nbytes // row_bytes)):
            places = range(start, start + len(piece))
            activations = {
                name: Captured(np.ascontiguousarray(piece[:, number]), dtype, AXES)
                for number, (name, (dtype, _)) in enumerate(self.layers.items())
            }
            facts = Facts(
                ids=[f"{self._group}/{place}" for place in places],
                groups=[self._group] * len(piece),
                positions=list(places),
                targets={TARGET: tokens[places.start : places.stop]},
                row_unit=self.row_unit,
            )
            yield activations, facts
            start += len(piece)
