"""`probe plot`: figures by command, of several files, steps and targets, and of tables of scores."""

import csv
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from click.testing import CliRunner
from figure_scores import by_bin, by_class, by_depth, by_width

import actstore
from cli.main import probe as program
from solvers.scoring.score import COLUMNS

KINDS = ("depth", "steps", "width", "path", "classes", "confusion", "calibration", "graph")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with `p.h5`, probes of three layers at the steps 0 and 50, three C tried, and `q.h5`, one C tried."""
    folder = tmp_path_factory.mktemp("fitted")
    generator = np.random.default_rng(0)
    y = np.arange(240) % 3
    splits = np.repeat(["train", "val", "test"], 80)
    with actstore.create(folder / "run.acts") as recording:
        for step in (0, 50):
            layers = {f"net.block.{at}": generator.normal(size=(240, 6)) + y[:, None] * at for at in range(3)}
            recording.append(layers, targets={"class": y}, splits=splits, step=step)
    for name, penalties in (("p", "0.1,1,10"), ("q", "1")):
        line = f"fit {folder}/run.acts --target class --step all --C {penalties} -o {folder}/{name}.h5"
        done = CliRunner().invoke(program, line.split())
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def probes(fitted, folder):
    """`p.h5` and `q.h5` in the working directory."""
    for name in ("p.h5", "q.h5"):
        shutil.copy(fitted / name, folder)
    return "p.h5"


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, COLUMNS)
        lines.writeheader()
        lines.writerows(asdict(row.score) for row in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_a_probe_file(run, probes, folder, kind):
    assert run(f"probe plot {probes} --kind {kind} -o f.svg").stdout == "wrote f.svg\n"
    told = (folder / "f.svg").read_text()
    assert " of class" in told
    assert "p (store" in told


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("classes", by_class(["fc"], ["cat", "dog"])),
        ("confusion", by_class(["fc"], ["cat", "dog"])),
        ("calibration", by_bin(["fc"])),
        ("width", by_width(["a", "b"])[:2]),
        ("depth", by_depth(["a", "b"])),
    ],
)
def test_a_table_of_scores_is_drawn_as_their_file_is(run, folder, kind, rows):
    write("s.csv", rows)
    run(f"probe plot s.csv --kind {kind} -o f.svg")
    assert "3f2a91bc" in (folder / "f.svg").read_text()


def test_two_files_are_overlaid_or_apart(run, probes, folder):
    run("probe plot p.h5 q.h5 --step 0 --overlay file -o over.svg")
    assert all(f">{name}<" in (folder / "over.svg").read_text() for name in "pq")
    run("probe plot p.h5 q.h5 --step 0 --kind compare -o side.svg")
    assert "by layer and file" in (folder / "side.svg").read_text()
    run("probe plot p.h5 q.h5 --step 0 -o apart.svg")
    assert ">p<" in (folder / "apart.svg").read_text()


def test_layers_by_pattern_and_a_line_across(run, refused, probes, folder):
    run(
        [
            "probe",
            "plot",
            probes,
            "--step",
            "0",
            "--layers",
            r"re:net\.block\.[12]",
            "--reference",
            "the model=0.25",
            "-o",
            "f.svg",
        ]
    )
    told = (folder / "f.svg").read_text()
    assert "the model 25%" in told
    assert "…0" not in told
    assert "no layer" in refused(f"probe plot {probes} --layers nowhere -o g.svg")
    said = run(f"probe plot {probes} --reference far -o g.svg", code=2).stderr
    assert "--reference 'far' is no number" in said


def test_edges_of_a_file(run, refused, probes, folder):
    (folder / "e.csv").write_text("from,to\nnet.block.0,net.block.2\nnet.block.1,net.block.2\n")
    run(f"probe plot {probes} --step 0 --kind graph --edges e.csv -o f.svg")
    assert "2 edges, from e.csv" in (folder / "f.svg").read_text()
    run(f"probe plot {probes} --step 0 --kind graph -o g.svg")
    assert "a chain in the order of the calls" in (folder / "g.svg").read_text()
    assert "--edges is for --kind graph" in run(f"probe plot {probes} --edges e.csv -o h.svg", code=2).stderr
    assert "columns `from` and `to`" in refused(
        f"probe plot {probes} --kind graph --edges missing.csv -o h.svg"
    )
    assert not (folder / "h.svg").exists()


@pytest.mark.parametrize("suffix", ["html", "svg", "png", "pdf"])
def test_frames_over_steps(run, refused, probes, folder, suffix):
    run(f"probe plot {probes} --animate film.{suffix}")
    assert (folder / f"film.{suffix}").stat().st_size > 1000
    assert "exists already" in refused(f"probe plot {probes} --animate film.{suffix}")
    assert "1 step to animate" in refused(f"probe plot {probes} --step 0 --animate one.{suffix}")


def test_a_figure_without_a_place_or_of_nothing(run, refused, folder, probes):
    assert "say where the figure goes" in run(f"probe plot {probes}", code=2).stderr
    assert "the smaller one first" in refused(f"probe plot {probes} --ylim 1 0 -o f.svg")
    assert "no metric 'eror'" in refused(f"probe plot {probes} --metric eror -o f.svg")
    assert "nothing to compare" in refused(f"probe plot {probes} --step 0 --kind compare -o f.svg")
    (folder / "s.csv").write_text("a,b\n1,2\n")
    assert "s.csv is no table of scores" in refused("probe plot s.csv -o f.svg")
    assert "missing.csv" in refused("probe plot missing.csv -o f.svg")
    (folder / "empty.csv").write_text(",".join(COLUMNS) + "\n")
    assert "there is nothing to plot" in refused("probe plot empty.csv -o f.svg")
    assert not list(folder.glob("f.svg*"))


@pytest.mark.parametrize("graph", ["x", {"edges": 3}, {"edges": [["a"]]}, {"edges": [["a", 1]]}, None])
def test_a_graph_that_another_writer_made_differently_is_none(graph):
    from types import SimpleNamespace

    from cli.probe.bridge import feeders

    assert feeders(SimpleNamespace(provenance={"graph": graph}), ["a", "b"]) == {}
    told = {"graph": {"edges": [["a", "x"], ["x", "b"]]}}
    assert feeders(SimpleNamespace(provenance=told), ["a", "b"]) == {
        "a": {"fed_by": []},
        "b": {"fed_by": ["a"]},
    }
