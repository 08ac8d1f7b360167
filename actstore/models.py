"""MODEL specs: ``file.py:name``, ``package.module:name`` or ``demo:NAME``, with ``--arg`` and ``--weights``.

What an adapter ``loads`` (``FILE.onnx``) is a whole model. Else the name is a model; or a function or class that makes
one from ``--arg``s; or a function from a batch to named arrays. A maker is told from a batch function by its
signature: once ``--arg``s and defaults are filled in, a maker needs nothing more, and a batch function exactly one
positional argument, the batch.
"""

from __future__ import annotations

import ast
import inspect
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actstore import demos
from actstore.adapters import adapt, loader
from actstore.errors import AdapterError
from actstore.usercode import explain, load_object
from actstore.wording import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actstore.adapters import Adapter

_DEMO = "demo:"
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def load_model(spec: str, arguments: Mapping[str, str] | None = None, weights: str | None = None) -> object:
    """The model that a MODEL spec names, ready for ``actstore.dumping.dump``.

    Args:
        spec: ``file.py:name``, ``package.module:name``, ``demo:NAME``, or what an adapter ``loads``.
        arguments: of ``--arg KEY=VALUE``: Python literals (``3``, ``(64, 32)``, ``True``), or else text.
        weights: ``FILE[:KEY]``, loaded by the model's adapter.

    Raises:
        AdapterError: nothing of that name, missing or unknown arguments, a maker that raises, weights that do not fit.
    """
    file = None if weights is None else weights_file(weights)  # before the model is built
    values = {name: _literal(text) for name, text in (arguments or {}).items()}
    loads = loader(spec)
    model = _named(spec, values) if loads is None else _loaded(loads, spec, values)
    adapter = adapt(model)
    return model if file is None else adapter.load_weights(*file)


def as_model(model: object) -> object:
    """Return the model that a MODEL spec names, where text is given; a model as it is."""
    return load_model(model) if isinstance(model, str) else model


def _loaded(adapter: type[Adapter], spec: str, values: Mapping[str, object]) -> object:
    if values:
        msg = f"{spec} is a whole model, no function that makes one; it takes no --arg {next(iter(values))}"
        raise AdapterError(msg)
    return adapter.load(spec)


def _named(spec: str, values: Mapping[str, object]) -> object:
    found = _demo(spec.removeprefix(_DEMO)) if spec.startswith(_DEMO) else load_object(spec, AdapterError)
    if isinstance(found, type) or inspect.isroutine(found):
        return _make(found, spec, values)
    if values:
        msg = f"{spec} is a {type(found).__name__}, no function that makes one; it takes no --arg {next(iter(values))}"
        raise AdapterError(msg)
    return found


def _make(maker: Callable[..., Any], spec: str, values: Mapping[str, object]) -> object:
    parameters = _parameters(maker, spec)
    known = [name for name, parameter in parameters.items() if parameter.kind in _NAMED]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    strangers = [name for name in values if name not in known]
    if strangers and not takes_any:
        msg = f"{spec} takes no argument {strangers[0]!r}; it takes {listed(known)}"
        raise AdapterError(msg)
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in _VARIADIC and name not in values
    ]
    if not missing:
        return _made(maker, spec, values)
    batch = parameters[missing[0]]
    if len(missing) == 1 and batch.kind is not inspect.Parameter.KEYWORD_ONLY and not isinstance(maker, type):
        return partial(maker, **values) if values else maker
    msg = (
        f"{spec} needs {listed(missing)}: give each by --arg NAME=VALUE "
        "(a function of a batch has exactly one argument without a default)"
    )
    raise AdapterError(msg)


def _parameters(maker: Callable[..., Any], spec: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(maker).parameters
    except (TypeError, ValueError) as error:
        msg = f"{spec} does not say what arguments it takes; wrap it in a function of your own"
        raise AdapterError(msg) from error


def _made(maker: Callable[..., Any], spec: str, values: Mapping[str, object]) -> object:
    try:
        return maker(**values)
    except Exception as error:
        msg = f"{spec} could not make the model: {explain(error)}"
        raise AdapterError(msg) from error


def _demo(name: str) -> object:
    if name not in demos.DEMOS:
        msg = f"there is no demo {name!r}; there is {listed([*demos.DEMOS])}"
        raise AdapterError(msg)
    return demos.DEMOS[name]


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a word, a path: text as it is
        return text


def weights_file(weights: str) -> tuple[Path, str | None]:
    """The file and the key of ``FILE[:KEY]``. AdapterError where there is no such file."""
    path, key = Path(weights), None
    if not path.exists() and ":" in weights:
        name, _, key = weights.rpartition(":")
        path = Path(name)
    if not path.is_file():
        msg = f"there is no file {path} to load weights from"
        raise AdapterError(msg)
    return path, key
