"""The finished layers of one fit: in memory, in a folder of this process's own, or in one that ranks share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from solvers.disk import cures
from solvers.errors import ProbeFileError
from solvers.probing.finished.alone import Alone
from solvers.probing.finished.folder import part_file
from solvers.probing.finished.part_file import (
    in_memory,
    load_part,
    mapped,
    prediction_bytes,
    save_part,
)
from solvers.probing.finished.together import Together
from solvers.probing.probes import Probes
from solvers.probing.row_table import QUESTION, Beside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from solvers.probing.finished.share import Entry
    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.row_table import RowTable

__all__ = ["Holder", "Parts"]

_MAPPED_BYTES = 1 << 20
"""From so many bytes on, the predictions of a finished layer lie in its part on the disk and not in memory ..."""
_MOST_MAPS = 256
"""... for so many parts at most, as each holds a file open."""
_POLLS_S = (0.02, 1.0)
"""How long a rank waits before it looks again what others have finished: the first time, and at most."""


class Holder(Protocol):
    """Who may write the finished layers in a folder: ``Alone`` or ``Together``."""

    folder: Path
    question: str
    published: Probes | None

    @property
    def shared(self) -> bool:
        """Whether other processes fit layers, too."""

    def in_order(self, layers: Sequence[FitLayer]) -> list[FitLayer]:
        """Return the layers in the order in which this process tries them."""

    def claimed(self, number: int) -> AbstractContextManager[bool]:
        """Yield whether nobody else fits a layer, nor begins to while this lasts."""

    def ended(self) -> None:
        """Be told that all layers are finished, and known here."""

    def publish(self, path: Path, write: Callable[[], None]) -> None:
        """Write the probes, once, and remove the parts."""

    def remove(self) -> None:
        """Remove the parts."""

    def give_up(self, any_finished: bool) -> None:
        """Let others in, and remove the folder where nothing in it is of use."""


class Parts:
    """The finished layers of one fit by their numbers, in memory, and where there is a folder also on the disk.

    ``fitted`` are the numbers of those that this process fitted.
    """

    def __init__(
        self,
        layers: Sequence[FitLayer],
        holder: Holder | None = None,
        targets: Sequence[str] = (),
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.layers = layers
        self.finished: dict[int, Probes] = {}
        self.tables: tuple[RowTable, ...] = ()
        self.fitted: set[int] = set()
        self._holder = holder
        self._targets = targets
        self._notice = notice
        self._maps = 0
        self._seen: dict[int, tuple[int, ...]] = {}

    @property
    def folder(self) -> Path | None:
        """Where finished layers are kept; None where they are not."""
        return None if self._holder is None else self._holder.folder

    @property
    def published(self) -> Probes | None:
        """The probes of the whole fit, where another rank has saved them already."""
        return None if self._holder is None else self._holder.published

    @property
    def shared(self) -> bool:
        """Whether other processes fit layers of the same fit, too."""
        return self._holder is not None and self._holder.shared

    @classmethod
    def begin(
        cls,
        folder: Path,
        asked: Mapping[str, Any],
        layers: Sequence[FitLayer],
        entry: Entry,
        notice: Callable[[str], None],
    ) -> Parts:
        """Make the folder, or go on with the finished layers that lie there.

        Args:
            folder: ``PROBES.parts``; the folder around it must be there.
            asked: the ``question``.
            layers: what is to be fitted.
            entry: whether to start anew where the folder is of another question; this rank's share, of several.
            notice: told in a line how many layers are finished, and which are damaged.

        Raises:
            ProbeFileError: the folder holds finished layers of another question, or what no fit wrote, or another
                process writes there that this one cannot join, or the disk refuses.
        """
        try:
            holder: Holder = (
                Alone.begin(folder, asked, entry.overwrite)
                if entry.share is None
                else Together.begin(folder, asked, entry.overwrite, entry.share)
            )
        except OSError as error:
            msg = f"finished layers cannot be kept in {folder}: {error.strerror}; {cures.to_write(error)}"
            raise ProbeFileError(msg) from error
        parts = cls(layers, holder, asked["targets"], notice)
        if holder.published is not None:
            notice(f"{folder.stem} holds the probes of this fit already; nothing is left to fit")
            return parts
        for layer in layers:
            parts._look(layer)
        if parts.finished:
            going_on = "joining them" if len(parts.finished) == len(layers) else "going on with the others"
            notice(
                f"{len(parts.finished)} of {len(layers)} layers are finished in {folder} already; {going_on}"
            )
        return parts

    def each(
        self,
        work: Callable[[FitLayer], None],
        whole: Callable[[Probes], bool] = lambda _: True,
        ready: Callable[[FitLayer], bool] = lambda _: True,
    ) -> None:
        """Work on every layer that is not finished and that no other rank works on, until all layers are finished.

        Args:
            work: ends with ``keep``.
            whole: whether a layer that was kept is as it is wanted.
            ready: whether a layer can be worked on yet; a layer never waits for one behind it.
        """
        if self.published is not None:
            return
        in_order = list(self.layers) if self._holder is None else self._holder.in_order(self.layers)
        left = {layer.number: layer for layer in in_order}
        pause_s = _POLLS_S[0]
        while left:
            before = len(left)
            for layer in tuple(left.values()):
                if self._is(layer, whole) or (ready(layer) and self._claimed(layer, work, whole)):
                    del left[layer.number]
            pause_s = _POLLS_S[0] if len(left) < before else min(2 * pause_s, _POLLS_S[1])
            if left:
                time.sleep(pause_s)

    def _claimed(
        self, layer: FitLayer, work: Callable[[FitLayer], None], whole: Callable[[Probes], bool]
    ) -> bool:
        """Work on a layer unless another rank does; whether it is finished then."""
        if self._holder is None:
            work(layer)
            return True
        with self._holder.claimed(layer.number) as ours:
            if ours and not self._is(layer, whole):  # it may have been finished since it was looked at
                work(layer)
            return ours

    def _is(self, layer: FitLayer, whole: Callable[[Probes], bool]) -> bool:
        if self.shared:
            self._look(layer)
        return layer.number in self.finished and whole(self.finished[layer.number])

    def _look(self, layer: FitLayer) -> None:
        """Read a layer's part if it is there and was not read as it is now."""
        if self._holder is None:
            return
        file = part_file(self._holder.folder, layer.number)
        state = _state(file)
        if state in ((), self._seen.get(layer.number)):
            return
        self._seen[layer.number] = state
        try:
            self.finished[layer.number] = self._at_hand(
                load_part(file, layer, self._targets, self._holder.question)
            )
        except ProbeFileError as error:
            self.finished.pop(layer.number, None)
            self._notice(f"layer {layer.called!r} is fitted again, as its part is not whole: {error}")

    def keep(self, layer: FitLayer, probes: Probes) -> None:
        """Remember a finished layer, on the disk too; its predictions then lie there and not in memory."""
        if self._holder is not None:
            file = part_file(self._holder.folder, layer.number)
            save_part(file, probes, self._holder.question)
            self._seen[layer.number] = _state(file)
            if self._maps < _MOST_MAPS and prediction_bytes(probes) >= _MAPPED_BYTES:
                probes = mapped(probes, file)
                self._maps += 1
        self.finished[layer.number] = probes
        self.fitted.add(layer.number)

    def _at_hand(self, probes: Probes) -> Probes:
        """Return the probes of a part that was read, small predictions in memory: each map holds a file open."""
        if self._maps < _MOST_MAPS and prediction_bytes(probes) >= _MAPPED_BYTES:
            self._maps += 1
            return probes
        return probes.changed(in_memory)

    def joined(self) -> Probes:
        """The probes of the finished layers; when they are all there is, saving them removes these parts."""
        if self.published is not None:
            return Probes(self.published.values(), self.published.failures, self, self.published.beside)
        parts = [self.finished[number] for number in sorted(self.finished)]
        probes = [probe for part in parts for probe in part.values()]
        in_order = {name: reason for part in parts for name, reason in part.failures.items()}
        if self._holder is None:
            return Probes(probes, in_order, None, Beside(self.tables))
        self._holder.ended()
        if len(self.finished) < len(self.layers):
            return Probes(probes, in_order, None, Beside(self.tables))
        return Probes(probes, in_order, self, Beside(self.tables, {QUESTION: self._holder.question}))

    def publish(self, path: Path, write: Callable[[], None]) -> None:
        """Write the probes, unless another rank has, and remove what was written here."""
        if self._holder is None:
            write()
        else:
            self._holder.publish(path, write)

    def remove(self) -> None:
        """Remove what was written here, unless others write there."""
        if self._holder is not None:
            self._holder.remove()

    def abandon(self) -> None:
        """Let others in, and remove the folder where no layer is finished."""
        if self._holder is not None:
            self._holder.give_up(bool(self.finished))

    def explain(self, error: BaseException) -> None:
        """Add to an error what is kept and how to go on."""
        self.abandon()
        if self.finished and self.folder is not None:
            count = f"{len(self.finished)} of {len(self.layers)}"
            error.add_note(
                f"{count} layers are finished and kept in {self.folder}; the same command goes on from there"
            )


def _state(file: Path) -> tuple[int, ...]:
    """What changes when a part is replaced; empty where it is not there."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
