"""The checksums of HDF5's newer metadata (Jenkins's lookup3, H5checksum.c), so that damage can have ones that fit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNATURES = re.compile(rb"OHDR|OCHK|BTHD|BTLF|BTIN|EAHD|EAIB|EASB|EADB|FAHD|FADB|FRHP|FHDB|\x89HDF")
_MASK = 0xFFFFFFFF
_LONGEST = 1500


def _turned(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & _MASK


def lookup3(data: bytes) -> int:
    """``H5_checksum_lookup3`` of some bytes, from 0."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    place = 0
    while len(data) - place > 12:
        a, b, c = (
            (value + int.from_bytes(data[place + at : place + at + 4], "little")) & _MASK
            for value, at in ((a, 0), (b, 4), (c, 8))
        )
        a = (a - c & _MASK) ^ _turned(c, 4)
        c = c + b & _MASK
        b = (b - a & _MASK) ^ _turned(a, 6)
        a = a + c & _MASK
        c = (c - b & _MASK) ^ _turned(b, 8)
        b = b + a & _MASK
        a = (a - c & _MASK) ^ _turned(c, 16)
        c = c + b & _MASK
        b = (b - a & _MASK) ^ _turned(a, 19)
        a = a + c & _MASK
        c = (c - b & _MASK) ^ _turned(b, 4)
        b = b + a & _MASK
        place += 12
    rest = data[place:].ljust(12, b"\0")
    if place == len(data):
        return c
    a, b, c = (
        (value + int.from_bytes(rest[at : at + 4], "little")) & _MASK for value, at in ((a, 0), (b, 4), (c, 8))
    )
    c = (c ^ b) - _turned(b, 14) & _MASK
    a = (a ^ c) - _turned(c, 11) & _MASK
    b = (b ^ a) - _turned(a, 25) & _MASK
    c = (c ^ b) - _turned(b, 16) & _MASK
    a = (a ^ c) - _turned(c, 4) & _MASK
    b = (b ^ a) - _turned(a, 14) & _MASK
    return (c ^ b) - _turned(b, 24) & _MASK


def sealed_blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """(start, length) of every block of a file that its checksum follows."""
    for found in _SIGNATURES.finditer(data):
        start = found.start()
        for length in range(8, min(_LONGEST, len(data) - start - 4)):
            stored = data[start + length : start + length + 4]
            if any(stored) and lookup3(data[start : start + length]) == int.from_bytes(stored, "little"):
                yield start, length
                break


def seal(data: bytearray, start: int, length: int) -> None:
    """Give a block a checksum that fits."""
    data[start + length : start + length + 4] = lookup3(bytes(data[start : start + length])).to_bytes(
        4, "little"
    )
