"""Packages that a file needs before any model of theirs exists: those of a framework, and safetensors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from actstore.errors import AdapterError

if TYPE_CHECKING:
    from pathlib import Path


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


def safetensors(path: Path, framework: str) -> dict[str, Any]:
    """The arrays of a ``.safetensors`` file by name, as ``framework`` ("torch", "flax") has them.

    Raises:
        AdapterError: the package safetensors is not installed.
    """
    try:
        reader = import_module(f"safetensors.{framework}")
    except ModuleNotFoundError as error:
        msg = f"{path} needs the package safetensors: pip install safetensors"
        raise AdapterError(msg) from error
    return reader.load_file(path)
