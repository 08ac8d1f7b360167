"""Run what the pages of this folder say, command by command, and go on where a run ended.

    python docs/reproductions/reproduce.py                     every page
    python docs/reproductions/reproduce.py figure7 --quick     one, at the sizes of its column `quick`

A page is NAME/README.md: its blocks fenced ```sh reproduce hold the commands, its table | variable | full | quick | the
sizes. They run in FOLDER/NAME, or FOLDER/NAME-quick, beside copies of the page's scripts, one thread each. What is
finished there is not run again, unless a command before it, one of its variables or a script has changed; then what it
made is removed first. `times.json` there has the wall and CPU seconds of each command.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```sh reproduce\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^\| *variable *\| *full *\| *quick *\|\n\|[-:| ]+\|\n((?:\|.*\|\n)+)", re.MULTILINE)
STATE, TIMES, LOCK = "reproduce.json", "times.json", "reproduce.lock"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ReproductionError(Exception):
    """A fault of a page, a folder or a command, in one line; `code` is what to exit with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Page:
    """The commands of a page, in order, and its variables as `full` or as `quick`."""

    name: str
    commands: tuple[str, ...]
    variables: dict[str, str]
    scripts: tuple[Path, ...]

    @property
    def needs_mnist(self) -> bool:
        return any("MNIST" in variables_of(command) for command in self.commands)


def variables_of(command: str) -> set[str]:
    return set(re.findall(r"\$\{?([A-Za-z_]\w*)", command))


def complete(code: str) -> bool:
    """Whether bash takes the lines as whole commands: no open loop, quote, here-document or continued line."""
    checked = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
    return checked.returncode == 0 and not checked.stderr and not code.rstrip("\n").endswith("\\")


def commands_of(block: str, name: str) -> Iterator[str]:
    """Split a block into commands: a line each, or the lines of a loop or of a continued line."""
    gathered = ""
    for line in block.splitlines():
        if gathered or (line.strip() and not line.startswith("#")):
            gathered += line + "\n"
            if complete(gathered):
                yield gathered.rstrip("\n")
                gathered = ""
    if gathered:
        first = gathered.splitlines()[0]
        raise ReproductionError(f"{name}: the command that begins with `{first}` does not end within its block")


def read_page(name: str, quick: bool, pages: Path = PAGES) -> Page:
    """Read the commands and variables of a page; a ReproductionError says what cannot be read."""
    text = (pages / name / "README.md").read_text()
    commands = tuple(command for block in BLOCK.findall(text) for command in commands_of(block, name))
    variables = {}
    for table in TABLE.findall(text):
        for line in table.splitlines():
            cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
            if len(cells) != 3 or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", cells[0]):
                raise ReproductionError(f"{name}: `{line}` is no row of | variable | full | quick |")
            variables[cells[0]] = cells[2 if quick else 1]
    return Page(name, commands, variables, tuple(sorted((pages / name).glob("*.py"))))


def pages_with_commands(pages: Path = PAGES) -> list[str]:
    return sorted(page.parent.name for page in pages.glob("*/README.md") if BLOCK.search(page.read_text()))


