"""Random sequences of everything that is done to stores, on the disk and on plain dictionaries: the two must agree."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
from crash.checks import sealed_rows
from crash.scenarios import Job
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import actstore
from actstore.errors import ActstoreError, StoreError
from model import actions
from model.actions import DONE, KILLED, REFUSED, Outcome
from model.compare import difference, rows_differ, unsound
from model.plain import FROZEN, Dump, Plain, dumped, frozen_store, labelled, merged, one_step
from model.slots import MAY, MUST, NEVER, NEW, OVERWRITE, RESUME, Slot

FOLDERS, FILES = ("a.acts", "b.acts", "c.acts"), ("d.h5", "e.h5")
EXPORTS = ("f.npy", "g.npz")
KILLS = st.one_of(st.none(), st.none(), st.integers(0, 150))
NAMES = st.sampled_from((*FOLDERS, *FILES))
PICKS = st.integers(0, 11)
"""Which name: mostly of those that something can be done to, sometimes of all."""
DUMPS = st.builds(
    Dump,
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from([None, None, 0, 5]),
    st.sampled_from([1, 1, 2]),
)


class StoreMachine(RuleBasedStateMachine):
    """``folder`` holds the stores; ``slots`` says what each must be."""

    sequences = 0
    counts: dict[str, int] = {}

    def __init__(self) -> None:
        super().__init__()
        StoreMachine.sequences += 1
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.slots = {name: Slot(name in FOLDERS) for name in (*FOLDERS, *FILES)}
        self.exported: dict[str, np.ndarray | None] = dict.fromkeys(EXPORTS)
        self.seen: dict[str, object] = {}

    def _pick(self, pick: int, *, folder: bool | None = None, whole: bool = True) -> str:
        """A name where a whole store is, or where nothing is; one in six is any name."""
        suited = [
            name
            for name, slot in self.slots.items()
            if folder in (None, slot.folder) and (slot.whole if whole else slot.free)
        ]
        chosen = suited if suited and pick < 10 else list(self.slots)
        return chosen[pick % len(chosen)]

    @initialize(what=st.builds(Dump, st.just(1), st.just(1), st.sampled_from([None, 0])), frozen=st.booleans())
    def begin(self, what: Dump, frozen: bool) -> None:
        """Something is there already."""
        self._dump("a.acts", what, 0, NEW, None)
        if frozen:
            self.copy_a_frozen_store("b.acts")

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # -- dumps

    @rule(
        name=NAMES, what=DUMPS, rank=st.integers(0, 1), how=st.sampled_from([NEW, NEW, OVERWRITE]), kill=KILLS
    )
    def dump(self, name: str, what: Dump, rank: int, how: str, kill: int | None) -> None:
        self._dump(name, what if how != OVERWRITE else Dump(what.rows, what.scale), rank, how, kill)

    @rule(name=NAMES, what=DUMPS, rank=st.integers(0, 1), own=st.booleans(), kill=KILLS)
    def resume(self, name: str, what: Dump, rank: int, own: bool, kill: int | None) -> None:
        slot = self.slots[name]
        begun = slot.begun or (slot.now.dumped if slot.now else None)
        self._dump(name, begun if own and begun is not None else what, rank, RESUME, kill)

    @rule(pick=PICKS, scale=st.integers(1, 2), world_size=st.sampled_from([1, 1, 2]), kill=KILLS)
    def add_a_step(self, pick: int, scale: int, world_size: int, kill: int | None) -> None:
        """The same rows once more, by another model."""
        name = self._pick(pick, folder=True)
        here = self.slots[name].now.dumped if self.slots[name].now else None
        if here is not None:
            step = max(self.slots[name].now.steps) + 1
            self._dump(name, Dump(here.rows, scale, step, world_size), 0, NEW, kill)

    @rule(name=st.sampled_from(FOLDERS), kill=KILLS)
    def another_rank(self, name: str, kill: int | None) -> None:
        slot = self.slots[name]
        for rank in range(slot.begun.world_size if slot.begun else 0):
            if rank not in slot.touched:
                self._dump(name, slot.begun, rank, NEW, kill)
                return

    def _dump(self, name: str, what: Dump, rank: int, how: str, kill: int | None) -> None:
        slot, rank = self.slots[name], min(rank, what.world_size - 1)
        if slot.begun is not None and what.number != slot.begun.number:
            return  # a second step of which nobody knows yet whether the first will be whole
        expected, after = slot.expected(what, rank, how), slot.after(what, how)
        again = kill is not None and slot.now is not None and not difference_of(self.folder / name, after)
        outcome = self._act(
            "dump",
            lambda: actions.dump(
                self.folder / name, what, rank, overwrite=how == OVERWRITE, resume=how == RESUME
            ),
            kill,
            expected,
        )
        if outcome.how == REFUSED or self._killed_in_vain(name, outcome, expected):
            return
        if outcome.how == KILLED and how == OVERWRITE and self._was_not_begun(name):
            slot.dirty = True
            return
        if not what.alike(slot.begun) or how == OVERWRITE:
            self._begin(slot, what, how)
        slot.touched.add(rank)
        slot.sealed[rank] = max(outcome.sealed, slot.sealed.get(rank, 0))
        if outcome.how == DONE:
            slot.ended.add(rank)
            slot.dirty = False
            if len(slot.ended) == what.world_size:
                slot.settle(after)
            return
        slot.dirty = True
        begun = self.folder / f"{name}.partial" / "store.json"
        if not difference_of(self.folder / name, after) and not (again and begun.exists()):
            slot.settle(after)

    def _was_not_begun(self, name: str) -> bool:
        """Whether a whole store is as it was, and nothing of what was to replace it is there to go on with."""
        slot = self.slots[name]
        begun = (self.folder / f"{name}.partial" / "store.json").exists()
        return slot.whole and not begun and not difference_of(self.folder / name, slot.now)

    @staticmethod
    def _begin(slot: Slot, what: Dump, how: str) -> None:
        assert how == OVERWRITE or not any(slot.sealed.values()), "rows that were sealed are given up unasked"
        under = slot.begun if how == OVERWRITE and slot.now is None else None
        slot.settle(slot.now)
        slot.begun, slot.replaces, slot.under = what, how == OVERWRITE and slot.now is not None, under

    # -- what else is done to stores

    @rule(
        pick=PICKS,
        called=st.sampled_from(["word", "mark", "digit"]),
        shift=st.integers(0, 4),
        overwrite=st.booleans(),
        kill=KILLS,
    )
    def label(self, pick: int, called: str, shift: int, overwrite: bool, kill: int | None) -> None:
        name = self._pick(pick, folder=True)
        slot = self.slots[name]
        if called == "digit":
            called, overwrite = "mark", False
        there = slot.now is not None and any(called in slot.now.targets(step) for step in slot.now.steps)
        free = overwrite or not there
        expected = (
            MUST if slot.whole and slot.folder and free else MAY if slot.now and slot.folder and free else NEVER
        )
        outcome = self._act(
            "label",
            lambda: actions.label(self.folder / name, called, shift, overwrite=overwrite),
            kill,
            expected,
        )
        if outcome.how != REFUSED and not self._killed_in_vain(name, outcome, expected):
            blocked = slot.blocked
            self._became(name, labelled(slot.now, called, shift), outcome, tidies=False)
            slot.half, slot.blocked = outcome.how == KILLED, blocked  # they are the same rows

    @rule(picks=st.lists(PICKS, min_size=1, max_size=3), to=PICKS, copy=st.booleans(), kill=KILLS)
    def merge(self, picks: list[int], to: int, copy: bool, kill: int | None) -> None:
        names = [self._pick(each, folder=True) for each in picks]
        self._merge(names, self._pick(to, folder=True, whole=False), copy, kill)

    def _merge(self, names: list[str], out: str, copy: bool, kill: int | None) -> None:
        sources, to = [self.slots[name] for name in names], self.slots[out]
        ready = all(slot.stands for slot in sources) and len(set(names)) == len(names) and out not in names
        ready = ready and to.folder and not (self.folder / out).exists()
        after = merged([slot.now for slot in sources]) if ready else None
        sure = to.free and all(slot.whole for slot in sources)
        expected = NEVER if after is None else MUST if sure else MAY
        paths = [self.folder / name for name in names]
        outcome = self._act("merge", lambda: actions.merge(paths, self.folder / out, copy=copy), kill, expected)
        if outcome.how != REFUSED and not self._killed_in_vain(out, outcome, expected):
            self._became(out, after, outcome, tidies=True)

    @rule(
        pick=PICKS,
        to=PICKS,
        step=st.sampled_from([0, 0, 5, 500]),
        overwrite=st.booleans(),
        free=st.booleans(),
        kill=KILLS,
    )
    def pack(self, pick: int, to: int, step: int, overwrite: bool, free: bool, kill: int | None) -> None:
        name, out = self._pick(pick, folder=True), self._pick(to, folder=False, whole=not free)
        self._pack(name, out, step, overwrite, kill)

    def _pack(self, name: str, out: str, step: int, overwrite: bool, kill: int | None) -> None:
        slot, to = self.slots[name], self.slots[out]
        ready = slot.now is not None and step in slot.now.steps and not to.folder and name != out
        expected = (
            NEVER if not ready or (to.now and not overwrite) else MUST if slot.whole and not to.begun else MAY
        )
        after = one_step(slot.now, step, folder=False) if expected != NEVER else None
        outcome = self._act(
            "pack",
            lambda: actions.pack(self.folder / name, self.folder / out, step, overwrite=overwrite),
            kill,
            expected,
        )
        if outcome.how != REFUSED and not self._killed_in_vain(out, outcome, expected):
            self._became(out, after, outcome, tidies=False)

    @rule(pick=PICKS, to=PICKS, kill=KILLS)
    def unpack(self, pick: int, to: int, kill: int | None) -> None:
        name, out = self._pick(pick, folder=False), self._pick(to, folder=True, whole=False)
        slot, to = self.slots[name], self.slots[out]
        ready = slot.now is not None and not slot.folder and to.folder and not (self.folder / out).exists()
        expected = NEVER if not ready else MUST if to.free and slot.whole else MAY
        outcome = self._act(
            "unpack", lambda: actions.unpack(self.folder / name, self.folder / out), kill, expected
        )
        if outcome.how != REFUSED and not self._killed_in_vain(out, outcome, expected):
            after = one_step(slot.now, next(iter(slot.now.steps)), folder=True)
            self._became(out, after, outcome, tidies=True)

    def _killed_in_vain(self, name: str, outcome: Outcome, expected: str) -> bool:
        """Whether a process was killed that would have been refused: nothing may have changed."""
        vain = outcome.how == KILLED and expected == NEVER
        self.slots[name].dirty |= vain
        self.slots[name].half |= vain
        return vain

    def _became(self, name: str, after: Plain, outcome: Outcome, *, tidies: bool) -> None:
        """A store is what it was or, where the process was not killed, ``after``."""
        slot = self.slots[name]
        slot.dirty = outcome.how == KILLED or (slot.dirty and not tidies)
        slot.half |= outcome.how == KILLED
        if outcome.how == DONE or not difference_of(self.folder / name, after):
            slot.now = after
            slot.blocked = slot.begun is not None

    @rule(pick=PICKS, out=st.sampled_from(EXPORTS), layer=st.integers(0, 20), last=st.booleans(), kill=KILLS)
    def export(self, pick: int, out: str, layer: int, last: bool, kill: int | None) -> None:
        name = self._pick(pick)
        slot = self.slots[name]
        if not slot.whole:
            return
        step = sorted(slot.now.steps)[-1 if last else 0]
        layers = slot.now.steps[step].layers
        chosen = list(layers)[layer % len(layers)]
        path = self.folder / out
        outcome = self._act(
            "export", lambda: actions.export(self.folder / name, step, chosen, path), kill, MUST
        )
        dtype, array = layers[chosen]
        after = (array.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else array
        if outcome.how == DONE or same_file(path, after):
            self.exported[out] = after

    @rule(name=NAMES)
    def copy_a_frozen_store(self, name: str) -> None:
        slot, path = self.slots[name], self.folder / name
        if not slot.free or slot.dirty or path.exists():
            return
        if slot.folder:
            shutil.copytree(FROZEN / "version_1" / "store.acts", path)
        else:
            shutil.copy(FROZEN / "version_1" / "single.h5", path)
        slot.settle(frozen_store(slot.folder))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        """What was merged from a store shares files with it, and stays."""
        for path in self._of(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.slots[name] = Slot(self.slots[name].folder)

    @rule(pick=PICKS, rows=st.lists(st.integers(0, 12), max_size=6, unique=True), layer=st.integers(0, 20))
    def read_some_rows(self, pick: int, rows: list[int], layer: int) -> None:
        name = self._pick(pick)
        slot = self.slots[name]
        if not slot.whole:
            return
        chosen = np.array(sorted(row for row in rows if row < slot.now.rows), np.int64)
        with actstore.open(self.folder / name) as store:
            for number, step in slot.now.steps.items():
                one, which = store.at(number), list(step.layers)[layer % len(step.layers)]
                assert one.layers[which].raw.take(chosen).tobytes() == step.layers[which][1][chosen].tobytes()

    def _act(self, what: str, work: object, kill: int | None, expected: str) -> Outcome:
        outcome = actions.act(self.folder, work, kill)
        key = f"{what} {outcome.how}"
        StoreMachine.counts[key] = StoreMachine.counts.get(key, 0) + 1
        assert outcome.how != REFUSED or expected != MUST, f"{what} was refused: {outcome.said}"
        assert outcome.how != DONE or expected != NEVER, f"{what} was to be refused, and was not"
        assert "\n" not in outcome.said, outcome.said
        return outcome

    # -- what holds after every step

    @invariant()
    def what_was_finished_is_there(self) -> None:
        """To the bit, verified, with nothing of another store and nothing left over; read where anything changed."""
        for name, slot in self.slots.items():
            state = (slot.state, [_state(path) for path in self._of(name)])
            if self.seen.get(name) != state:
                self._check(name, slot)
                self.seen[name] = state
        for name, array in self.exported.items():
            path = self.folder / name
            assert path.exists() == (array is not None), f"{name} is {'not ' * (array is not None)}there"
            assert array is None or same_file(path, array), f"{name} has other bits"
        known = {path for name in self.slots for path in self._of(name)} | {
            self.folder / name for name in EXPORTS
        }
        left = [path.name for path in self.folder.iterdir() if path not in known and not _export_left(path)]
        assert not left, f"left over: {left}"

    def _check(self, name: str, slot: Slot) -> None:
        path, partial = self.folder / name, self.folder / f"{name}.partial"
        if slot.begun is None:
            said = difference_of(path, slot.now)
            assert not said or (slot.dirty and slot.now is None and no_rows(path)), said
        elif slot.adds:
            self._check_step_begun(path, slot)
        elif slot.now is not None:
            said = difference_of(path, slot.now)
            assert (
                not said
                or (not path.exists() and not difference_of(partial, slot.now))
                or (not path.exists() and _is_whole(partial))
            ), said
        for place in (path, partial):
            if place.exists() and not no_rows(place):
                said = unsound(place, tidy=slot.whole and not slot.dirty and not slot.half, labelling=slot.half)
                assert not said, said
                if slot.begun is not None and (place == partial or slot.now is None):
                    below = slot.under if place == path else None  # it stays until the other is whole
                    self._check_begun(place, slot.begun, below or slot.begun)
        self._check_sealed(name, slot)
        others = [each.name for each in self._of(name) if each not in (path, partial)]
        if slot.half:
            others = [each for each in others if re.search(r"\.[0-9a-f]{16}\.tmp$", each) is None]
        assert slot.dirty or slot.begun or not others, f"left over: {others}"
        assert slot.dirty or slot.begun or not partial.exists(), f"left over: {partial.name}"

    @staticmethod
    def _check_begun(place: Path, *begun: Dump) -> None:
        """What can be seen of a dump that did not end is its own, or that of one below it."""
        with actstore.open(place) as store:
            said = {
                rows_differ(store, dumped(each, folder=True).steps[each.number], whole=False)
                * (each.world_size == 1)
                for each in begun
                if store.steps == [each.number]
            }
            assert "" in said, f"{place.name}: {said}, steps {store.steps}"

    def _check_step_begun(self, path: Path, slot: Slot) -> None:
        """The steps before are whole, and what can be seen of the new one is its own."""
        with actstore.open(path) as store:
            for number, step in slot.now.steps.items():
                one = store.at(number)
                assert one.complete, f"step {number} is not complete any more"
                said = rows_differ(one, step, whole=True)
                assert not said, f"{path.name}, step {number}: {said}"
            if slot.begun.number in store.steps and slot.begun.world_size == 1:
                step = dumped(slot.begun, folder=True).steps[slot.begun.number]
                said = rows_differ(store.at(slot.begun.number), step, whole=False)
                assert not said, f"{path.name}: {said}"

    def _check_sealed(self, name: str, slot: Slot) -> None:
        if slot.begun is None:
            return
        places = [self.folder / name, self.folder / f"{name}.partial"]
        for rank, rows in slot.sealed.items():
            job = Job(step=slot.begun.step, rank=rank, world_size=slot.begun.world_size)
            kept = [sealed_rows(place, job) for place in places if place.exists()]
            assert not rows or max(kept, default=0) >= rows, (
                f"{name}: {rows} rows of rank {rank} were sealed: {kept}"
            )

    def _of(self, name: str) -> list[Path]:
        """Everything that lies in the folder for a name."""
        return sorted(
            path for path in self.folder.iterdir() if re.fullmatch(rf"\.?{re.escape(name)}(\..*)?", path.name)
        )


def difference_of(path: Path, plain: Plain | None) -> str:
    try:
        return difference(path, plain)
    except ActstoreError as error:
        return f"{path.name} cannot be opened: {error}"


def no_rows(path: Path) -> bool:
    """Whether a store is one that says that it has no rows yet."""
    try:
        actstore.open(path).close()
    except StoreError as error:
        return "no rows yet" in str(error)
    return False


def same_file(path: Path, array: np.ndarray) -> bool:
    if not path.exists():
        return False
    read = np.load(path)
    read = read if path.suffix == ".npy" else read["activations"]
    return read.dtype == array.dtype and read.shape == array.shape and read.tobytes() == array.tobytes()


def _is_whole(path: Path) -> bool:
    try:
        with actstore.open(path) as store:
            return store.complete
    except ActstoreError:
        return False


def _export_left(path: Path) -> bool:
    """What a killed export leaves: a file under a name that nobody else has."""
    return (
        re.fullmatch(rf"\.?({'|'.join(map(re.escape, EXPORTS))})\.[0-9a-f]{{16}}\.tmp", path.name) is not None
    )


def _state(path: Path) -> object:
    """What changes when anything in a place is written."""
    every = [path, *path.rglob("*")] if path.is_dir() else [path]
    return [
        (str(each), each.stat().st_ino, each.stat().st_size, each.stat().st_mtime_ns) for each in sorted(every)
    ]
