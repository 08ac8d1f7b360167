"""`probe fit`: several targets, interruptions, progress, warm starts, slices of layers, memory, no penalty."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import solvers
from cli.probe.fit import Reporter
from solvers.engines import choice
from solvers.fitting.result import FitProgress
from solvers.probing.fit_layers import LayerProgress
from solvers.probing.layer import choosing as layer_module

HOUSE = Path(__file__).parents[2]
TWO = "--target sign --target word=names.npy"


@pytest.fixture
def names(store, folder):
    """Labels of one's own for every row of the store: three words."""
    labels = np.concatenate([np.load(f"{split}.npz")["y"] for split in ("train", "test")])
    words = np.array(["minus", "plus", "odd"])[np.where(np.arange(400) % 5, labels, 2)]
    np.save("names.npy", words)
    return "names.npy"


def records(run, probes):
    shown = json.loads(run(f"probe show {probes} --json").stdout)["probes"]
    return {(row["layer"], row["target"]): row for row in shown}


@pytest.fixture
def stopping(monkeypatch):
    """``stopping(error)`` makes every fit raise as its second layer is begun; ``stopping(None)`` lets it go on."""
    call = Reporter.__call__

    def arrange(error):
        def stop(self, progress):
            call(self, progress)
            if error is not None and progress.done == 1:
                raise error

        monkeypatch.setattr(Reporter, "__call__", stop)

    return arrange


def test_several_targets_of_a_store(run, store, names):
    out = run(f"probe fit {store} {TWO} --C 0.1,1 -o p.h5").stdout
    assert re.match(r"p.h5: 4 probes by numpy, each within \S+ nats of its optimum\n", out)
    shown = records(run, "p.h5")
    assert list(shown) == [(layer, target) for layer in ("hidden", "double.out") for target in ("sign", "word")]
    run(f"probe fit {store} --target sign --C 0.1,1 -o sign.h5")
    for (layer, target), alone in records(run, "sign.h5").items():
        assert alone["error"] == shown[layer, target]["error"]
        assert alone["C"] == shown[layer, target]["C"]
    table = [line.split()[:2] for line in run("probe show p.h5").stdout.split("\n\n")[0].split("\n")]
    assert table == [["layer", "target"], *map(list, shown)]
    assert run("probe show p.h5 p.h5").stdout.split()[:2] == ["layer", "target"]


def test_a_figure_has_a_panel_for_each_target(run, refused, store, names, folder):
    run(f"probe fit {store} {TWO} --C 1 -o p.h5")
    run("probe plot p.h5 -o both.svg")
    assert all(f">{target}<" in (folder / "both.svg").read_text() for target in ("sign", "word"))
    said = refused("probe plot p.h5 --target x -o f.svg")
    assert "there is no score of target 'x'; there is sign, word" in said
    run("probe plot p.h5 --target word -o f.svg")
    assert "Prediction error of word by layer" in (folder / "f.svg").read_text()


def test_a_target_given_twice(run, store, names):
    line = run(f"probe fit {store} --target sign --target sign=names.npy -o p.h5", code=2).stderr
    assert "--target sign was given twice" in line


def test_several_targets_of_features_of_the_users_own(run, net, folder):
    for split, rows in (("train", 300), ("test", 100)):
        np.save(f"{split}3.npy", np.arange(rows) % 3)
    targets = "--target train:sign=train.npz:y --target test:sign=test.npz:y --target train:third=train3.npy"
    run(f"probe fit train=train.npz:x test=test.npz:x {targets} --C 1 -o p.h5")
    shown = records(run, "p.h5")
    assert [target for _, target in shown] == ["sign", "third"]
    assert shown["features", "sign"]["rows"] == {"train": 300, "test": 100}
    assert shown["features", "third"]["rows"] == {"train": 300, "test": 0}


def test_ctrl_c_and_the_same_command_again(run, store, folder, stopping):
    line = f"probe fit {store} --target sign --C 1 -o p.h5"
    stopping(KeyboardInterrupt())
    stopped = run(line, code=130).stderr
    assert stopped == (
        "Interrupted at layer 'double.out', with 1 of 2 layers fitted, kept in p.h5.parts; the same command goes on "
        "from there\n"
    )
    assert not (folder / "p.h5").exists()
    stopping(None)
    done = run(line)
    assert done.stderr == "1 of 2 layers are finished in p.h5.parts already; going on with the others\n"
    assert len(records(run, "p.h5")) == 2
    assert not (folder / "p.h5.parts").exists()


def test_a_failure_within_is_one_line_that_says_what_is_kept(run, refused, store, stopping):
    stopping(OSError(5, "Input/output error"))
    said = refused(f"probe fit {store} --target sign --C 1 -o p.h5")
    assert (
        "Input/output error; 1 of 2 layers are finished and kept in p.h5.parts; the same command goes on"
        in said
    )


