"""A process that damages probe files and the parts of a fit, reads and shows them, and says what came of it.

A case is *found* where the file is refused in one line, or where all that is read of it stands in the file: damage to a
number that is still a number cannot be seen. It is *missed* where something is read that is not there.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import traceback
from copy import deepcopy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

import solvers
from cli.probe.show import as_document, probes_shown
from cli.result import echo_text
from solvers.errors import SolverError
from solvers.probing.document.header import probe_entry, table_entry
from solvers.probing.probes import Probes
from solvers.probing.row_table import Beside, RowTable
from solvers.probing.scores.asked import Asked

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYS = ("bytes", "metadata", "cut", "zeros", "spliced")
KINDS = tuple(f"probes: {way}" for way in (*WAYS, "header", "datasets", "parts"))
MEMORY_BYTES = 2 * 2**30
ODD: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x", "\ud800", "a\x1b\n\u202e",
    [], [[]], {}, {"a": 1}, [1, "a", None], "9" * 5000, list(range(1000)),
]  # fmt: skip
"""What is put in place of a value of the header."""
_MOST_FLOAT = 2**1023  # a float holds every whole number up to here that has few enough digits, 2**63 for one


def build(folder: Path) -> None:
    """Write the files that are damaged: with all that a probe file may hold."""
    fitted(folder / "p.h5")
    with h5py.File(folder / "p.h5") as ours, h5py.File(folder / "old.h5", "w", libver="earliest") as plain:
        for name in ours:  # as others may write it: without checksums, which find nearly all damage to ours
            plain[name] = ours[name][()]
    with contextlib.suppress(KeyboardInterrupt):
        problem_fit(folder / "q.h5.parts", stop=True)


def fitted(path: Path) -> None:
    """A file of texts and bools, slices, random features, predictions, a regression and what is not known."""
    generator = np.random.default_rng(0)
    words = np.array(["a", "bb", "é"])[np.arange(110) % 3]
    layers = {"wide": generator.normal(size=(110, 2, 4)), "fc": generator.normal(size=(110, 4))}
    many = np.arange(110) % 36
    splits = np.where(np.arange(110) < 80, "train", "test")
    probes = solvers.fit_layers(
        layers,
        {"word": words, "odd": words == "a", "many": many},
        splits=splits,
        C=[0.1, 1.0],
        feature_subset=3,
        seeds=2,
        predictions="all",
    )
    table = RowTable(
        "word", "test", {"index": np.arange(20), "truth": np.zeros(20, "i4")}, fold=3, classes=np.array(["a"])
    )
    first = probes["wide", "word", 0, 0]
    said = {table.key: {"logits": np.zeros((20, 3), "f4")}}
    rest = [probe for probe in probes.values() if probe is not first]
    kept = replace(
        first,
        predictions={**first.predictions, **said},
        metrics={"auroc": {"test": 0.5}},
        extra={"later": [1, {"a": None}]},
    )
    beside = Beside((*probes.beside.tables, table), {"more": 1}, {"history": np.arange(5, dtype="u2")})
    Probes([kept, *rest], {"bad": "bad_data: 2 rows"}, beside=beside).save(path)


def problem_fit(parts: Path, stop: bool = False) -> Probes:
    """The fit whose parts are damaged; with ``stop`` it ends after two of three layers."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    layers = {name: np.eye(2, 3)[labels] + generator.normal(size=(40, 3)) for name in ("a", "b", "c")}

    def progress(report: Any) -> None:
        if stop and report.layer == "c":
            raise KeyboardInterrupt

    return solvers.fit_layers(
        layers,
        labels,
        splits=np.where(np.arange(40) % 4, "train", "test"),
        C=1.0,
        engine="numpy",
        parts=parts,
        progress=progress,
        notice=lambda _: None,
    )


