"""A stand-in for a machine with two GPUs and CuPy: NumPy's arithmetic, and CuPy's manners.

Its arrays neither turn into host arrays nor mix with them unless told to. Every thread has a current device and stream
of its own, as with per-thread default streams: work on an array of another device is refused, and so is work on what
another stream wrote that nobody waited for, which on a GPU would be a false sum now and then.
"""

import contextlib
import sys
import threading
import weakref
from types import ModuleType, SimpleNamespace

import numpy as np
import scipy.linalg

HERE = threading.local()
DEVICES = 2


def device():
    """The current device of this thread."""
    return getattr(HERE, "device", 0)


def stream():
    """The current stream of this thread: its own, until another is chosen."""
    return getattr(HERE, "stream", None) or _own()


def _own():
    if not hasattr(HERE, "own"):
        HERE.own = Stream()
    return HERE.own


class Ledger:
    """Where each block of memory lies, and which stream wrote it last, in which of that stream's steps."""

    def __init__(self):
        self._known = {}
        self._lock = threading.RLock()

    def entry(self, host):
        root = host
        while isinstance(root.base, np.ndarray):
            root = root.base
        with self._lock:
            if id(root) not in self._known:
                number, mine = id(root), stream()
                mine.step += 1
                gone = weakref.ref(root, lambda _: self._known.pop(number, None))
                self._known[number] = SimpleNamespace(device=device(), writer=mine, step=mine.step, gone=gone)
            return self._known[id(root)]

    def read(self, host):
        entry = self.entry(host)
        assert entry.device == device(), f"an array of device {entry.device} is used on device {device()}"
        waited = entry.writer is stream() or entry.writer.done >= entry.step
        assert waited, "what another stream writes is used without waiting for it"

    def written(self, host):
        entry = self.entry(host)
        stream().step += 1
        entry.writer, entry.step = stream(), stream().step


LEDGER = Ledger()


class Stream:
    """An order of work; ``step`` counts what was asked of it, ``done`` what the host has waited for."""

    def __init__(self, non_blocking=False):
        self.device, self.step, self.done = device(), 0, 0

    def __enter__(self):
        assert self.device == device(), "a stream of another device"
        self._before = getattr(HERE, "stream", None)
        HERE.stream = self
        return self

    def __exit__(self, *_error):
        HERE.stream = self._before

    def synchronize(self):
        self.done = self.step


class Device:
    """A device by number; ``with`` makes it the thread's current one for a while, ``use`` for good."""

    def __init__(self, number=None):
        self.id = device() if number is None else number
        self._before = []

    def __enter__(self):
        self._before.append((device(), getattr(HERE, "stream", None)))
        HERE.device, HERE.stream = self.id, None
        return self

    def __exit__(self, *_error):
        HERE.device, HERE.stream = self._before.pop()

    def use(self):
        HERE.device = self.id


class DeviceArray:
    """An array that, like CuPy's, neither turns into a host array nor mixes with one unless told to."""

    __array_ufunc__ = None

    def __init__(self, host):
        self._host = host
        LEDGER.entry(host)

    def __array__(self, *_args, **_kwargs):
        msg = "implicit conversion to a host array; use to_host"
        raise TypeError(msg)

    def __getattr__(self, name):
        member = getattr(self._host, name)
        return _lifted(member) if callable(member) else _up(member)

    def __len__(self):
        return len(self._host)

    def __float__(self):
        return float(_waited(self))

    def __bool__(self):
        return bool(_waited(self))

    def __getitem__(self, key):
        return _up(self._host[_down(key)])

    def __setitem__(self, key, value):
        self._host[_down(key)] = _down(value)
        LEDGER.written(self._host)

    def __matmul__(self, other):
        return _up(_down(self) @ _down(other))


def _waited(array):
    """What the host gets of an array, once the stream has come so far."""
    LEDGER.read(array._host)
    stream().synchronize()
    return array._host


def _operator(name):
    def apply(self, *others):
        made = _up(getattr(_down(self), name)(*[_down(other) for other in others]))
        if name.startswith("__i"):
            LEDGER.written(self._host)
        return made

    return apply


_BINARY = ["add", "sub", "mul", "truediv", "pow", "matmul", "radd", "rsub", "rmul", "rtruediv", "iadd", "isub"]
_BINARY += ["imul", "itruediv", "lt", "le", "gt", "ge", "eq", "ne", "neg"]
for _name in _BINARY:
    setattr(DeviceArray, f"__{_name}__", _operator(f"__{_name}__"))


