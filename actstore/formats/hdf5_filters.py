"""The filters of HDF5 chunks, undone here and not by the library, which does not ask how many bytes came out.

A chunk that inflates to less than its size makes the library hand out whatever lay in memory behind it; so what every
filter gives is counted. https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, "Filter Pipeline".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Bytes: TypeAlias = bytes | bytearray | memoryview

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
NAMES = {DEFLATE: "deflate", SHUFFLE: "shuffle", FLETCHER32: "fletcher32", LZF: "lzf"}
COMPRESSORS = (DEFLATE, LZF)
CHECKSUM_BYTES = 4
_WORDS = 1 << 20  # of a chunk are summed at a time


@dataclass(frozen=True)
class Pipeline:
    """The filters of a dataset, in the order in which they were applied.

    Args:
        codes: which.
        chunk_bytes: of a whole chunk before any filter.
        item_bytes: of one element.
    """

    codes: tuple[int, ...]
    chunk_bytes: int
    item_bytes: int

    def applied(self, mask: int) -> list[int]:
        """Return the filters that were not left out of a chunk; bit i of its mask leaves out filter i."""
        return [code for place, code in enumerate(self.codes) if not mask >> place & 1]

    def sizes(self, mask: int) -> tuple[int, int]:
        """Return the fewest and the most bytes that a chunk can be stored in."""
        applied = self.applied(mask)
        sums = CHECKSUM_BYTES * applied.count(FLETCHER32)
        if not any(code in COMPRESSORS for code in applied):
            return self.chunk_bytes + sums, self.chunk_bytes + sums
        # zlib's bound: stored blocks of a few bytes each; lzf is left out of a chunk that it does not make smaller
        return 1, self.chunk_bytes + self.chunk_bytes // 100 + 64 + sums

    def undo(self, data: bytes, mask: int) -> Bytes:
        """Return the ``chunk_bytes`` that a stored chunk stands for.

        Raises:
            ValueError: it stands for more, for fewer, or for nothing; or its checksum does not fit.
        """
        result: Bytes = data
        applied = self.applied(mask)
        for code, nbytes in reversed(list(zip(applied, self._before(applied), strict=True))):
            result = self._undo_one(code, result, nbytes)
        if len(result) != self.chunk_bytes:
            msg = f"it comes to {len(result):,} bytes where {self.chunk_bytes:,} are needed"
            raise ValueError(msg)
        return result

    def _before(self, applied: Sequence[int]) -> list[int | None]:
        """How many bytes went into each filter; None behind a compressor, where nobody knows."""
        size: int | None = self.chunk_bytes
        found = []
        for code in applied:
            found.append(size)
            if code in COMPRESSORS:
                size = None
            elif code == FLETCHER32 and size is not None:
                size += CHECKSUM_BYTES
        return found

    def _undo_one(self, code: int, data: Bytes, nbytes: int | None) -> Bytes:
        most = nbytes if nbytes is not None else self.sizes(0)[1]
        result: Bytes
        if code == DEFLATE:
            result = _inflate(data, most)
        elif code == LZF:
            result = _lzf(data, most)
        elif code == FLETCHER32:
            result = _summed(data)
        else:
            result = _unshuffle(data, self.item_bytes)
        if nbytes is not None and len(result) != nbytes:
            msg = f"{NAMES[code]} gives {len(result):,} bytes where {nbytes:,} are needed"
            raise ValueError(msg)
        return result


def _inflate(data: Bytes, most: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        result = stream.decompress(data, most + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(result) > most or not stream.eof or stream.unused_data:
        msg = "deflate: the stream does not end where the chunk does"
        raise ValueError(msg)
    return result


def _lzf(data: Bytes, most: int) -> bytearray:
    """LZF (http://oldhome.schmorp.de/marc/liblzf.html): runs of new bytes, and copies of earlier ones.

    Written for speed, which is a tenth of the library's: names are local, and sizes are compared once, at the end. A
    byte of the stream makes 88 at most, so that what comes out is bounded by what the file holds.
    """
    data = bytes(data)
    out = bytearray()
    size = place = 0
    end = len(data)
    try:
        while place < end:
            control = data[place]
            place += 1
            if control < 32:  # a run of new bytes
                stop = place + control + 1
                out += data[place:stop]
                place = stop
                size += control + 1
                continue
            length = (control >> 5) + 2  # a copy of earlier ones
            if length == 9:
                length += data[place]
                place += 1
            start = size - ((control & 31) << 8 | data[place]) - 1
            place += 1
            if start < 0:
                raise IndexError
            if start + length <= size:
                out += out[start : start + length]
            else:  # the copy runs into itself: what is between repeats
                out += (out[start:] * (length // (size - start) + 1))[:length]
            size += length
        if len(out) != size or size > most:
            raise IndexError
    except IndexError as error:
        msg = "lzf: the stream does not end where the chunk does, or copies what was not yet there"
        raise ValueError(msg) from error
    return out


def _unshuffle(data: Bytes, item_bytes: int) -> memoryview:
    """All first bytes of the elements, then all second bytes, ...; what does not make an element stays at the end."""
    count = len(data) // item_bytes
    planes = np.frombuffer(data, np.uint8, count * item_bytes).reshape(item_bytes, count)
    result = np.empty(len(data), np.uint8)
    result[: planes.size] = planes.T.reshape(-1)
    result[planes.size :] = np.frombuffer(data, np.uint8)[planes.size :]
    return result.data


def _summed(data: Bytes) -> memoryview:
    view = memoryview(data)
    if len(view) < CHECKSUM_BYTES:
        msg = "fletcher32: it is shorter than its checksum"
        raise ValueError(msg)
    body, stored = view[:-CHECKSUM_BYTES], bytes(view[-CHECKSUM_BYTES:])
    checksum = fletcher32(body).to_bytes(CHECKSUM_BYTES, "little")
    swapped = bytes(
        checksum[place] for place in (1, 0, 3, 2)
    )  # as big-endian machines wrote it before HDF5 1.6.3
    if stored not in (checksum, swapped):
        msg = "fletcher32: its checksum does not fit its bytes"
        raise ValueError(msg)
    return body


def fletcher32(data: Bytes) -> int:
    """HDF5's Fletcher sum of big-endian 16-bit words (H5checksum.c), each half reduced by 65,535 but never to zero."""
    words = np.frombuffer(data, ">u2", len(data) // 2)
    first = second = 0
    for start in range(0, len(words), _WORDS):
        block = words[start : start + _WORDS].astype(np.uint64)
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second += first * len(block) + int(block @ weights)
        first += int(block.sum())
    if len(data) % 2:
        first += data[-1] << 8
        second += first
    return _reduced(second) << 16 | _reduced(first)


def _reduced(total: int) -> int:
    return (total - 1) % 65535 + 1 if total else 0
