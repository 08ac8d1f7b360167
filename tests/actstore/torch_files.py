"""What torch.save writes, without torch: the same pickle, made of stand-ins with the names of torch's own."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i4": "Int", "u1": "Byte", "b1": "Bool"}


@contextmanager
def _torch() -> Iterator[types.ModuleType]:
    """Modules called as torch's are, for as long as something is pickled."""
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}

    def _rebuild_tensor_v2(*_: object) -> None:
        """Only its name is written."""

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    for kind in (*_STORAGES.values(), "BFloat16", "ComplexFloat"):
        name = f"{kind}Storage"
        setattr(modules["torch"], name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield modules["torch"]
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class View:
    """A tensor: a view of a storage, whose offset and strides count elements; ``kind`` is for what NumPy lacks."""

    def __init__(
        self,
        storage: np.ndarray,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        offset: int = 0,
        kind: str = "",
    ) -> None:
        self.storage, self.shape, self.strides, self.offset = storage, shape, strides, offset
        self.kind = kind or _STORAGES[storage.dtype.str[1:]]


class _Reference:
    def __init__(self, storage: tuple[Any, ...]) -> None:
        self.storage = storage


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, torch: types.ModuleType, protocol: int) -> None:
        super().__init__(file, protocol)
        self._torch = torch
        self.storages: list[np.ndarray] = []

    def persistent_id(self, value: object) -> tuple[Any, ...] | None:
        return value.storage if isinstance(value, _Reference) else None

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, np.ndarray):
            value = value if value.flags.forc else np.ascontiguousarray(value)
            strides = tuple(stride // value.itemsize for stride in value.strides)
            value = View(value.ravel(order="K"), value.shape, strides)
        if not isinstance(value, View):
            return NotImplemented
        key = str(len(self.storages))
        self.storages.append(value.storage)
        kind = getattr(self._torch, f"{value.kind}Storage")
        reference = _Reference(("storage", kind, key, "cpu", len(value.storage)))
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (reference, value.offset, value.shape, value.strides, False, {})


def torch_bytes(value: object, *, protocol: int = 2, **members: bytes) -> bytes:
    """The file that ``torch.save(value)`` writes; arrays stand for tensors, ``members`` replace parts of it."""
    with _torch() as torch:
        file = io.BytesIO()
        pickler = _Pickler(file, torch, protocol)
        pickler.dump(value)
    parts = {"data.pkl": file.getvalue(), "byteorder": b"little"}
    parts |= {f"data/{number}": storage.tobytes() for number, storage in enumerate(pickler.storages)}
    parts |= {"version": b"3\n"} | {name.replace("__", "/"): data for name, data in members.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in parts.items():
            archive.writestr(f"archive/{name}", data)
    return out.getvalue()