def test_another_question_and_overwrite(run, refused, store, folder, stopping):
    stopping(KeyboardInterrupt())
    run(f"probe fit {store} --target sign --C 1 -o p.h5", code=130)
    stopping(None)
    said = refused(f"probe fit {store} --target sign --C 2 -o p.h5")
    assert "p.h5.parts holds finished layers of another fit: C was [1.0] there and is [2.0] here" in said
    assert "`--overwrite`" in said
    assert run(f"probe fit {store} --target sign --C 2 -o p.h5 --overwrite").stderr == ""
    assert {row["C"] for row in records(run, "p.h5").values()} == {2.0}
    assert not (folder / "p.h5.parts").exists()


def test_a_command_that_is_killed(run, store, folder):
    code = (
        "import os, sys\n"
        "from cli.probe.fit import Reporter\n"
        "from cli.main import probe\n"
        "def kill(self, progress):\n"
        "    if progress.done == 1:\n"
        f"        os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "Reporter.__call__ = kill\n"
        "probe()\n"
    )
    arguments = ["fit", store, "--target", "sign", "--C", "1", "-o", "p.h5"]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HOUSE)!r})\n{code}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "1 of 2 layers are finished in p.h5.parts" in run(["probe", *arguments]).stderr
    assert len(records(run, "p.h5")) == 2


class Line:
    """A progress line that keeps what it is shown."""

    def __init__(self):
        self.shown = []

    def show(self, text, *, force=False):
        self.shown.append((text, force))


def test_the_progress_line():
    line = Line()
    report = Reporter(line)
    report(LayerProgress("conv2", 2, 7))
    report.began_s -= 41
    report(LayerProgress("conv2", 2, 7, FitProgress(12, 36, 3e-6, 100)))
    report(LayerProgress("conv2", 2, 7, FitProgress(0, 36, float("inf"), 1)))
    assert line.shown == [
        ("layer 3 of 7: conv2", True),
        ("layer 3 of 7: conv2 · 12 of 36 columns · worst gap 3e-06 · 41 s", False),
        ("layer 3 of 7: conv2 · 0 of 36 columns · 41 s", False),
    ]


def test_a_pipe_sees_no_progress(run, store):
    assert run(f"probe fit {store} --target sign --C 1 -o p.h5").stderr == ""


def test_warm_start(run, refused, store, folder):
    run(f"probe fit {store} --target sign --C 1 --layers hidden -o first.h5")
    told = run(f"probe fit {store} --target sign --C 1 --warm-start first.h5 -o p.h5").stderr
    assert told == "1 of 2 probes start cold: the warm start has none of their layer and target\n"
    passes = {
        name: solvers.load(folder / f"{name}.h5")["hidden", "sign", 0].path[0].passes for name in ("first", "p")
    }
    assert passes["p"] < passes["first"]
    assert "no.h5" in refused(f"probe fit {store} --target sign --warm-start no.h5 -o q.h5")


def test_a_warm_start_of_something_else_is_refused_in_one_line(run, refused, store, names, folder):
    run(f"probe fit {store} --target sign=names.npy --C 1 -o words.h5")
    said = refused(f"probe fit {store} --target sign --C 1 --warm-start words.h5 -o p.h5")
    assert "has the classes minus, odd, plus but the labels have 0, 1" in said
    assert not (folder / "p.h5.parts").exists()


def test_slices_of_layers_are_evaluated_on_the_stored_layer(run, evaluated, refused, store):
    run(f"probe fit {store} --target sign --C 1 --split-features 2 -o heads.h5")
    shown = records(run, "heads.h5")
    assert [layer for layer, _ in shown] == ["hidden@0", "hidden@1", "double.out@0", "double.out@1"]
    by_hand = {(row["layer"], row["split"]): row["value"] for row in evaluated(f"heads.h5 {store}")}
    for layer, target in shown:
        assert by_hand[layer, "test"] == shown[layer, target]["error"]["test"]
    said = refused(f"probe fit {store} --target sign --split-features 3 -o p.h5")
    assert "layer 'hidden' has 4 features, which cannot be cut into 3 slices" in said


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2GB", 2 * 10**9),
        ("512mb", 512 * 10**6),
        ("1GiB", 2**30),
        ("1.5 kB", 1500),
        ("4096", 4096),
        ("3TiB", 3 * 2**40),
    ],
)
def test_memory_device_and_class_weight_reach_the_solver(run, store, monkeypatch, text, count):
    given = {}
    fit = solvers.fit_layers

    def spy(*arguments, **options):
        given.update(options)
        return fit(*arguments, **options | {"memory_bytes": None, "device": None, "class_weight": None})

    monkeypatch.setattr(solvers, "fit_layers", spy)
    words = ["--memory", text, "--device", "cuda:1", "--class-weight", "balanced", "--threads", "3"]
    run(["probe", "fit", store, "--target", "sign", "--C", "1", *words, "-o", "p.h5"])
    assert (given["memory_bytes"], given["device"], given["class_weight"]) == (count, "cuda:1", "balanced")
    assert given["threads"] == 3


