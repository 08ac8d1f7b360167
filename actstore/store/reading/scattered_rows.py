"""Scattered rows of one file, in as few reads as their distances allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from actstore.store.documents.records import Extent
    from actstore.store.reading.open_files import OpenFile

GAP_BYTES = 8 * 2**10  # what lies between two rows is read along up to here: it costs less than another read
SPAN_BYTES = 2**20  # rows further apart than this are never read in one go, whatever lies between them
SEEK_BYTES = 20 * 2**10  # among many close spans, one more costs a disk as much as so many bytes in order
REGION_SPANS = 64  # decided together: a disk that reads on in order does not like spans left out here and there
SAMPLED_ROWS = 64  # of which all have to be in memory for the others to be taken to be there
MAPPED_BYTES = 32 * 2**20  # of rows that are copied out of a map at a time
AHEAD_SPANS = 128  # the disk is told of so many spans before they are waited for


def take_rows(file: OpenFile, extent: Extent, rows: np.ndarray, out: np.ndarray) -> None:
    """Read ``rows`` of a dataset, ascending, repeats allowed, into ``out`` (rows, *features)."""
    size = extent.row_bytes
    sample = rows[:: max(1, len(rows) // SAMPLED_ROWS)]
    if file.is_in_memory((extent.offset + sample * size).tolist()):
        _take_from_memory(file, extent, rows, out)
        return
    starts = _spans(rows, size)
    stops = np.append(starts[1:], len(rows))
    breaks = np.concatenate([[0], np.cumsum(np.diff(rows) != 1)])  # up to a row: how many follow on none
    dense = (breaks[stops - 1] == breaks[starts]).tolist()
    lows = rows[starts]
    counts = rows[stops - 1] + 1 - lows
    offsets, lengths = (extent.offset + lows * size).tolist(), (counts * size).tolist()
    scratch = np.empty((int(counts.max()), *out.shape[1:]), out.dtype)
    whole, span = _bytes(out), _bytes(scratch)
    file.expect(offsets[:AHEAD_SPANS], lengths[:AHEAD_SPANS])
    for place, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        if place % AHEAD_SPANS == 0:
            coming = slice(place + AHEAD_SPANS, place + 2 * AHEAD_SPANS)
            file.expect(offsets[coming], lengths[coming])
        if dense[place]:
            file.fill(whole[start * size : stop * size], offsets[place])
        else:
            file.fill(span[: lengths[place]], offsets[place])
            wanted = rows[start:stop] - lows[place]
            np.take(scratch, wanted, axis=0, out=out[start:stop], mode="clip")  # "raise" would copy once more


def _take_from_memory(file: OpenFile, extent: Extent, rows: np.ndarray, out: np.ndarray) -> None:
    """Copy rows out of a map of the file, which costs no call for each; what was mapped is let go again."""
    step = max(1, MAPPED_BYTES // extent.row_bytes)
    view = file.view(extent, 0, extent.shape[0])
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        np.take(view, some, axis=0, out=out[start : start + step], mode="clip")
        file.unmap(extent, int(some[0]), int(some[-1]) + 1)


def _spans(rows: np.ndarray, size: int) -> np.ndarray:
    """Where in ``rows`` each read begins: of a region, what lies close together, or all of it where that is cheaper."""
    # Three lengths decide. Rows nearer than GAP_BYTES are one read: the gap costs less than another call. No read
    # crosses a window of SPAN_BYTES, so that the buffer stays bounded however close the rows lie. Within a window
    # many short reads can still cost more than one long one: a disk pays SEEK_BYTES for each. What that would save is
    # summed over a region of REGION_SPANS windows and decided for all of them alike, as a disk that reads ahead slows
    # down where it is read now in order and now here and there.
    windows = rows // max(1, SPAN_BYTES // size)
    starts = np.flatnonzero((np.diff(rows) - 1) * size > GAP_BYTES) + 1
    starts = np.union1d(starts, np.flatnonzero(np.diff(windows)) + 1)
    starts = np.concatenate([[0], starts]).astype(np.int64)
    lows, highs = rows[starts], rows[np.append(starts[1:], len(rows)) - 1] + 1
    first = np.concatenate([[0], np.flatnonzero(np.diff(windows[starts])) + 1])  # span of each window
    last = np.append(first[1:], len(starts)) - 1
    regions, of_window = np.unique(windows[starts[first]] // REGION_SPANS, return_inverse=True)
    apart = np.add.reduceat((highs - lows) * size + SEEK_BYTES, first)
    together = (highs[last] - lows[first]) * size + SEEK_BYTES
    saved = np.bincount(of_window, together - apart, len(regions))
    kept = np.repeat(saved[of_window] > 0, last - first + 1)
    kept[first] = True
    return starts[kept]


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