def mutate(kind: str, data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The bytes of a file, damaged."""
    damaged = bytearray(data)
    if kind == "bytes":
        for place in rng.integers(0, len(data), rng.integers(1, 9)):
            damaged[place] = rng.integers(256)
    elif kind == "metadata":  # what HDF5 reads lies before and between small arrays: at the front, mostly
        for place in rng.integers(0, min(len(data), 8192), rng.integers(1, 5)):
            damaged[place] ^= 1 << int(rng.integers(8))
    elif kind == "cut":
        del damaged[int(rng.integers(len(data))) :]
        damaged += bytes(int(rng.integers(2)) * int(rng.integers(5000)))
    elif kind == "zeros":
        start = int(rng.integers(len(data)))
        length = int(rng.integers(1, 2000))
        damaged[start : start + length] = bytes(len(damaged[start : start + length]))
    else:  # spliced
        start, length = int(rng.integers(len(data))), int(rng.integers(1, 4000))
        damaged[start : start + length] = other[start : start + length]
    return bytes(damaged)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a JSON document stand."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in items:
        yield from places(each, (*path, name))


def lie(path: Path, rng: np.random.Generator) -> None:
    """Put something odd into the header, or leave something out."""
    with h5py.File(path, "r+") as file:
        header = json.loads(file["header"][()].tobytes())
        for _ in range(int(rng.integers(1, 4))):
            every = [place for place in places(header) if place]
            place = every[int(rng.integers(len(every)))]
            holder = header
            for name in place[:-1]:
                holder = holder[name]
            if rng.integers(3) == 0 and isinstance(holder, dict):
                del holder[place[-1]]
            else:
                holder[place[-1]] = deepcopy(ODD[int(rng.integers(len(ODD)))])
        del file["header"]
        file["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)


def reshape(path: Path, rng: np.random.Generator) -> None:
    """Give a dataset another type, shape or storage, another name, or a link in its place."""
    with h5py.File(path, "r+") as file:
        names = sorted(file)
        name = names[int(rng.integers(len(names)))]
        data = file[name][()]
        del file[name]
        how = int(rng.integers(9))
        if how == 0:
            file[name] = data.astype("f4")
        elif how == 1:
            file[name] = np.resize(data, tuple(int(each) for each in rng.integers(0, 9, rng.integers(1, 4))))
        elif how == 2:
            file.create_dataset(name, data=data, chunks=True, compression="gzip")
        elif how == 3:
            file[name] = h5py.SoftLink("/" + names[0])
        elif how == 4:
            file[name.replace("0", "1") + ".0"] = data
        elif how == 5:
            file.create_group(name)
        elif how == 6:
            file[name] = [b"text"]
        elif how == 7 and data.dtype.kind == "f":
            file[name] = np.full_like(data, (np.nan, np.inf, 1e308)[int(rng.integers(3))])
        elif how == 8:
            file[name] = file[names[0]] if names[0] != name else data


def examine(path: Path) -> tuple[str, str]:
    """The outcome for a damaged probe file, and a detail."""
    try:
        probes = solvers.load(path)
    except SolverError as error:
        return ("found", "refused") if "\n" not in str(error) else ("raised", f"several lines: {error}")
    except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
        return "raised", traceback.format_exc()
    try:
        missing = not_in_the_file(path, probes)
        for key, table in product(probes, probes.beside.tables):
            probes.predictions(key, table.split)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            echo_text(probes_shown(probes, Asked()).text)
            json.dumps(as_document(probes, probes.scores(parts=True)), default=str)
        harmful = set("\x1b\u202e") & set(printed.getvalue())
    except SolverError as error:
        return "found", f"refused when shown: {error}"
    except BaseException:  # noqa: BLE001 - as above
        return "raised", traceback.format_exc()
    if missing or harmful:
        return "missed", f"not in the file: {missing}" if missing else "printed what acts on a terminal"
    return "found", "read"


def not_in_the_file(path: Path, probes: Probes) -> list[str]:
    """What was read and stands nowhere in the file."""
    content = path.read_bytes()
    with h5py.File(path, "r") as file:
        header = json.loads(file["header"][()].tobytes())
    entries = [json.dumps(entry, sort_keys=True) for entry in header["probes"]]
    tables = [json.dumps(entry, sort_keys=True) for entry in header.get("tables", [])]
    missing = []
    for probe in probes.values():
        arrays = {
            name: getattr(probe.map, name) for name in ("weights", "intercept", "mean", "scale", "columns")
        }
        arrays |= {name: array for said in probe.predictions.values() for name, array in said.items()}
        missing += [
            name for name, array in arrays.items() if array is not None and array.tobytes() not in content
        ]
        if _comparable(probe_entry(probe)) not in map(_comparable, map(json.loads, entries)):
            missing.append(f"entry of {probe.key}")
    for table in probes.beside.tables:
        missing += [name for name, array in table.arrays.items() if array.tobytes() not in content]
        if _comparable(table_entry(table)) not in map(_comparable, map(json.loads, tables)):
            missing.append(f"table {table.key}")
    return missing


def _comparable(entry: dict[str, Any]) -> str:
    """An entry whose numbers are compared as numbers, and in which what may be left out is there."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        whole = isinstance(value, int) and not isinstance(value, bool)
        return float(value) if whole and abs(value) <= _MOST_FLOAT and float(value) == value else value

    filled = dict(entry)
    if "where" in filled:
        defaults = {
            "kind": "task",
            "method": "logistic",
            "step": 0,
            "fold": None,
            "seed": 0,
            "slice": None,
            "order": 0,
            "draws": 1,
            "projection": None,
        }
        filled["where"] = defaults | filled["where"]
        filled["proof"] = {"chosen": {}} | filled["proof"]
        filled["proof"]["path"] = [{"scores": {}} | each for each in filled["proof"]["path"]]
        filled["scores"] = {"temperature": None} | filled["scores"]
        provenance = {"fingerprint": "", "rows_fingerprint": "", "command": "", "version": "", "stored": {}}
        filled["provenance"] = provenance | {"seconds": float("nan")} | filled["provenance"]
    else:
        filled = {"fold": None} | filled
    return json.dumps(plain(filled), sort_keys=True)


def examine_parts(folder: Path, expected: Probes) -> tuple[str, str]:
    """The outcome for the damaged parts of a fit that goes on with them."""
    try:
        probes = problem_fit(folder)
    except SolverError as error:
        return ("found", "refused") if "\n" not in str(error) else ("raised", f"several lines: {error}")
    except BaseException:  # noqa: BLE001 - as above
        return "raised", traceback.format_exc()
    wrong = [key for key in expected if key not in probes]
    return ("missed", f"without {wrong}") if wrong else ("found", "went on")


def run_case(folder: Path, files: dict[str, bytes], expected: Probes, seed: int, number: int) -> None:
    """Print a line before the damage is looked at, and one after."""
    rng = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)].removeprefix("probes: ")
    names = [name for name in files if name.startswith("q.")] if kind == "parts" else ["p.h5", "old.h5"]
    name = names[int(rng.integers(len(names)))]
    print(json.dumps({"kind": f"probes: {kind}", "what": name}), flush=True)  # noqa: T201
    path = folder / name
    if kind in ("header", "datasets"):
        (lie if kind == "header" else reshape)(path, rng)
    else:
        other = files["p.h5" if name != "p.h5" else next(each for each in files if each.startswith("q."))]
        how = WAYS[int(rng.integers(5))] if kind == "parts" else kind
        path.write_bytes(mutate(how, files[name], other, rng))
    if kind == "parts" and name.endswith(".h5"):
        outcome, detail = examine(path)
        if outcome == "found":
            outcome, detail = examine_parts(path.parent, expected)
    else:
        outcome, detail = examine_parts(path.parent, expected) if kind == "parts" else examine(path)
    for each in (folder / "q.h5.parts").glob("*"):
        each.unlink()
    for each, data in files.items():
        (folder / each).write_bytes(data)
    print(json.dumps({"outcome": outcome, "detail": detail}), flush=True)  # noqa: T201


def serve(folder: Path, seed: int) -> None:
    """Take case numbers from standard input until it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    build(folder)
    files = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*.*"))
        if file.is_file()
    }
    expected = problem_fit(folder / "fresh.parts")
    examine(folder / "p.h5")  # so that what is loaded lazily is
    for line in sys.stdin:
        run_case(folder, files, expected, seed, int(line))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
