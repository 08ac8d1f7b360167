"""Mistakes and accidents: one line each, and nothing half-written under a final name (issue point by point)."""

import errno
import json
import os
import re

import numpy as np
import pytest

DATA = "--data train=train.npz:x --target train:sign=train.npz:y"


def left_in(folder):
    """What lies in the folder besides the inputs."""
    return {entry.name for entry in folder.iterdir()} - {"net.py", "train.npz", "test.npz", "__pycache__"}


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ("--data train=missing.npz:x --layers hidden", "missing.npz", 2),
        ("--data train=train.npz:z --layers hidden", r"'z'.*x, y|x.*y", 2),
        ("--data train=train.npz --layers hidden", "train.npz:", 2),
        (f"{DATA} --layers hiden", "'hiden'.*hidden", 1),
        (f"{DATA} --layers hidden --arg width=3", "width", 1),
        ("--data train=train.npz:x --target train:sign=test.npz:y --layers hidden", "300.*100|100.*300", 2),
        ("--data train=train.npz:x --target test:sign=test.npz:y --layers hidden", "test", 2),
        (f"{DATA} --layers hidden --weights none.npz", "none.npz|weights", 2),
    ],
)
def test_dump_refuses_in_one_line_and_leaves_nothing(refused, net, folder, arguments, message, code):
    line = refused(f"actstore dump {net} {arguments} -o s.h5", code)
    assert re.search(message, line), line
    assert not left_in(folder)


@pytest.mark.parametrize(
    "model", ["missing.py:run", "net.py:rum", "net.py", "no.such.package:net", "demo:mnist"]
)
def test_a_model_that_is_not_there(refused, net, folder, model):
    assert refused(f"actstore dump {model} {DATA} --layers hidden -o s.h5").startswith("Error: ")
    assert not left_in(folder)


@pytest.mark.parametrize("output", ["s.hdf5", "s", "no/such/folder/s.h5"])
def test_an_output_that_can_not_be(refused, net, folder, output):
    assert output.split("/")[0] in refused(f"actstore dump {net} {DATA} --layers hidden -o {output}", code=2)
    assert not left_in(folder)


@pytest.mark.parametrize("output", ["s.h5", "s.acts"])
def test_an_existing_store_is_kept_without_overwrite(run, refused, net, folder, output):
    run(f"actstore dump {net} {DATA} --layers hidden -o {output}")
    before = json.loads(run(f"actstore info {output} --json").stdout)
    assert "--overwrite" in refused(f"actstore dump {net} {DATA} --layers double.out -o {output}", code=2)
    assert json.loads(run(f"actstore info {output} --json").stdout) == before
    run(f"actstore dump {net} {DATA} --layers double.out -o {output} --overwrite")
    assert list(json.loads(run(f"actstore info {output} --json").stdout)["layers"]) == ["double.out"]


@pytest.mark.parametrize(
    "command", ["probe fit {store} --target sign --C 1 -o out.svg", "probe plot p.h5 -o out.svg"]
)
def test_existing_results_are_kept_without_overwrite(run, refused, store, folder, command):
    run(f"probe fit {store} --target sign --C 1 -o p.h5")
    (folder / "out.svg").write_text("mine")
    assert "--overwrite" in refused(command.format(store=store))
    assert (folder / "out.svg").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("missing.h5 --target sign", "missing.h5"),
        ("net.py --target sign", "net.py"),
        ("{store} --target sing", "'sing'.*sign"),
        ("{store} --target sign --layers hiden", "'hiden'.*hidden"),
        ("{store} --target sign --C -1", "-1"),
        ("{store} --target sign=train.npz:y", "300.*400|400.*300"),
        ("train=train.npz:x --target train:sign=test.npz:y", "300.*100|100.*300"),
        ("train=train.npz:x --target sign", "sign"),
        ("train.npz:x --target one=ones.npy", "only the class 1.*two classes"),
    ],
)
def test_fit_refuses_in_one_line_and_writes_nothing(refused, store, folder, arguments, message):
    np.save(folder / "ones.npy", np.ones(300, dtype=int))
    line = refused(f"probe fit {arguments.format(store=store)} -o p.h5")
    assert re.search(message, line), line
    assert not (folder / "p.h5").exists()


def test_an_engine_that_is_not_there_is_wrong_usage(run, store, folder):
    said = run(f"probe fit {store} --target sign --engine fortran -o p.h5", code=2).output
    assert re.search("fortran.*numpy", said)
    assert not (folder / "p.h5").exists()


