"""What for_torch knows of torch's modules: their names, their calls, their outputs and the axes of these."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from actstore import interop
from actstore.adapters.base import OUTPUT, LayerRow
from actstore.store.format import DTYPES

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

See: TypeAlias = "Callable[[str, int, Module, object], None]"
"""Called after a module was: with its name, how often it was called before, the module and what it returned."""

_DIMENSIONS = re.compile(r"([123])d$")
_SPATIAL = {1: ("position",), 2: ("height", "width"), 3: ("depth", "height", "width")}
_FEATURES_LAST = {
    "Embedding", "GRU", "LSTM", "LayerNorm", "Linear", "MultiheadAttention", "RMSNorm", "RNN",
    "TransformerDecoderLayer", "TransformerEncoderLayer",
}  # fmt: skip


def modules_by_name(model: Module) -> dict[str, Module]:
    """Every module once, under its first name; the model itself, last, as ``output``."""
    modules = dict(model.named_modules())
    root = modules.pop("")
    return modules if OUTPUT in modules else {**modules, OUTPUT: root}


def aliases(model: Module) -> dict[str, str]:
    """Further names of modules that are used in several places, each with the first name of its module."""
    first = {id(module): name for name, module in model.named_modules()}
    everywhere = model.named_modules(remove_duplicate=False)
    return {name: first[id(module)] for name, module in everywhere if name != first[id(module)]}


def call_name(name: str, index: int) -> str:
    """``relu`` for the first call of a module in a pass, then ``relu#1``, ``relu#2``, ...."""
    return f"{name}#{index}" if index else name


@contextmanager
def watched(modules: Mapping[str, Module], see: See) -> Iterator[Counter[str]]:
    """Hooks that call ``see`` after each call of these modules; the counter of calls is for the caller to clear."""
    calls: Counter[str] = Counter()

    def hook(name: str, module: Module, _inputs: object, output: object) -> None:
        index = calls[name]
        calls[name] += 1
        see(name, index, module, output)

    handles = []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(partial(hook, name)))
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def taken(output: Any) -> tuple[Tensor | None, str]:
    """The one tensor of a module's output, or None, and a note on what else there was.

    A tensor is itself; of a tuple that begins with a tensor it is the first, as transformers return their hidden
    states; of a mapping or a dataclass it is the only one.
    """
    if _is_tensor(output):
        return output, ""
    if isinstance(output, (tuple, list)) and output and _is_tensor(output[0]):
        return output[0], "" if len(output) == 1 else f"the first of {interop.describe(output)}"
    values: list[Any] = []
    if isinstance(output, Mapping):
        values = list(output.values())
    elif dataclasses.is_dataclass(output):
        values = [getattr(output, field.name) for field in dataclasses.fields(output)]
    tensors = [value for value in values if _is_tensor(value)]
    if len(tensors) == 1:
        return tensors[0], f"the only tensor of {interop.describe(output)}"
    return None, f"it returns {interop.describe(output)}, where a tensor was expected"


class AxisNames:
    """Names the axes of outputs, in call order: by the type of the module, else as the output before of that shape.

    So activations, normalisations and containers inherit the names that the layer before them has.
    """

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._axes: tuple[str, ...] = ()

    def of(self, module: Module, shape: tuple[int, ...]) -> tuple[str, ...]:
        """The names of the feature axes ``shape`` (without the batch) of what ``module`` returned."""
        kinds = [kind.__name__ for kind in type(module).__mro__]
        dimensions = next((int(found[1]) for kind in kinds if (found := _DIMENSIONS.search(kind))), 0)
        if dimensions and len(shape) == dimensions + 1:
            axes = ("channel", *_SPATIAL[dimensions])
        elif len(shape) > 1 and _FEATURES_LAST.intersection(kinds):
            axes = (
                ("position", "feature")
                if len(shape) == 2
                else (*interop.default_axes(len(shape))[:-1], "feature")
            )
        elif len(shape) > 1 and shape == self._shape:
            axes = self._axes
        else:
            axes = interop.default_axes(len(shape))
        self._shape, self._axes = shape, axes
        return axes


def describe(call: str, module: Module, output: object, axis_names: AxisNames) -> LayerRow:
    """One call of a module, told from what it returned, of which nothing is copied."""
    kind = type(module).__name__
    tensor, note = taken(output)
    if tensor is None:
        return LayerRow(call, kind, note=note)
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.ndim == 0 or dtype not in DTYPES:
        return LayerRow(call, kind, note=f"it returns {interop.describe(tensor)}, which no store holds")
    shape = tuple(tensor.shape[1:])
    return LayerRow(call, kind, shape, axis_names.of(module, shape), dtype, note)


def _is_tensor(value: object) -> bool:
    return interop.is_array(value) and hasattr(value, "detach")