@dataclass
class Folder:
    """Where a page's commands run, what is finished there, and what each command made."""

    path: Path
    finished: list[dict[str, Any]] = field(default_factory=list)
    begun: dict[str, Any] | None = None
    lock: int = -1

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Open, or make, a folder; one that another run works in, or that holds other files, is refused."""
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()) and not (path / STATE).exists():
            raise ReproductionError(f"{path} holds other files; give another --folder, or empty it")
        lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReproductionError(f"another run, or a command that it began, works in {path}") from None
        said = json.loads((path / STATE).read_text()) if (path / STATE).exists() else {}
        folder = cls(path, lock=lock, **said)
        folder.save()
        return folder

    def save(self) -> None:
        (self.path / f"{STATE}.new").write_text(json.dumps({"finished": self.finished, "begun": self.begun}))
        os.replace(self.path / f"{STATE}.new", self.path / STATE)

    def entries(self) -> set[str]:
        return {entry.name for entry in self.path.iterdir()} - {STATE, f"{STATE}.new", TIMES, LOCK}

    def keep(self, stamps: list[str], scripts: set[str]) -> None:
        """Forget, and remove, what was made by commands that have changed and by those after them."""
        had = [each["stamp"] for each in self.finished] + ([self.begun["stamp"]] if self.begun else [])
        same = 0
        while same < min(len(had), len(stamps)) and had[same] == stamps[same]:
            same += 1
        if same < len(had):
            kept = {name for each in self.finished[:same] for name in each["made"]} | scripts | {"page"}
            for name in self.entries() - kept:
                entry = self.path / name
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            self.finished, self.begun = self.finished[:same], None
            self.save()

    @contextmanager
    def running(self, command: str, stamp: str) -> Iterator[None]:
        """Record a command as begun, what it used up even where it fails, and that it is finished."""
        anew: dict[str, Any] = {
            "stamp": stamp,
            "command": command,
            "wall": 0.0,
            "cpu": 0.0,
            "before": sorted(self.entries()),
        }
        self.begun = self.begun or anew
        self.save()
        wall, cpu = time.monotonic(), children_cpu_seconds()
        try:
            yield
        finally:
            self.begun["wall"] += round(time.monotonic() - wall, 2)
            self.begun["cpu"] += round(children_cpu_seconds() - cpu, 2)
            self.save()
        done, self.begun = self.begun, None
        done["made"] = sorted(self.entries() - set(done.pop("before")))
        self.finished.append(done)
        self.save()
        self.write_times()

    def write_times(self) -> None:
        commands = [{key: each[key] for key in ("command", "wall", "cpu")} for each in self.finished]
        total = {key: round(sum(each[key] for each in commands), 2) for key in ("wall", "cpu")}
        (self.path / TIMES).write_text(json.dumps({"total": total, "commands": commands}, indent=1) + "\n")


def children_cpu_seconds() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def digest(*parts: str | bytes) -> str:
    said = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        said.update(len(data).to_bytes(8, "big") + data)
    return said.hexdigest()[:24]


def stamps_of(page: Page, mnist: Path) -> list[str]:
    """A stamp for each command: of it, its variables, all scripts of the page, and the stamp before."""
    before = digest(*(part for script in page.scripts for part in (script.name, script.read_bytes())))
    stamps = []
    for command in page.commands:
        used = {name: page.variables[name] for name in variables_of(command) & set(page.variables)}
        data = mnist.read_bytes() if "MNIST" in variables_of(command) else b""
        before = digest(before, command, json.dumps(used, sort_keys=True), data)
        stamps.append(before)
    return stamps


def run_command(command: str, environment: dict[str, str], folder: Folder) -> int:
    """Run a command to its end, and return its exit code; a signal that ends us ends it first.

    The command holds the folder's lock as well, so that one that outlives us (kill -9) is not begun a second time.
    """
    process = subprocess.Popen(
        ["bash", "-eo", "pipefail", "-c", command],
        cwd=folder.path,
        env=environment,
        pass_fds=(folder.lock,),
        start_new_session=True,
    )
    try:
        code = process.wait()
    except BaseException as error:
        os.killpg(process.pid, signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
        process.wait()
        raise
    return 128 - code if code < 0 else code


def run_page(page: Page, given: argparse.Namespace) -> None:
    """Run the commands of a page that are not finished; one that fails is a ReproductionError."""
    folder = Folder.open(given.folder.resolve() / (page.name + ("-quick" if given.quick else "")))
    stamps = stamps_of(page, given.mnist)
    folder.keep(stamps, {script.name for script in page.scripts})
    for script in page.scripts:
        shutil.copyfile(script, folder.path / script.name)
    figures = folder.path / "page" if given.quick else given.pages / page.name
    figures.mkdir(exist_ok=True)
    environment = os.environ | dict.fromkeys(THREADS, "1") | page.variables
    environment |= {"PAGE": str(figures), "MNIST": str(given.mnist)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for number, (command, stamp) in enumerate(zip(page.commands, stamps, strict=True)):
        if number < len(folder.finished):
            continue
        print(f"{page.name}$ {command}", flush=True)
        with folder.running(command, stamp):
            code = run_command(command, environment, folder)
            if code:
                raise ReproductionError(
                    f"{page.name}: `{command}` exited with {code}; call again to go on", code
                )
    total = json.loads((folder.path / TIMES).read_text())["total"]
    print(f"{page.name}: {len(stamps)} commands, {total['wall']:.0f} s, {total['cpu']:.0f} CPU s", flush=True)


def arguments() -> argparse.Namespace:
    beside = PAGES.parents[2] / "shared" / "data" / "mnist.npz"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which pages (all)")
    parser.add_argument(
        "--quick", action="store_true", help="small; figures go beside the rest, not to the page"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("build/reproductions"), help="(build/reproductions)"
    )
    parser.add_argument(
        "--mnist", type=Path, default=Path(os.environ.get("MNIST", beside)), help="an mnist.npz"
    )
    parser.add_argument("--pages", type=Path, default=PAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.mnist, given.pages = given.mnist.resolve(), given.pages.resolve()
    there = pages_with_commands(given.pages)
    for name in given.names:
        if name not in there:
            parser.error(f"{name} is no page with commands; there are {', '.join(there)}")
    return given


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    skipped = []
    try:
        for name in given.names or pages_with_commands(given.pages):
            page = read_page(name, given.quick, given.pages)
            if page.needs_mnist and not given.mnist.is_file():
                print(
                    f"{name}: skipped, for there is no {given.mnist}; say --mnist FILE or set MNIST", flush=True
                )
                skipped.append(name)
            else:
                run_page(page, given)
    except ReproductionError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("interrupted; call again to go on", file=sys.stderr)
        return 130
    return 1 if skipped and given.names else 0


if __name__ == "__main__":
    sys.exit(main())