def test_without_those_the_solver_decides(run, store, monkeypatch):
    given = {}
    fit = solvers.fit_layers
    monkeypatch.setattr(
        solvers, "fit_layers", lambda *all_, **options: given.update(options) or fit(*all_, **options)
    )
    run(f"probe fit {store} --target sign --C 1 --class-weight none -o p.h5")
    assert (given["memory_bytes"], given["device"], given["class_weight"]) == (None, None, None)


@pytest.mark.parametrize("text", ["lots", "2XB", "0", "-1GB", "0.1B"])
def test_a_memory_that_is_no_size(run, store, text):
    line = run(["probe", "fit", store, "--target", "sign", "--memory", text, "-o", "p.h5"], code=2).stderr
    assert f"'{text}' is no size; write for example 2GB, 512MB or 1GiB" in line


def test_rows_that_do_not_fit_the_memory_give_the_same_probes(run, store, folder):
    for name, memory in (("resident", "100MB"), ("streamed", "10kB")):
        run(f"probe fit {store} --target sign --C 0.1,1 --memory {memory} -o {name}.h5")
    resident, streamed = solvers.load(folder / "resident.h5"), solvers.load(folder / "streamed.h5")
    assert list(resident) == list(streamed)
    for key, one in resident.items():
        other = streamed[key]
        assert (one.C, one.status, one.rows) == (other.C, other.status, other.rows)
        assert one.status == "converged"
        assert abs(one.loss - other.loss) <= one.gap_nats + other.gap_nats


def test_no_penalty_end_to_end(run, store, folder):
    done = run(f"probe fit {store} --target sign --C inf -o p.h5")
    assert (done.stdout, done.stderr) == (
        "p.h5: 2 probes by numpy, unpenalised\n"
        "classes of sign in `train`: 2 (0 144, 1 156)\nrows: train 300, test 100\n",
        "",
    )
    run(f"probe fit {store} --target sign --C 1 -o one.h5")
    strong = records(run, "one.h5")
    for key, row in records(run, "p.h5").items():
        assert (row["status"], row["gap_nats"], row["C"]) == ("unpenalised", None, None)
        # Without the penalty the rows trained on are told apart at least as well.
        assert row["cross_entropy"]["train"] <= strong[key]["cross_entropy"]["train"]
    assert {"inf", "-", "unpenalised"} <= set(run("probe show p.h5").stdout.split("\n")[1].split())


@pytest.mark.skipif(choice.available("cupy") is None, reason="a GPU works here")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there(refused, store, device):
    said = refused(f"probe fit {store} --target sign --C 1 --device {device} -o p.h5")
    why = choice.available("cupy")
    assert said == f"Error: device '{device}' cannot be used here; expected cpu; engine cupy: {why}"


def test_devices(run, refused, store):
    said = refused(f"probe fit {store} --target sign --C 1 --device tpu -o p.h5")
    assert said.startswith("Error: device 'tpu' cannot be used here; expected cpu")
    assert "2 probes by numpy" in run(f"probe fit {store} --target sign --C 1 --device cpu -o p.h5").stdout


def test_probes_without_a_penalty_are_said_to_be_so_and_no_failure(run, store, folder, monkeypatch):
    fit = layer_module.fit

    def unpenalised(activations, labels, *, C, **options):
        found = fit(activations, labels, C=1.0, **options)
        return {
            target: replace(one, C=C, status="unpenalised", gap_nats=np.inf) for target, one in found.items()
        }

    monkeypatch.setattr(layer_module, "fit", unpenalised)
    done = run(f"probe fit {store} --target sign --C inf -o p.h5")
    assert (
        done.stdout == "p.h5: 2 probes by numpy, unpenalised\n"
        "classes of sign in `train`: 2 (0 144, 1 156)\nrows: train 300, test 100\n"
    )
    assert done.stderr == ""
    for row in records(run, "p.h5").values():
        assert (row["status"], row["gap_nats"], row["C"]) == ("unpenalised", None, None)
    assert {"inf", "-", "unpenalised"} <= set(run("probe show p.h5").stdout.split("\n")[1].split())
    assert "inf | - | numpy" in run("probe show p.h5 p.h5").stdout
    run("probe plot p.h5 -o f.svg")
    assert (folder / "f.svg").stat().st_size > 1000
    assert "unpenalised by numpy" in repr(solvers.load(folder / "p.h5")["hidden", "sign", 0])