@pytest.mark.parametrize("command", ["show {}", "plot {} -o f.svg", "eval {} s.h5"])
@pytest.mark.parametrize("file", ["missing.h5", "net.py", "s.h5"])
def test_what_is_not_a_probe_file(refused, store, command, file):
    assert file in refused(f"probe {command.format(file)}")


def test_a_figure_of_an_unknown_kind(run, refused, store, folder):
    run(f"probe fit {store} --target sign --C 1 -o p.h5")
    assert ".svg, .png, .pdf or .html" in refused("probe plot p.h5 -o figure.jpeg")
    assert not (folder / "figure.jpeg").exists()


@pytest.mark.parametrize(
    "line", ["actstore dump", "actstore dump net.py:run", "probe fit", "probe fit s.h5", "actstore frobnicate"]
)
def test_wrong_usage_exits_2(run, line):
    assert "Usage: " in run(line, code=2).stderr


def test_non_finite_activations_are_counted_and_refused_while_other_layers_finish(run, net, folder):
    (folder / "net.py").write_text(
        "import numpy as np\n"
        "def run(batch):\n"
        "    bad = batch.copy()\n"
        "    bad[::100, 0] = np.nan\n"
        "    bad[1::100, 0] = np.inf\n"
        "    return {'bad': bad, 'good': batch}\n"
    )
    dumped = run(f"actstore dump net.py:run {DATA} --layers ** --batch-size 300 --no-selfcheck -o s.h5".split())
    assert "layer 'bad' has NaN or infinities in 6 rows" in dumped.stderr
    fitted = run("probe fit s.h5 --target sign --C 1 -o p.h5", code=1)
    assert ": 1 probe by" in fitted.stdout
    assert re.search(r"'bad'.*6 rows|'bad'.*6 of", fitted.stderr), fitted.stderr
    assert [row["layer"] for row in json.loads(run("probe show p.h5 --json").stdout)["probes"]] == ["good"]


FAILING = (
    "import numpy as np\n"
    "calls = 0\n"
    "def run(batch):\n"
    "    global calls\n"
    "    calls += 1\n"
    "    if calls == 10:\n"
    "        {failure}\n"
    "    return {{'hidden': batch}}\n"
)


@pytest.mark.parametrize("output", ["s.h5", "s.acts"])
def test_a_model_that_raises_on_the_tenth_batch(refused, net, folder, output):
    (folder / "net.py").write_text(FAILING.format(failure="raise ValueError('the tenth')"))
    line = refused(
        f"actstore dump net.py:run {DATA} --layers hidden --batch-size 20 --no-selfcheck -o {output}"
    )
    assert "the tenth" in line
    assert not left_in(folder), "no shard was sealed, so nothing is left"


def test_ctrl_c(run, net, folder):
    (folder / "net.py").write_text(FAILING.format(failure="raise KeyboardInterrupt"))
    result = run(
        f"actstore dump net.py:run {DATA} --layers hidden --batch-size 20 --no-selfcheck -o s.h5", code=130
    )
    assert re.search("nothing is left in .*s.h5: no shard had been sealed", result.stderr, re.IGNORECASE)
    assert not left_in(folder)


def test_a_full_disk(refused, net, folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    assert "No space left on device" in refused(f"actstore dump {net} {DATA} --layers hidden -o s.h5")
    assert not left_in(folder)


def test_layers_whose_batch_sizes_disagree(refused, net, folder):
    (folder / "net.py").write_text("def run(batch):\n    return {'a': batch, 'b': batch[1:]}\n")
    line = refused(f"actstore dump net.py:run {DATA} --layers a --layers b -o s.h5")
    assert "'b'" in line
    assert not left_in(folder)


@pytest.mark.parametrize("output", ["s.h5", "s.acts"])
def test_a_model_that_mixes_rows_is_refused_by_the_self_check_unless_it_is_off(
    run, refused, folder, net, output
):
    (folder / "mixing.py").write_text("def run(batch):\n    return {'norm': batch - batch.mean(axis=0)}\n")
    line = f"actstore dump mixing.py:run {DATA} --layers norm -o {output}"
    message = refused(line)
    assert re.search(
        r"^Error: self-check: layer 'norm' \(array\) gives row 'train/0' other values beside .*--no-selfcheck",
        message,
    )
    assert left_in(folder) == {"mixing.py"}
    run(f"{line} --no-selfcheck")
    assert left_in(folder) == {"mixing.py", output}
