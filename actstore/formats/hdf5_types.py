"""HDF5's types of elements as NumPy's, where bytes can be taken as they lie. Runs in ``hdf5_child`` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h5py import h5t

from actstore.errors import SourceError
from actstore.formats.hdf5_place import BOOLEAN, NULL_ENDED, PLAIN, SPACE_PADDED
from actstore.store.format import BFLOAT16

if TYPE_CHECKING:
    from h5py.h5t import TypeID

_ORDERS = {h5t.ORDER_LE: "<", h5t.ORDER_BE: ">"}
_BOOL = {b"FALSE": 0, b"TRUE": 1}
_FLOATS = {  # where sign, exponent and its length, fraction and its length lie; the bias
    ((15, 10, 5, 0, 10), 15): ("f2", PLAIN),
    ((31, 23, 8, 0, 23), 127): ("f4", PLAIN),
    ((63, 52, 11, 0, 52), 1023): ("f8", PLAIN),
    ((15, 7, 8, 0, 7), 127): ("u2", BFLOAT16),
}


def numpy_type(kind: TypeID, spec: str) -> tuple[str, str]:
    """Return the dtype of elements and how to understand them.

    The type's class and fields are looked at, never its dtype: a hostile opaque type would make h5py take bytes for
    pointers.

    Raises:
        SourceError: neither numbers nor text that NumPy holds bit by bit.
    """
    found = kind.get_class()
    if found == h5t.INTEGER:
        return _integer(kind, spec), PLAIN
    if found == h5t.FLOAT:
        return _float(kind, spec)
    if found == h5t.STRING and not kind.is_variable_str():
        ends = {h5t.STR_SPACEPAD: SPACE_PADDED, h5t.STR_NULLTERM: NULL_ENDED}
        return f"S{kind.get_size()}", ends.get(kind.get_strpad(), PLAIN)
    if found == h5t.ENUM and kind.get_size() == 1:
        members = [(kind.get_member_name(i), kind.get_member_value(i)) for i in range(kind.get_nmembers())]
        if dict(members) == _BOOL:
            return "u1", BOOLEAN
    msg = f"{spec} holds neither numbers nor text of a fixed width (Python objects and the like are refused)"
    raise SourceError(msg)


def _integer(kind: TypeID, spec: str) -> str:
    size = kind.get_size()
    whole = kind.get_precision() == 8 * size and kind.get_offset() == 0
    if size not in (1, 2, 4, 8) or not whole or kind.get_order() not in _ORDERS:
        raise _odd(spec, "whole numbers", kind)
    return f"{_ORDERS[kind.get_order()]}{'u' if kind.get_sign() == h5t.SGN_NONE else 'i'}{size}"


def _float(kind: TypeID, spec: str) -> tuple[str, str]:
    found = _FLOATS.get((kind.get_fields(), kind.get_ebias()))
    if found is None or kind.get_norm() != h5t.NORM_IMPLIED or kind.get_order() not in _ORDERS:
        raise _odd(spec, "floats", kind)
    code, how = found
    if kind.get_precision() != 8 * int(code[1:]) or kind.get_size() != int(code[1:]) or kind.get_offset() != 0:
        raise _odd(spec, "floats", kind)
    return _ORDERS[kind.get_order()] + code, how


def _odd(spec: str, what: str, kind: TypeID) -> SourceError:
    bits = f"{kind.get_precision()} bits in {kind.get_size()} bytes"
    return SourceError(
        f"{spec} holds {what} of {bits}, laid out as NumPy lays out none; store them as float32 or int64"
    )
