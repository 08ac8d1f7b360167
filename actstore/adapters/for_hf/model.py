"""A transformers model with what makes its inputs: found by a MODEL spec, or given from Python."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actstore import arrays
from actstore.adapters.extras import required
from actstore.errors import AdapterError
from actstore.provenance import hash_text
from actstore.usercode import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actstore.store.format import JSON

PREFIX = "hf:"


@dataclass(frozen=True)
class Pretrained:
    """A model and its processors.

    Args:
        model: a ``transformers.PreTrainedModel``.
        tokenizer: of text; None where there is none.
        images: its image processor; None where there is none.
        name: of its folder, or on the hub; "" where it was given from Python.
        revision: on the hub, as asked for; "" for none.
        missing: why there is no tokenizer, or image processor, by what it would take ("text", "images").
        untrained: weights that its files lack, which are random.
    """

    model: Any
    tokenizer: Any = None
    images: Any = None
    name: str = ""
    revision: str = ""
    missing: tuple[tuple[str, str], ...] = ()
    untrained: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Whether it came from Python without a processor: what goes in is the caller's."""
        return self.tokenizer is None and self.images is None and not self.name

    def document(self) -> dict[str, JSON]:
        """Return what identifies the processors, for the provenance."""
        found: dict[str, JSON] = {
            name: getattr(self, name) for name in ("name", "revision") if getattr(self, name)
        }
        if self.tokenizer is not None:
            found["tokenizer"] = _tokenizer_hash(self.tokenizer)
        if self.images is not None:
            found["image_processor"] = hash_text(json.dumps(self.images.to_dict(), sort_keys=True, default=str))
        return found


def is_model(value: object) -> bool:
    """Whether ``value`` is one of transformers' models, told without importing it."""
    return any(base.__module__ == "transformers.modeling_utils" for base in type(value).__mro__)


def is_known(value: object) -> bool:
    """Whether ``value`` is such a model, alone, as ``Pretrained`` or in a tuple with its processors."""
    first = value[0] if isinstance(value, tuple) and value else value
    return isinstance(value, Pretrained) or is_model(first)


def given(value: Any) -> Pretrained:
    """The model that is given from Python: alone, or in a tuple with its tokenizer, image processor or both.

    Raises:
        AdapterError: something else is in the tuple.
    """
    if isinstance(value, Pretrained):
        return value
    model, *others = value if isinstance(value, tuple) else (value,)
    found: dict[str, Any] = {}
    for other in others:
        what = "tokenizer" if hasattr(other, "get_vocab") else "images"
        if what in found or (what == "images" and not hasattr(other, "preprocess")):
            msg = (
                f"{arrays.describe(value)} is no model with its processors; (model, tokenizer) or "
                "(model, image_processor) is needed"
            )
            raise AdapterError(msg)
        found[what] = other
    return Pretrained(model, **found)


def load(spec: str) -> Pretrained:
    """The model that ``hf:FOLDER`` or ``hf:NAME[@REVISION]`` names, in the dtype that it is stored in.

    Raises:
        AdapterError: there is no such model, the hub is out of reach, or transformers is not installed.
    """
    transformers = required("transformers", "hf", spec)
    required("torch", "hf", spec)
    where, options = _place(spec)
    with _quiet(transformers):
        model, untrained = _model(transformers, spec, where, options)
        tokenizer, no_text = _processor(transformers.AutoTokenizer, where, options)
        images, no_images = _processor(transformers.AutoImageProcessor, where, options)
    if tokenizer is not None and len(tokenizer.get_vocab()) <= len(set(tokenizer.all_special_tokens)):
        tokenizer, no_text = None, "it has no vocabulary"  # what transformers makes where there are no files
    missing = tuple((what, why) for what, why in (("text", no_text), ("images", no_images)) if why)
    name = Path(where).resolve().name if "local_files_only" in options else where
    return Pretrained(model, tokenizer, images, name, options.get("revision", ""), missing, untrained)


def _place(spec: str) -> tuple[str, dict[str, Any]]:
    """Where to load from, and how: a folder that exists without asking the hub."""
    where = spec.removeprefix(PREFIX)
    if where and Path(where).is_dir():
        return where, {"local_files_only": True}
    name, _, revision = where.partition("@")
    if name and Path(name).is_dir():
        msg = f"{spec}: {name} is a folder, which has no revisions; write {PREFIX}{name}"
        raise AdapterError(msg)
    if not name or name.startswith((".", "/", "~")) or name.count("/") > 1:
        msg = f"{spec}: there is no folder {name!r}; expected {PREFIX}FOLDER or {PREFIX}NAME[@REVISION]"
        raise AdapterError(msg)
    return name, {"revision": revision} if revision else {}


def _model(transformers: Any, spec: str, where: str, options: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """The model, and the names of weights that the files lack."""
    import torch

    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # weights that the files lack are drawn, always the same
            model, about = transformers.AutoModel.from_pretrained(
                where, dtype="auto", trust_remote_code=False, output_loading_info=True, **options
            )
    except Exception as error:  # of transformers, of the hub's client, of the readers of weights
        hint = "" if options.get("local_files_only") else " (and there is no folder of that name)"
        msg = f"{spec} cannot be loaded{hint}: {explain(error)}"
        raise AdapterError(msg) from error
    return model.eval(), tuple(sorted(about["missing_keys"]))


def _processor(auto: Any, where: str, options: dict[str, Any]) -> tuple[Any, str]:
    """A processor, or None and why there is none."""
    try:
        return auto.from_pretrained(where, trust_remote_code=False, **options), ""
    except Exception as error:  # noqa: BLE001 - a folder without it fails in many ways; told once it is needed
        return None, explain(error)


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No bars and no advice while files are read."""
    logging = transformers.utils.logging
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _tokenizer_hash(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return hash_text(json.dumps([type(tokenizer).__qualname__, sorted(tokenizer.get_vocab().items())]))
    state = json.loads(backend.to_str())
    # Truncation and padding are set anew by every call.
    return hash_text(json.dumps({**state, "truncation": None, "padding": None}, sort_keys=True))
