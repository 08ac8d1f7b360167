"""The pickle in a file of torch.save, read and not run: what it would call is only noted, and nothing of it imported.

A pickle is a program for a small machine with a stack. Here the machine knows the instructions that torch writes for
tensors, numbers, texts, lists, tuples and dicts; names of classes and functions stay names, and only those that make a
tensor mean something. See docs/decisions/0018-tensors-of-torch-without-torch.md.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_PICKLE_BYTES = 256 * 2**20
MOST_NAMES = 100_000
DEEPEST = 32


@dataclass(frozen=True)
class Name:
    """A class or a function, by its name: ``torch FloatStorage``."""

    text: str


@dataclass(frozen=True)
class Storage:
    """Bytes of the archive: ``data/KEY``, as elements of a type."""

    kind: str
    key: str
    elements: int


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


class _Mark:
    """Where a list of arguments begins on the stack."""


def read_pickle(data: bytes) -> Any:
    """Return what a pickle of torch.save holds.

    Raises:
        ValueError: it holds what is no tensor, number, text, list, tuple or dict; or it is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                (found,) = machine.stack
                return found
            machine.do(opcode.name, argument)
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        msg = f"its pickle is damaged ({type(error).__name__}: {error})"
        raise ValueError(msg) from error
    msg = "its pickle ends too early"
    raise ValueError(msg)


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self._special: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self.stack.append(_Mark()),
            "GLOBAL": lambda name: self.stack.append(Name(name)),
            "STACK_GLOBAL": lambda _: self._stack_global(),
            "BINPERSID": lambda _: self.stack.append(_storage(self.stack.pop())),
            "REDUCE": lambda _: self._reduce(),
            "BUILD": lambda _: self._build(),
            "APPEND": lambda _: self._append([self.stack.pop()]),
            "APPENDS": lambda _: self._append(self._since_mark()),
            "SETITEM": lambda _: self._set([self.stack.pop(-2), self.stack.pop()]),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "TUPLE": lambda _: self.stack.append(tuple(self._since_mark())),
            "TUPLE1": lambda _: self._tuple(1),
            "TUPLE2": lambda _: self._tuple(2),
            "TUPLE3": lambda _: self._tuple(3),
            "MEMOIZE": lambda _: self.memo.__setitem__(len(self.memo), self.stack[-1]),
            "BINPUT": lambda place: self.memo.__setitem__(place, self.stack[-1]),
            "LONG_BINPUT": lambda place: self.memo.__setitem__(place, self.stack[-1]),
            "BINGET": lambda place: self.stack.append(self.memo[place]),
            "LONG_BINGET": lambda place: self.stack.append(self.memo[place]),
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
        }

    def do(self, name: str, argument: Any) -> None:
        if name in self._special:
            self._special[name](argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _VALUES:
            self.stack.append(argument)
        elif name == "NEWOBJ":
            raise ValueError(_not_loaded(self.stack[-2]))
        else:
            msg = f"its pickle has the instruction {name}, which tensors do without; save a tensor or a dict of tensors"
            raise ValueError(msg)

    def _since_mark(self) -> list[Any]:
        place = max(number for number, value in enumerate(self.stack) if isinstance(value, _Mark))
        found = self.stack[place + 1 :]
        del self.stack[place:]
        return found

    def _tuple(self, count: int) -> None:
        found = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(found)

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Name(f"{module} {name}"))

    def _append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError(type(self.stack[-1]).__name__)
        self.stack[-1].extend(values)

    def _set(self, pairs: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(pairs) % 2:
            raise TypeError(type(self.stack[-1]).__name__)
        self.stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    def _reduce(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, Name) or type(arguments) is not tuple:
            raise TypeError(type(called).__name__)
        self.stack.append(_made(called, arguments))

    def _build(self) -> None:
        """A state for the value before it: an OrderedDict's notes, which say nothing of the tensors in it."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not dict or type(state) is not dict:
            msg = "it holds an object with a state of its own; save a tensor or a dict of tensors"
            raise ValueError(msg)


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES"),
}


def _made(called: Name, arguments: tuple[Any, ...]) -> Any:
    """What a call makes: a tensor, or a dict or size that is a plain one here. Nothing is called."""
    if called.text == "torch._utils _rebuild_tensor_v2":
        storage, offset, shape, strides, *rest = arguments
        return _tensor(storage, offset, shape, strides, storage.kind, rest[2:])
    if called.text == "torch._utils _rebuild_tensor_v3":
        storage, offset, shape, strides, _, _, dtype, *rest = arguments
        return _tensor(storage, offset, shape, strides, dtype.text, rest)
    if called.text in ("torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state"):
        return _checked_tensor(arguments[0])
    if called.text == "torch._tensor _rebuild_from_type_v2" and arguments[1].text in _PLAIN_TYPES:
        return _checked_tensor(_made(arguments[0], arguments[2]))
    if called.text == "collections OrderedDict" and not arguments:
        return {}
    if called.text == "torch Size":
        return tuple(arguments[0])
    if called.text == "torch device":
        return called
    raise ValueError(_not_loaded(called))


def _not_loaded(called: Any) -> str:
    name = called.text.replace(" ", ".") if isinstance(called, Name) else "an object"
    return f"it holds {name}, and Python's objects are not loaded; save a tensor or a dict of tensors"


_PLAIN_TYPES = ("torch Tensor", "torch._tensor Tensor", "torch.nn.parameter Parameter")


def _checked_tensor(value: Any) -> StoredTensor:
    if not isinstance(value, StoredTensor):
        raise TypeError(type(value).__name__)
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, dtype: str, rest: Any) -> StoredTensor:
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise TypeError(type(storage).__name__)
    if any(type(one) is not int or not 0 <= one < 2**62 for one in sizes):
        msg = f"a tensor of shape {shape!r} and strides {strides!r}"
        raise ValueError(msg)
    if any(rest) and rest[0]:  # bits of a view: conjugated, or negated
        msg = "it holds a tensor that is a conjugated or negated view; save tensor.resolve_conj().resolve_neg()"
        raise ValueError(msg)
    return StoredTensor(storage, offset, tuple(shape), tuple(strides), dtype)


def _storage(value: Any) -> Storage:
    if type(value) is not tuple or len(value) != 5 or value[0] != "storage" or not isinstance(value[1], Name):
        msg = "its pickle refers to what is no storage of a tensor"
        raise ValueError(msg)
    _, kind, key, _, elements = value
    if type(key) is not str or type(elements) is not int:
        raise TypeError(type(key).__name__)
    return Storage(kind.text, key, elements)


def flattened(value: Any) -> dict[str, Any]:
    """What lies in dicts, lists and tuples, by the way to it: ``layers.0``; a value alone is called "".

    Raises:
        ValueError: two ways of one name, or more than so many, or nested too deep.
    """
    found: dict[str, Any] = {}
    _flatten(value, (), found)
    return found


def _flatten(value: Any, way: tuple[str, ...], found: dict[str, Any]) -> None:
    if len(way) > DEEPEST or len(found) > MOST_NAMES:
        msg = f"it is nested deeper than {DEEPEST}, or has more than {MOST_NAMES:,} values"
        raise ValueError(msg)
    if isinstance(value, dict):
        for name, part in value.items():
            _flatten(part, (*way, str(name)), found)
    elif isinstance(value, (list, tuple)) and not _is_plain(value):
        for number, part in enumerate(value):
            _flatten(part, (*way, str(number)), found)
    else:
        name = ".".join(way)
        if name in found:
            msg = f"it has two values called {name!r}"
            raise ValueError(msg)
        found[name] = value


def _is_plain(value: Any) -> bool:
    """Whether a list holds labels, and no tensors or lists of them."""
    return bool(value) and all(type(part) in (int, float, str, bool, type(None)) for part in value)
