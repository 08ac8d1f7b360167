"""What the error of a torch model may mean: notes for models that people have, and how they are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from actstore import arrays

_LABELS = ("labels", "label", "target", "targets", "y")


def hints(model: Any, given: object, error: BaseException, *, floats: bool) -> Iterator[str]:
    """Yield notes for what a model raised on a batch, given as it takes it.

    Args:
        model: the module.
        given: a tensor, a tuple of them, a dict; or texts, as they are in the data.
        error: what it raised.
        floats: whether the model computes in floats.
    """
    if isinstance(given, list) and arrays.is_text(given):
        yield _of_text(model)
    elif arrays.is_array(given) and floats and not given.is_floating_point():  # type: ignore[attr-defined]
        yield (
            f"the model was given {arrays.describe(given)}, as it is in the data; where it wants floats or "
            "another shape, convert in its forward, x = x.float().unsqueeze(1) / 255, or in a module around it"
        )
    elif isinstance(given, Mapping):
        yield from _of_keywords(model, given, error)


def _of_text(model: Any) -> str:
    if any(kind.__name__ == "SentenceTransformer" for kind in type(model).__mro__):
        return (
            "a SentenceTransformer takes tokens: give the model of transformers in it with its tokenizer, "
            "(model[0].auto_model, model.tokenizer), from Python or from a function in a file of yours (net.py:make)"
        )
    return (
        "the model was given text, as it is in the data, and takes tensors, it seems; a model of text with its "
        "tokenizer comes as hf:FOLDER, or as (model, tokenizer) from Python"
    )


def _of_keywords(model: Any, given: Mapping[str, object], error: BaseException) -> Iterator[str]:
    """Hints for a batch that is a dict: each of its arrays is given by its name."""
    config = getattr(model, "config", None)
    if hasattr(model, "text_model") and hasattr(model, "vision_model"):
        yield (
            f"{type(model).__name__} takes texts and images together; give one half of it, (model.text_model, "
            "tokenizer) or (model.vision_model, image_processor), from a function in a file of yours (net.py:make)"
        )
    elif getattr(config, "is_encoder_decoder", False) and not any(
        name.startswith("decoder_") for name in given
    ):
        yield (
            f"{type(model).__name__} has a decoder, which was given nothing; give its encoder alone, "
            "(model.get_encoder(), tokenizer), from a function in a file of yours (net.py:make), or batches with "
            "decoder_input_ids"
        )
    if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
        labels = next((name for name in given if name in _LABELS), None)
        yield (
            f"the batch holds {labels!r}, which the model was given, too; labels stand beside the inputs: "
            f"(inputs, labels)"
            if labels
            else "a batch that is a dict is given as keyword arguments; a model whose forward takes the dict itself "
            "comes as a function of yours, or in a module around it: def forward(self, **batch): return "
            "self.model(batch)"
        )
