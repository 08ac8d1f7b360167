"""All that needs no model is checked before the model is built: exit code 2, one line, no import of the model."""

import json
import os

import numpy as np
import pytest

import actstore
from cli.store.dump import dump

BOMB = "raise SystemExit('the model was imported')\n"
DATA = "--data x.npy"


@pytest.fixture
def there(folder):
    """A model that fails loudly on import, data, a store, and an unfinished one."""
    (folder / "bomb.py").write_text(BOMB)
    (folder / "net.py").write_text("def run(batch):\n    return {'a': batch}\n")
    np.save(folder / "x.npy", np.zeros((20, 3), "f4"))
    np.save(folder / "short.npy", np.zeros(3, "i8"))
    (folder / "rows.csv").write_text("text,group\na,1\nb,\n")
    (folder / "damaged.npy").write_bytes(b"\x93NUMPY\1\0v\0")
    (folder / "foreign.acts").mkdir()
    (folder / "foreign.acts" / "thesis.txt").write_text("precious")
    for name in ("there.h5", "there.acts"):
        with actstore.create(name) as store:
            store.append({"a": np.zeros((4, 2), "f4")})
    with actstore.create("begun.acts") as store:
        store.append({"a": np.zeros((4, 2), "f4")})
    (folder / "begun.acts/steps/0/COMPLETE").unlink()
    return folder


WRONG = {
    "data": ("--data none.npy", "none.npy"),
    "data of no kind": ("--data x.xyz", "x.xyz"),
    "data that is damaged": ("--data damaged.npy", "damaged.npy"),
    "data of a split twice": ("--data a=x.npy --data a=none.npy", "none.npy"),
    "data missing": (None, "--data is missing"),
    "arg": ("--arg width", "'width' has no '='"),
    "weights": ("--weights none.pt", "there is no file none.pt"),
    "weights with a key": ("--weights none.npz:key", "there is no file none.npz"),
    "autocast": ("--autocast fp8", "'fp8' is not one of"),
    "batch-size": ("--batch-size 0", "0 is not in the range"),
    "target of another length": ("--target y=short.npy", "3 labels"),
    "target that is not there": ("--target y=none.npy", "none.npy"),
    "target without a name": ("--target none.npy", "none.npy"),
    "target of no split": ("--target test:y=short.npy", "test"),
    "split-by": ("--split-by nothing", "nothing"),
    "group-by": ("--group-by nothing", "nothing"),
    "ignore-label": ("--ignore-label", "requires an argument"),
    "layers that are no expression": ("--layers re:(", "is not a regular expression"),
    "layers that are empty": (["--layers", ""], "is empty"),
    "exclude-layers": ("--exclude-layers re:[", "is not a regular expression"),
    "keep-input": ("--keep-input words", "'words' is not one of"),
    "output that is there": ("-o there.h5", "there.h5 already exists"),
    "output, a folder that is there": ("-o there.acts", "there.acts already exists"),
    "output that is unfinished": ("-o begun.acts", "begun.acts is an unfinished dump"),
    "output that is no store": ("-o foreign.acts", "'thesis.txt' in it is not part of a store"),
    "output by another ending": ("-o s.hdf5", "is not the name of a store"),
    "output in no folder": ("-o none/s.h5", "there is no folder"),
    "output onto the data": ("--data there.h5:/x -o there.h5 --overwrite", "there.h5"),
    "row": ("--row sentence", "'sentence' is not one of"),
    "limit": ("--limit 0", "0 is not in the range"),
    "sample-rows": ("--sample-rows 2", "expected a fraction between 0 and 1"),
    "sample-rows of nothing": ("--sample-rows 0.0000001", "keeps none of the 20 rows"),
    "pool": ("--pool avg", "pool 'avg' is not of the form"),
    "pool of a pattern": ("--pool re:(=mean", "is not a regular expression"),
    "axes": ("--axes conv", "is not PATTERN=NAME"),
    "axes of a pattern": ("--axes re:(=channel", "is not a regular expression"),
    "batch-axis": ("--batch-axis conv", "is not PATTERN=N"),
    "batch-axis of a pattern": ("--batch-axis re:(=1", "is not a regular expression"),
    "truncate": ("--truncate --row word", "--truncate cuts words off"),
    "random-features": ("--random-features 0", "0 is not in the range"),
    "random-projection": ("--random-projection 0", "0 is not in the range"),
    "dtype": ("--dtype float12", "dtype 'float12'"),
    "seed": ("--seed -1", "-1 is not in the range"),
    "step of a file": ("--step 3 -o s.h5", "steps and ranks need the folder of a store"),
    "step that is there": ("--step 0 -o there.acts", "there.acts already holds"),
    "rank": ("--rank 1", "--rank and --world-size come together"),
    "rank beyond": ("--rank 2 --world-size 2 -o s.acts", "rank 2 of a world size of 2"),
    "world-size": ("--world-size 0 --rank 0", "0 is not in the range"),
    "skip-bad": ("--skip-bad", "--skip-bad is for folders of images"),
    "resume and overwrite": ("--resume --overwrite", "choose one"),
    "resume-anyway and overwrite": ("--resume-anyway --overwrite", "choose one"),
    "overwrite of what is no store": ("-o x.npy --overwrite", "x.npy"),
}
NEEDS_THE_MODEL = {"device", "trace", "stop-early", "selfcheck"}
"""Options that only an adapter, or the run itself, can judge."""
OF_EVERY_COMMAND = {"json", "debug"}


