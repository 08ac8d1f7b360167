"""The runner of docs/reproductions, on a page of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

RUNNER = Path(__file__).resolve().parents[2] / "docs" / "reproductions" / "reproduce.py"
PAGE = """# A page

| variable | full | quick |
|---|---|---|
| `ROWS` | 100 | 3 |
| `WORD` | `long` | `short` |

```sh reproduce
# what it makes is counted
echo $ROWS >> rows.txt
for seed in 1 2; do
    python network.py $seed \\
        "$WORD" >> words.txt
done

test -f ready
cp words.txt $PAGE/words.csv
```

```sh
exit 3
```
"""
SCRIPT = "import sys\nprint(*sys.argv[1:])\n"


def load():
    spec = spec_from_file_location("reproduce", RUNNER)
    module = module_from_spec(spec)
    sys.modules["reproduce"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pages(tmp_path):
    folder = tmp_path / "pages" / "tiny"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(PAGE)
    (folder / "network.py").write_text(SCRIPT)
    return folder.parent


def call(pages, *words, **variables):
    command = [sys.executable, RUNNER, "--pages", pages, "--folder", pages.parent / "build", *words]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


def test_a_page_is_split_into_whole_commands(pages):
    page = load().read_page("tiny", quick=True, pages=pages)
    assert page.variables == {"ROWS": "3", "WORD": "short"}
    assert [command.split("\n")[0] for command in page.commands] == [
        "echo $ROWS >> rows.txt",
        "for seed in 1 2; do",
        "test -f ready",
        "cp words.txt $PAGE/words.csv",
    ]
    assert page.commands[1].endswith("done")


def test_a_here_document_is_one_command(pages):
    code = "cat > rows.csv <<'END'\na,b\n1,2\nEND\n"
    (pages / "tiny" / "README.md").write_text(PAGE.replace("test -f ready\n", code))
    assert load().read_page("tiny", quick=True, pages=pages).commands[2] == code.rstrip("\n")


def test_a_run_goes_on_where_a_command_failed_and_repeats_nothing(pages):
    done, work = call(pages, "--quick"), pages.parent / "build" / "tiny-quick"
    assert done.returncode == 1
    assert "tiny: `test -f ready` exited with 1; call again to go on" in done.stderr
    (work / "ready").touch()
    done = call(pages, "--quick")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny$ test -f ready\n")
    assert (work / "rows.txt").read_text() == "3\n"
    assert (work / "words.txt").read_text() == "1 short\n2 short\n"
    assert (work / "page" / "words.csv").exists()
    assert not (pages / "tiny" / "words.csv").exists()
    times = json.loads((work / "times.json").read_text())
    assert [each["command"].split()[0] for each in times["commands"]] == ["echo", "for", "test", "cp"]
    assert times["total"]["cpu"] > 0
    assert call(pages, "--quick").stdout.startswith("tiny: 4 commands, ")
    assert (work / "rows.txt").read_text() == "3\n"


def test_the_full_run_writes_its_figures_to_the_page(pages):
    (pages / "tiny" / "README.md").write_text(PAGE.replace("test -f ready\n", ""))
    assert call(pages, "tiny").returncode == 0
    assert (pages / "tiny" / "words.csv").read_text() == "1 long\n2 long\n"


@pytest.mark.parametrize(
    ("old", "new", "rows", "words"),
    [
        ("| 3 |", "| 4 |", "4\n", "1 short\n2 short\n"),
        ("`short`", "`other`", "3\n", "1 other\n2 other\n"),
        ("for seed in 1 2", "for seed in 5", "3\n", "5 short\n"),
        ("# A page", "# Another", "3\n", "1 short\n2 short\n"),
    ],
)
def test_what_changed_and_what_follows_it_is_made_anew(pages, old, new, rows, words):
    work = pages.parent / "build" / "tiny-quick"
    assert call(pages, "--quick").returncode == 1
    assert "`test -f ready`" in call(pages, "--quick").stderr
    (pages / "tiny" / "README.md").write_text(PAGE.replace(old, new))
    call(pages, "--quick")
    # Both files are appended to: one that was not removed would have the old lines, too.
    assert ((work / "rows.txt").read_text(), (work / "words.txt").read_text()) == (rows, words)


def test_a_changed_script_makes_everything_anew(pages):
    work = pages.parent / "build" / "tiny-quick"
    call(pages, "--quick")
    (pages / "tiny" / "network.py").write_text("print('new')\n")
    call(pages, "--quick")
    assert ((work / "rows.txt").read_text(), (work / "words.txt").read_text()) == ("3\n", "new\nnew\n")


def test_a_page_without_its_images_is_skipped_and_one_asked_for_by_name_fails(pages):
    (pages / "tiny" / "README.md").write_text(PAGE.replace("test -f ready", 'test -f "$MNIST"'))
    for words, code in (([], 0), (["tiny"], 1)):
        done = call(pages, *words, "--mnist", "nowhere.npz")
        assert done.returncode == code
        assert "tiny: skipped, for there is no " in done.stdout
    (pages.parent / "images.npz").touch()
    assert call(pages, MNIST=str(pages.parent / "images.npz")).returncode == 0


def test_folders_of_others_and_unknown_pages_are_refused(pages):
    (pages.parent / "build" / "tiny").mkdir(parents=True)
    (pages.parent / "build" / "tiny" / "thesis.txt").touch()
    done = call(pages)
    assert (done.returncode, "holds other files; give another --folder" in done.stderr) == (1, True)
    done = call(pages, "tony")
    assert (done.returncode, "tony is no page with commands; there are tiny" in done.stderr) == (2, True)


def test_a_command_without_an_end_is_named(pages):
    (pages / "tiny" / "README.md").write_text(PAGE.replace("done\n", ""))
    done = call(pages)
    assert done.returncode == 1
    assert "tiny: the command that begins with `for seed in 1 2; do` does not end" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_too_and_the_next_call_goes_on(pages, number):
    slow = "echo begun > begun; sleep 60; touch never"
    (pages / "tiny" / "README.md").write_text(PAGE.replace("test -f ready", slow))
    work = pages.parent / "build" / "tiny"
    listen = (  # where the suite runs in the background, SIGINT is inherited as ignored
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    command = [sys.executable, "-c", listen, RUNNER, "--pages", pages, "--folder", pages.parent / "build"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (work / "begun").exists() and process.poll() is None:
            time.sleep(0.02)
        assert "another run, or a command that it began, works in" in call(pages).stderr
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 128 + number
    (pages / "tiny" / "README.md").write_text(PAGE.replace("test -f ready", "test ! -f begun"))
    done = call(pages)
    assert done.returncode == 0, done.stderr  # the lock is free, and what the changed command had made is gone
    assert not (work / "never").exists()
    assert (work / "rows.txt").read_text() == "100\n"


def test_a_command_that_outlives_its_runner_is_not_run_beside_itself(pages):
    slow = "echo begun >> begun; sleep 2"
    (pages / "tiny" / "README.md").write_text(PAGE.replace("test -f ready", slow))
    work = pages.parent / "build" / "tiny"
    command = [sys.executable, RUNNER, "--pages", pages, "--folder", pages.parent / "build"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not (work / "begun").exists() and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    assert "another run, or a command that it began, works in" in call(pages).stderr
    deadline = time.monotonic() + 60
    while (done := call(pages)).returncode and time.monotonic() < deadline:
        time.sleep(0.2)
    assert done.returncode == 0, done.stderr
    assert (work / "begun").read_text() == "begun\nbegun\n"  # the runner did not see the first one end
    assert (work / "rows.txt").read_text() == "100\n"


PAGES = RUNNER.parent
SUMMARY = re.compile(r"^\| (?!experiment|---)(.*) \|$", re.MULTILINE)


@pytest.mark.parametrize("name", load().pages_with_commands())
def test_a_page_has_its_parts_and_every_variable_a_value(name):
    for quick in (False, True):
        page = load().read_page(name, quick)
        used = set().union(*map(load().variables_of, page.commands))
        own = set(re.findall(r"\bfor (\w+) in\b", "\n".join(page.commands)))
        assert used - own - {"PAGE", "MNIST"} <= set(page.variables)
        assert all(page.variables.values())
    text = (PAGES / name / "README.md").read_text()
    assert re.search(r"\*\*The criterion\*\*|^## The criterion", text, re.MULTILINE)
    assert f"make reproduce-{name}" in text
    named = set(re.findall(r"\$PAGE/([\w-]+\.(?:svg|csv))", "\n".join(page.commands)))
    assert not {figure for figure in named if not (PAGES / name / figure).exists()}


def test_the_summary_has_a_verdict_a_criterion_and_a_number_for_every_experiment():
    text = (PAGES / "README.md").read_text()
    rows = [[cell.strip() for cell in row.split(" | ")] for row in SUMMARY.findall(text)]
    for row in rows:
        assert len(row) == 6, row
        assert row[4] in ("reproduced", "in shape", "not reproduced"), row
        assert all(row), row
        assert re.search(r"\d", row[2]), row
        assert re.search(r"\d", row[3]), row
    linked = set(re.findall(r"\]\(([\w-]+)/README\.md", " ".join(row[0] for row in rows)))
    assert set(load().pages_with_commands()) <= linked
