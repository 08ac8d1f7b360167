"""The user's own Python: objects loaded from ``file.py:name``, and its errors told in one line."""

from __future__ import annotations

import importlib
import sys
import sysconfig
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import xxhash

from actstore.wording import hint

if TYPE_CHECKING:
    from actstore.errors import ActstoreError

_EXTRAS = {
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "jax": "jax",
    "flax": "jax",
    "keras": "keras",
    "transformers": "hf",
    "datasets": "hf",
    "PIL": "images",
}
"""The extra that installs a package, by what the package is imported as."""
_LONGEST = 400
_NOT_THE_USERS = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parent),
    "<",
)


def load_object(spec: str, error_type: type[ActstoreError]) -> object:
    """Return what ``file.py:name`` or ``package.module:name`` names; the user's folder is appended to the import path.

    Raises:
        ActstoreError: (as ``error_type``) no such file, module or name, or the user's file raises.
    """
    place, _, name = spec.rpartition(":")
    if not (place and name):
        msg = f"{spec!r} is not of the form file.py:name or package.module:name"
        raise error_type(msg)
    module = _from_file(Path(place), error_type) if place.endswith(".py") else _from_package(place, error_type)
    if not hasattr(module, name):
        public = [n for n, value in vars(module).items() if n[0] != "_" and not isinstance(value, ModuleType)]
        msg = f"{place} has no {name!r}; {hint(name, public)}"
        raise error_type(msg)
    return getattr(module, name)


def explain(error: BaseException) -> str:
    """One line: the exception, its message, its notes, and the place in the user's own code that it came from."""
    text = " ".join(str(error).split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ..."
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    line += _place(error)
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRAS.get((error.name or "").partition(".")[0])):
        line += f"; pip install 'actstore[{extra}]'"
    return "; ".join([line, *(" ".join(note.split()) for note in getattr(error, "__notes__", ()))])


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its message has the place already
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _from_file(path: Path, error_type: type[ActstoreError]) -> ModuleType:
    if not path.is_file():
        msg = f"there is no file {path}"
        raise error_type(msg)
    whole = path.resolve()
    # A name of its own: a user's torch.py must not stand in for torch, nor one net.py for another.
    name = f"_actstore_{whole.stem}_{xxhash.xxh3_64_hexdigest(str(whole).encode())}"
    if name in sys.modules:
        return sys.modules[name]
    _append_to_path(whole.parent)
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(whole)
    try:
        SourceFileLoader(name, str(whole)).exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        msg = f"{path} cannot be imported: {explain(error)}"
        raise error_type(msg) from error
    return module


def _from_package(name: str, error_type: type[ActstoreError]) -> ModuleType:
    _append_to_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        msg = f"{name} cannot be imported: {explain(error)}"
        raise error_type(msg) from error


def _append_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
