"""What the model knows of each name: the whole store that must be there, and a dump that was begun and did not end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model.plain import dumped, with_step

if TYPE_CHECKING:
    from model.plain import Dump, Plain

MUST, MAY, NEVER = "must succeed", "may succeed", "must be refused"
NEW, RESUME, OVERWRITE = "new", "resume", "overwrite"


@dataclass
class Slot:
    """One name.

    Args:
        folder: whether it is ``NAME.acts`` or ``NAME.h5``.
        now: the whole store that is there.
        begun: a dump that was killed, or of which ranks are missing; with ``now``, it adds a step, or replaces it.
        replaces: whether ``begun`` is to replace what is there.
        blocked: whether ``now`` came, or changed, after ``begun`` was begun.
        under: what was begun, and lies there unfinished, before ``begun`` was to replace it.
        sealed: of ``begun``, by rank, how many rows it told were sealed.
        ended: of ``begun``, the ranks that returned.
        touched: of ``begun``, the ranks that were ever started.
        dirty: whether something was killed here since the last that tidies up.
        half: whether half a file of labels, or half a packed one, may lie here, which not all that tidies up removes.
    """

    folder: bool
    now: Plain | None = None
    begun: Dump | None = None
    replaces: bool = False
    blocked: bool = False
    under: Dump | None = None
    sealed: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    dirty: bool = False
    half: bool = False

    @property
    def free(self) -> bool:
        return self.now is None and self.begun is None

    @property
    def whole(self) -> bool:
        """Whether there is a whole store and nothing else."""
        return self.now is not None and self.begun is None

    @property
    def stands(self) -> bool:
        """Whether there is a whole store, whatever was begun beside it of which nothing is sealed, or in its place."""
        return self.now is not None and (self.begun is None or self.replaces or not any(self.sealed.values()))

    @property
    def adds(self) -> bool:
        """Whether ``begun`` adds a step to ``now``."""
        return (
            self.begun is not None
            and self.now is not None
            and not self.replaces
            and self.folder
            and not self.blocked
        )

    @property
    def state(self) -> tuple[object, ...]:
        """What changes when the model does."""
        return (
            id(self.now),
            self.begun,
            self.replaces,
            self.blocked,
            str(self.sealed),
            str(self.ended),
            self.dirty,
            self.half,
        )

    def after(self, what: Dump, how: str) -> Plain | None:
        """The store once all ranks of a dump that was not refused have ended."""
        if how == OVERWRITE or self.now is None or (self.replaces and self.begun == what):
            return dumped(what, self.folder)
        if self.now.given == what.rows and what.number not in self.now.steps:
            return with_step(self.now, what)
        return self.now

    def expected(self, what: Dump, rank: int, how: str) -> str:
        """Whether a dump must succeed."""
        shared = what.step is not None or what.world_size > 1
        if not self.folder and shared:
            return NEVER
        if self.blocked:
            return NEVER if how == RESUME and self.begun == what else MAY
        if self.begun is not None:
            return self._expected_after_begun(what, rank, how)
        if self.now is not None:
            return self._expected_after_whole(what, how)
        return MUST

    def _expected_after_begun(self, what: Dump, rank: int, how: str) -> str:
        if how == OVERWRITE:
            return MUST if what.world_size == self.begun.world_size == 1 else MAY
        if how == RESUME:
            if what == self.begun and self.replaces and not any(self.sealed.values()):
                return MAY  # of the new one nothing may have been begun, and the old one is another
            return MUST if what == self.begun else NEVER if self._sealed_otherwise(what) else MAY
        if what == self.begun and rank not in self.touched and not self.replaces:
            return MUST
        return NEVER if self.sealed.get(rank) or rank in self.ended else MAY

    def _sealed_otherwise(self, what: Dump) -> bool:
        return (any(self.sealed.values()) or bool(self.ended)) and not what.alike(self.begun)

    def _expected_after_whole(self, what: Dump, how: str) -> str:
        if how == OVERWRITE:
            return NEVER if what.world_size > 1 else MUST
        here = self.now.dumped
        new = what.step is not None and what.number not in self.now.steps
        if how == NEW:
            if not new or self.now.given != what.rows:
                return NEVER
            return MUST if here else MAY
        if what.step is None and what.number not in self.now.steps:
            return NEVER
        if here is None:
            return MAY
        if what.number in self.now.steps:
            same = (here.rows, here.world_size) == (what.rows, what.world_size)
            if what.alike(here):
                return MUST if what == here else MAY
            return NEVER if not same or what.number == here.number else MAY
        return NEVER if here.rows != what.rows else MAY

    def settle(self, now: Plain | None) -> None:
        """Nothing is begun any more."""
        self.now, self.begun, self.replaces, self.blocked, self.under = now, None, False, False, None
        self.sealed, self.ended, self.touched = {}, set(), set()