@pytest.mark.parametrize("given", WRONG)
def test_a_wrong_option_of_dump_is_refused_before_the_model(run, there, given):
    options, said = WRONG[given]
    options = [] if options is None else options.split() if isinstance(options, str) else options
    line = ["actstore", "dump", "bomb.py:make"]
    line += ["--data", "x.npy"] if "--data" not in options and WRONG[given][0] is not None else []
    line += ["--layers", "**"] if "--layers" not in options else []
    line += ["-o", "s.acts"] if "-o" not in options else []
    before = sorted(os.listdir(there))
    done = run([*line, *options], code=2)
    assert said in done.stderr
    assert "the model was imported" not in done.output
    assert sorted(os.listdir(there)) == before


def test_every_option_of_dump_is_tried_above():
    options = {name.removeprefix("--") for each in dump.params for name in each.opts if name.startswith("--")}
    tried = {given.split()[0].rstrip(",") for given in WRONG}
    assert options <= tried | NEEDS_THE_MODEL | OF_EVERY_COMMAND | {
        "resume",
        "resume-anyway",
        "target",
        "layers",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--data none.npy", "none.npy"),
        ("--weights none.pt", "there is no file none.pt"),
        ("--arg width", "'width' has no '='"),
        ("--layers re:(", "is not a regular expression"),
        ("--exclude-layers re:(", "is not a regular expression"),
    ],
)
def test_a_wrong_option_of_layers_is_refused_before_the_model(run, there, options, said):
    done = run(f"actstore layers bomb.py:make {options}", code=2)
    assert said in done.stderr
    assert "the model was imported" not in done.output
    assert len(done.stderr.splitlines()) == 1 or "--arg" in options


def test_what_the_libraries_refuse_is_one_line(run, there):
    done = run(f"actstore dump bomb.py:make {DATA} --layers ** --pool avg -o s.h5", code=2)
    assert len(done.stderr.splitlines()) == 1


def test_it_is_json_where_json_is_asked_for(run, there):
    done = run(f"actstore dump bomb.py:make {DATA} --layers ** -o there.h5 --json", code=2)
    document = json.loads(done.stdout)
    assert (document["format"], document["error"]["code"]) == ("actstore dump", "usage")


def test_a_model_that_ends_the_program_is_a_failure(run, there):
    """`sys.exit()` in a model's file: not exit code 0, though nothing was dumped."""
    (there / "ends.py").write_text("import sys\nsys.exit(0)\n")
    for model, said in (("bomb.py:make", "the model was imported"), ("ends.py:make", "ends.py")):
        done = run(f"actstore dump {model} {DATA} --layers ** -o s.h5", code=1)
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_store_that_others_write_is_no_wrong_usage(run, there):
    from actstore.store.disk.locks import Lock
    from actstore.store.format import LOCK, rank_folder

    lock = Lock(there / "begun.acts" / rank_folder(0, 0) / LOCK)
    try:
        done = run(f"actstore dump net.py:run {DATA} --layers ** -o begun.acts --json", code=1)
    finally:
        lock.release()
    assert "is being written by another process" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "in-use"


def test_data_that_is_read_beforehand_is_stored_whole(run, there):
    """A generator gives its batches once: nothing of it is read before the model is there."""
    (there / "batches.py").write_text(
        "import numpy as np\ndef make():\n    for n in range(3):\n        yield np.full((2, 2), n, 'f4')\n"
        "batches = make()\n"
    )
    run("actstore dump net.py:run --data batches.py:batches --layers a -o s.h5 --no-selfcheck")
    np.testing.assert_array_equal(actstore.open("s.h5").layers["a"][:][:, 0], [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("options", ["", "--split-by y"])
def test_rows_that_were_looked_at_beforehand_warn_once(run, there, options):
    np.save(there / "marks.npy", np.array([-1, *range(19)]))
    done = run(f"actstore dump net.py:run {DATA} --target y=marks.npy --layers a -o s.h5 --no-selfcheck")
    lines = done.stderr.splitlines()
    assert len(lines) == len(set(lines))
