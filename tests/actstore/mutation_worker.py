"""A process that damages its own copy of a store, reads and verifies it, and says what came of it, line by line."""

from __future__ import annotations

import json
import os
import resource
import sys
import sysconfig
import traceback
from pathlib import Path

import numpy as np

import actstore
from actstore.errors import ActstoreError
from tests.actstore import mutation_bytes, mutation_documents
from tests.actstore.mutation_stores import STORES

MEMORY_BYTES = 2 * 2**30
READ_ROWS = 5


class Patient:
    """A store, its bytes as they were, and its damage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        names = [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file())
        self.files = {self._name(found): found.read_bytes() for found in names if "lock" not in found.name}

    def _name(self, path: Path) -> str:
        return "" if path == self.path else str(path.relative_to(self.path))

    def place(self, name: str) -> Path:
        return self.path / name if name else self.path

    def write(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            self.place(name).write_bytes(data)

    def restore(self, changed: dict[str, bytes]) -> None:
        self.write({name: self.files[name] for name in changed})


class Watch:
    """Which files are opened outside the store: an audit hook, which nothing in Python gets past."""

    def __init__(self) -> None:
        self.inside: Path | None = None
        self.strays: list[str] = []
        ours = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sys.prefix, sys.base_prefix)
        self._known = (*ours, str(Path(actstore.__file__).parents[1]), "/proc/", "/sys/", "/dev/")
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if self.inside is None or event not in ("open", "os.listdir", "os.scandir") or not args:
            return
        if isinstance(args[0], str | os.PathLike):
            path = os.path.realpath(args[0])
            if not path.startswith((str(self.inside), *self._known)):
                self.strays.append(path)


def read_all(path: Path) -> str:
    """Open and read everything: "read", or how it was refused. Other errors pass."""
    try:
        with actstore.open(path) as store:
            store.ids, store.splits, store.groups, store.positions, dict(store.targets)
            for step in store.steps:
                for layer in store.at(step).layers.values():
                    for block in layer.blocks(READ_ROWS):
                        np.ascontiguousarray(block).tobytes()
    except ActstoreError:
        return "refused"
    return "read"


def examine(path: Path, changed: set[Path]) -> tuple[str, str]:
    """The outcome for a damaged store, and a detail."""
    try:
        opened = read_all(path)
        damages = actstore.verify(path, workers=2).damages
    except ActstoreError as error:
        return "found" if not changed else "missed", f"verify raised {error}"
    except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
        return "raised", traceback.format_exc()
    missing = changed - {damage.path for damage in damages}
    if missing:
        return (
            "missed",
            f"{opened}; not named: {[str(name) for name in missing]}; named: {list(map(str, damages))}",
        )
    return "found" if damages or not changed else "missed", f"{opened}; {len(damages)} damages"


def run_case(patient: Patient, seed: int, number: int, *, documents: bool, watch: Watch) -> None:
    """Print a line before the damage is looked at, and one after."""
    rng = np.random.default_rng([seed, number])
    if documents:
        what, changed = mutation_documents.lie(patient.files, rng)
        kind = "lying documents"
    else:
        kind, changed = mutation_bytes.mutate(patient.files, rng)
        what = ", ".join(changed)
    print(json.dumps({"kind": kind, "what": f"{patient.path.name}: {what}"}), flush=True)  # noqa: T201
    patient.write(changed)
    watch.inside = patient.path
    try:
        outcome, detail = examine(
            patient.path, set() if documents else {patient.place(name) for name in changed}
        )
    finally:
        watch.inside = None
    patient.restore(changed)
    if watch.strays:
        outcome, detail = "strayed", ", ".join(watch.strays)
        watch.strays = []
    print(json.dumps({"outcome": outcome, "detail": detail}), flush=True)  # noqa: T201


def serve(folder: Path, seed: int) -> None:
    """Take case numbers from standard input until it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    patients = [Patient(folder / name) for name in STORES]
    for patient in patients:
        read_all(patient.path)  # so that what is loaded lazily is
    watch = Watch()
    for line in sys.stdin:
        number = int(line)
        patient = patients[number % 4 == 3]
        run_case(patient, seed, number, documents=number % 5 == 4, watch=watch)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
