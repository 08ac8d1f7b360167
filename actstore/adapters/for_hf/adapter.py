"""Hugging Face transformers: the torch adapter, with text and images through the model's own processors.

``hf:FOLDER`` (offline) or ``hf:NAME[@REVISION]``; in Python ``(model, tokenizer)``, ``(model, image_processor)``, or a
model alone, which is given arrays. Texts, or lists of words, become token ids, padded to the longest of their batch;
images (uint8 arrays, or PIL's) pixel values. All other inputs are given as they are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from warnings import warn

import numpy as np

from actstore import arrays
from actstore.adapters.for_hf import model as hf_model
from actstore.adapters.for_hf.text import Texts
from actstore.adapters.for_torch.adapter import TorchAdapter
from actstore.errors import AdapterError
from actstore.formats.imagefiles import as_rgb
from actstore.wording import listed

if TYPE_CHECKING:
    from pathlib import Path

    from actstore.activations import ModelLayer
    from actstore.store.format import JSON

_TEXT, _IMAGES = "text", "images"
_TAKES = {_TEXT: "input_ids", _IMAGES: "pixel_values"}
_PROCESSORS = {_TEXT: "tokenizer", _IMAGES: "image processor"}


class UntrainedWeightsWarning(UserWarning):
    """The files of a model lack some of its weights."""


class HfAdapter(TorchAdapter):
    """Runs a ``transformers.PreTrainedModel`` as a torch module, on what its processors make of the inputs."""

    name = "hf"
    loads: ClassVar[tuple[str, ...]] = (hf_model.PREFIX,)
    truncates: ClassVar[bool] = True

    def __init__(self, model: Any, device: str | None = None) -> None:
        self._given = hf_model.given(model)
        super().__init__(self._given.model, device)

    @staticmethod
    def accepts(model: object) -> bool:
        """A model of transformers, alone or with its processors."""
        return hf_model.is_known(model)

    @staticmethod
    def load(spec: str) -> hf_model.Pretrained:
        """``hf:FOLDER`` or ``hf:NAME[@REVISION]``."""
        return hf_model.load(spec)

    def describe(self, inputs: object | None) -> list[ModelLayer]:
        """The modules; warns of weights that the model's files lacked."""
        if self._given.untrained:
            msg = (
                f"{self._given.name} lacks the weights {listed(self._given.untrained)}: they are random, and so is "
                "what is computed with them"
            )
            warn(msg, UntrainedWeightsWarning, stacklevel=2)
        return [self._as_wide(row) for row in super().describe(inputs)]

    def _as_wide(self, row: ModelLayer) -> ModelLayer:
        """Names, for want of better ones, for the two axes of what is as wide as the model, and not as long."""
        width = getattr(self.model.config, "hidden_size", None)
        if (
            row.axes != arrays.default_axes(2)
            or row.shape is None
            or row.shape[1] != width
            or row.shape[0] == width
        ):
            return row
        return replace(row, axes=("position", "feature"))

    def prepared(self, inputs: object) -> tuple[object, np.ndarray | None]:
        """Token ids of texts, with the words they belong to; pixel values of images."""
        if arrays.is_text(inputs):
            self._check_processor(_TEXT, self._given.tokenizer)
            return self._texts.prepared(inputs)  # type: ignore[arg-type]
        if _is_images(inputs) and not (self._given.alone and arrays.is_array(inputs)):
            self._check_processor(_IMAGES, self._given.images)
            found = self._given.images(images=[_rgb(image) for image in inputs], return_tensors="pt")  # type: ignore[attr-defined]
            return dict(found), None
        return inputs, None

    def tokens(self, inputs: object) -> np.ndarray | None:
        """The tokens of texts as the tokenizer's vocabulary writes them: one text for each number."""
        found = super().tokens(inputs)
        tokenizer = self._given.tokenizer
        if found is None or tokenizer is None or found.dtype.kind not in "iu":
            return found
        numbers, places = np.unique(found, return_inverse=True)
        texts = tokenizer.convert_ids_to_tokens(numbers.tolist())
        known = [number if text is None else text for number, text in zip(numbers.tolist(), texts, strict=True)]
        return np.array([str(text) for text in known], np.str_)[places].reshape(found.shape)

    def load_weights(self, path: Path, key: str | None) -> object:
        """As a torch model does; the processors stay with it, and nothing of it is random any more."""
        super().load_weights(path, key)
        return replace(self._given, untrained=())

    def provenance(self) -> dict[str, JSON]:
        """Also the name and revision, and hashes of the processors."""
        return {**super().provenance(), **self._given.document()}

    @cached_property
    def _texts(self) -> Texts:
        return Texts(self._given.tokenizer, self.model, truncate=self.truncate)

    def _check_processor(self, came: str, processor: object) -> None:
        """Refuse text for a model of images, and the other way round, or what there is no processor for."""
        takes, kind = getattr(self.model, "main_input_name", ""), type(self.model).__name__
        if processor is not None:
            return
        others = {name: what for what, name in _TAKES.items() if what != came}
        if takes in others:
            msg = (
                f"the input is {came}, but {kind} is a model of {others[takes]} (it takes {takes}); "
                f"give it {others[takes]}"
            )
            raise AdapterError(msg)
        need, why = _PROCESSORS[came], dict(self._given.missing).get(came)
        where = f"the folder {self._given.name} has none" if self._given.name else f"give (model, {need})"
        msg = f"the input is {came}, but there is no {need} for {kind}: {where}" + (f" ({why})" if why else "")
        raise AdapterError(msg)


def _is_images(inputs: object) -> bool:
    """Whether a batch is (rows, height, width, ...) uint8, or a list of PIL's images."""
    if isinstance(inputs, list):
        return bool(inputs) and all(_is_pil(image) for image in inputs)
    return arrays.is_array(inputs) and str(inputs.dtype).endswith("uint8") and inputs.ndim > 2  # type: ignore[attr-defined]


def _is_pil(image: object) -> bool:
    return any(base.__module__.partition(".")[0] == "PIL" for base in type(image).__mro__)


def _rgb(image: Any) -> Any:
    """An image of one channel as three that are the same; PIL's of whatever kind as RGB."""
    if _is_pil(image):
        try:
            return as_rgb(image)
        except ValueError as error:
            msg = f"an image cannot be taken: {error}. Scale it to 8 bits first (how depends on what it shows)"
            raise AdapterError(msg) from error
    array = arrays.to_bits(image)[0]
    return np.stack([array] * 3, axis=-1) if array.ndim == 2 else array