def _down(value):
    """What the stand-in computes with: its own arrays and plain numbers; a host array is refused."""
    if isinstance(value, DeviceArray):
        LEDGER.read(value._host)
        return value._host
    if isinstance(value, np.ndarray):
        msg = "a host array among device arrays; use xp.asarray"
        raise TypeError(msg)
    if isinstance(value, tuple | list):
        return type(value)(_down(each) for each in value)
    return value


def _up(value):
    """Results stay on the device; so do single numbers, which only float() brings back."""
    if isinstance(value, tuple):
        return tuple(_up(each) for each in value)
    if not isinstance(value, np.ndarray | np.generic):
        return value
    return DeviceArray(np.asarray(value))


def _lifted(function):
    def call(*args, **kwargs):
        made = _up(function(*[_down(arg) for arg in args], **{key: _down(arg) for key, arg in kwargs.items()}))
        if isinstance(kwargs.get("out"), DeviceArray):
            LEDGER.written(kwargs["out"]._host)
        return made

    return call


class DeviceModule:
    """NumPy's functions over :class:`DeviceArray`, as CuPy's are over its own arrays."""

    float32, float64, newaxis = np.float32, np.float64, None
    finfo = staticmethod(np.finfo)
    linalg = SimpleNamespace(eigh=_lifted(np.linalg.eigh), inv=_lifted(np.linalg.inv), qr=_lifted(np.linalg.qr))

    @staticmethod
    def asarray(array, dtype=None):
        return DeviceArray(np.array(_down(array) if isinstance(array, DeviceArray) else array, dtype=dtype))

    def __getattr__(self, name):
        return _lifted(getattr(np, name))


def to_host(array):
    """A host array of the same numbers, once the stream has come so far."""
    return np.array(_waited(array))


def _cholesky(matrix):
    """As cuSOLVER's: no exception where the matrix is not positive definite, but NaN."""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


class OutOfMemoryError(Exception):
    """CuPy's, where a device has no more memory."""


class Event:
    """A mark in a stream; what lies between two takes a millisecond here."""

    def record(self):
        return None

    def synchronize(self):
        stream().synchronize()


class _Pool:
    held = 0

    def free_bytes(self):
        return self.held

    def free_all_blocks(self):
        self.held = 0


class _Random:
    def __init__(self):
        self._generator = np.random.default_rng(0)

    def seed(self, number):
        self._generator = np.random.default_rng(number)

    def standard_normal(self, size, dtype=np.float64):
        return _up(self._generator.standard_normal(size).astype(dtype))

    def gumbel(self, size, dtype=np.float64):
        return _up(self._generator.gumbel(size=size).astype(dtype))


class StandIn(DeviceModule):
    """The module ``cupy`` of a machine with two GPUs of ``free`` bytes."""

    __version__ = "stand-in"
    float16 = np.float16
    linalg = SimpleNamespace(**vars(DeviceModule.linalg), cholesky=_lifted(_cholesky))

    def __init__(self, free=1 << 30):
        self.free = free
        self.pool = _Pool()
        self.random = _Random()
        runtime = SimpleNamespace(
            getDeviceCount=lambda: DEVICES,
            memGetInfo=lambda: (self.free, self.free),
            getDeviceProperties=lambda number: {"name": b"stand-in"},
        )
        self.cuda = SimpleNamespace(
            is_available=lambda: True,
            Device=Device,
            Stream=Stream,
            Event=Event,
            runtime=runtime,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            get_elapsed_time=lambda begin, end: 1.0,
        )

    asnumpy = staticmethod(to_host)

    def get_default_memory_pool(self):
        return self.pool

    @staticmethod
    def copyto(target, source):
        np.copyto(_down(target), _down(source))
        LEDGER.written(target._host)


@contextlib.contextmanager
def installed(monkeypatch, **settings):
    """Make ``import cupy`` give the stand-in for a while."""
    from solvers.engines import cupy_lbfgs

    cupy = StandIn(**settings)
    linalg = ModuleType("cupyx.scipy.linalg")
    linalg.solve_triangular = _lifted(
        lambda a, b, lower, trans="N": scipy.linalg.solve_triangular(a, b, lower=lower, trans=trans)
    )
    for name, module in (("cupy", cupy), ("cupyx", ModuleType("cupyx")), ("cupyx.scipy.linalg", linalg)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "cupyx.scipy", ModuleType("cupyx.scipy"))
    cupy_lbfgs._probe_device.cache_clear()
    try:
        yield cupy
    finally:
        cupy_lbfgs._probe_device.cache_clear()
