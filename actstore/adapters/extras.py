"""The packages of a framework, where a model file needs them before any model of theirs exists."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from actstore.errors import AdapterError


def required(package: str, extra: str, why: str) -> Any:
    """The module ``package``.

    Raises:
        AdapterError: it is not installed; the message says which extra installs it.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        msg = f"{why} needs the package {package}, which is not installed: pip install 'actstore[{extra}]'"
        raise AdapterError(msg) from error
