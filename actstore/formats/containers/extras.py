"""Packages that read files of one kind each, and are not everybody's: loaded where such a file is opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from actstore.errors import SourceError


def needed(package: str, extra: str, shown: str, kind: str) -> Any:
    """Return the module of a package.

    Raises:
        SourceError: it is not installed; with the extra that brings it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        msg = f"{shown} is {kind}, which {name} reads ({error}): pip install 'actstore[{extra}]'"
        raise SourceError(msg) from error
