"""`probe show` with metrics, intervals and CSV; `probe compare`."""

import csv
import io
import json
import subprocess
import sys

import pytest

import solvers
from solvers.probing.scores.of_probes import keep_scores
from solvers.scoring.score import COLUMNS
from tests.solvers.made_probes import made, with_divided_groups


@pytest.fixture
def probes(folder):
    """p.h5: three layers, two classes; many.h5: 33 layers, two steps, groups."""
    keep_scores(made()).save("p.h5")
    made([f"model.layers.{number}.mlp" for number in range(33)], groups=50, steps=(0, 500)).save("many.h5")
    return made()


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table_is_within_80_columns_and_shows_c_and_the_gap(run, probes):
    for file in ("p.h5", "many.h5"):
        shown = run(f"probe show {file}").stdout
        assert max(map(len, shown.split("\n"))) <= 80
        assert shown.split("\n")[0].endswith("C  gap (nats)")
    assert run("probe show many.h5").stdout.split()[:2] == ["layer", "step"]


def test_intervals_stand_beside_their_numbers(run, probes):
    line = run("probe show p.h5").stdout.split("\n")[1].split()
    score = next(row for row in probes.scores() if row.split == "test" and row.metric == "error")
    assert line[0] == "a"
    low, high = (f"{each:.3f}"[1:] for each in (score.low, score.high))
    assert line[3:5] == [f"{score.value:.4f}", f"{low}-{high}"]


def test_a_star_stands_beside_c_at_an_end_of_the_grid(run, folder):
    from dataclasses import replace

    probes = made().changed(lambda probe: replace(probe, proof=replace(probe.proof, C=10.0)))
    probes.save("end.h5")
    assert " 10*  " in run("probe show end.h5").stdout
    assert "*" not in run(["probe", "show", "end.h5"]).stdout.replace("10*", "")


def test_metrics_are_chosen_and_the_positive_class_is_printed(run, probes):
    shown = run("probe show p.h5 --metric roc_auc,brier --metric f1_macro").stdout
    assert shown.split("\n")[0].split()[:5] == ["layer", "roc_auc", "val", "roc_auc", "test"]
    assert "brier test" in shown
    assert "positive class of t: class 1" in shown
    other = run(["probe", "show", "p.h5", "--metric", "average_precision", "--positive", "class 0"]).stdout
    assert "positive class of t: class 0" in other


@pytest.mark.parametrize(
    ("line", "why", "code"),
    [
        ("p.h5 --metric auc", "there is no metric 'auc'", 1),
        ("p.h5 --metric roc_ac", "did you mean roc_auc?", 1),
        ("p.h5 --metric confusion", "confusion has parts alone, too many for a table; add --csv or --json", 2),
        ("p.h5 --metric top5_accuracy", "top5_accuracy of 2 classes is 1 whatever a probe says", 1),
        ("p.h5 --positive x", "the positive class 'x' is none of the probes'", 1),
        ("p.h5 --metric tpr_at_fpr_0.01 --negatives control", "there is no split 'control'", 1),
        ("p.h5 --parts", "--parts are too many for a table; add --csv or --json", 2),
        ("p.h5 --csv --json", "--csv and --json are two ways to print the same scores; choose one", 2),
        ("p.h5 p.h5 --csv", "two files are shown by their errors; for other metrics", 2),
    ],
)
def test_what_there_is_not_is_refused_in_a_line(refused, probes, line, why, code):
    assert why in refused(f"probe show {line}", code=code)


def test_csv_has_every_score(run, probes):
    done = run("probe show p.h5 --csv")
    found = rows_of(done.stdout)
    assert list(found[0]) == list(COLUMNS)
    assert len(found) == len(probes.scores())
    expected = solvers.load("p.h5").scores().to_csv()
    assert done.stdout == expected
    assert {row["kind"] for row in found} == {"task", "majority", "path"}


def test_csv_and_json_have_parts_on_request(run, probes):
    found = rows_of(run("probe show p.h5 --csv --parts --metric accuracy --metric confusion").stdout)
    parts = {row["part"] for row in found if row["split"] == "test"}
    assert {"", "class 0", "class 1", "class 0>class 1"} <= parts
    document = json.loads(run("probe show p.h5 --json --metric confusion").stdout)
    assert {row["metric"] for row in document["scores"] if row["kind"] == "task"} == {"confusion"}
    assert "scores" not in document["probes"][0]["metrics"]


def test_names_that_act_on_a_terminal_stay_on_their_line(run, folder):
    made(layers=("a\x1b[31m\nb", 'c,"d"')).save("harmful.h5")
    done = run("probe show harmful.h5 --csv")
    assert "\x1b" not in done.stdout
    found = rows_of(done.stdout)
    assert {row["layer"] for row in found} == {r"a\x1b[31m\x0ab", 'c,"d"'}


def test_notes_go_to_stderr(run, folder):
    made(groups=12).save("few.h5")
    done = run("probe show few.h5 --csv")
    assert "note: target 't', split 'test': the rows are of 12 groups only" in done.stderr
    assert "note:" not in done.stdout


# compare


def test_compare_prints_the_family_and_both_intervals(run, probes):
    lines = run("probe compare p.h5 --reference a").stdout.split("\n")
    assert lines[:3] == [
        "error of t on test, step 0: 200 rows",
        "reference: a, named beforehand",
        "family: 2 comparisons; 95% is of each by itself, p family is Holm's over all",
    ]
    assert lines[3].split() == ["layer", "error", "reference", "difference", "95%", "p", "p", "family"]
    assert [line.split()[0] for line in lines[4:6]] == ["b", "c"]
    assert "negative is better" in lines[7]


def test_compare_as_json(run, probes):
    document = json.loads(run("probe compare p.h5 p.h5 --metric roc_auc --json").stdout)
    assert (document["format"], document["version"]) == ("probe compare", 1)
    (family,) = document["families"]
    for each in family["comparisons"]:
        assert (each["difference"], each["low"], each["high"], each["p"]) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    "way", ["--layers a,b", "--steps 0,500", "--layers model.layers.1.mlp,model.layers.2.mlp"]
)
def test_compare_takes_pairs(run, probes, way):
    file = "p.h5" if way == "--layers a,b" else "many.h5"
    assert "family: " in run(f"probe compare {file} {way}").stdout


def test_a_layer_with_a_comma_in_its_name_can_be_named(run, folder):
    made(layers=("a,b", "c", "d , e")).save("commas.h5")
    assert "reference: a,b, named beforehand" in run("probe compare commas.h5 --layers a,b,c").stdout
    assert "reference: d , e, named" in run(["probe", "compare", "commas.h5", "--layers", "d , e,c"]).stdout


@pytest.mark.parametrize(
    ("line", "why", "code"),
    [
        ("p.h5 --layers a", "--layers a names no two layers; write for example --layers A,B", 2),
        ("p.h5 --layers a,a", "--layers a,a names one twice", 2),
        ("p.h5 --layers a,", "--layers a, names no two layers", 2),
        ("p.h5 --layers a,x", "there is no layer 'x' among the probes", 1),
        ("p.h5 --steps 0,x", "--steps 0,x are no two training steps", 2),
        ("p.h5 --layers a,b --reference c", "choose one way to compare", 2),
        ("p.h5 p.h5 --reference c", "choose one way to compare", 2),
        ("p.h5 --split val", "the rows of 'val' chose C", 1),
        ("none.h5", "there is no probe file none.h5", 1),
        ("p.h5 many.h5", "have no layer, target and step in common", 1),
    ],
)
def test_compare_refuses_in_a_line(refused, probes, line, why, code):
    assert why in refused(f"probe compare {line}", code=code)


def test_scores_of_129_layers_take_no_time_where_the_file_keeps_them(probes, monkeypatch):
    """Nothing is resampled: the intervals of default metrics were made as the probes were fitted."""
    keep_scores(made([f"layer{number}" for number in range(129)], groups=100)).save("big.h5")
    monkeypatch.setattr("solvers.scoring.units.Units.weights", None)
    assert len(solvers.load("big.h5").scores()) > 129 * 12


def test_layers_by_steps_in_one_table(run, probes):
    shown = run("probe show many.h5 --by step").stdout
    assert max(map(len, shown.split("\n"))) <= 80
    head, _, header, *lines = shown.split("\n")
    assert head == "error on `test` by layer and step"
    assert header.split() == ["layer", "step", "0", "step", "500"]
    loaded = solvers.load("many.h5")
    for line, number in zip(lines, range(33), strict=False):
        layer = f"model.layers.{number}.mlp"
        assert line.split() == [layer, *[f"{loaded[layer, 't', step].error['test']:.4f}" for step in (0, 500)]]
    assert "majority" in shown
    asked = run("probe show many.h5 --by step --metric roc_auc,error").stdout
    assert "roc_auc on `test` by layer and step, positive class class 1" in asked
    assert "\nerror on `test` by layer and step\n" in asked
    assert len(run("probe show p.h5 --by step").stdout.split("\n")[3].split()) == 2  # one step: one column


def test_by_step_a_table_for_each_target_and_seed_and_wrapped_where_steps_are_many(run, probes):
    made(targets=("t", "u"), steps=range(0, 2000, 100)).save("film.h5")
    shown = run("probe show film.h5 --by step").stdout
    assert max(map(len, shown.split("\n"))) <= 80
    tables = shown.split("\ntarget")[0].split("error on `test` by layer and step, ")
    assert [table.split("\n")[0] for table in tables] == ["", "target t", "target u"]
    loaded = solvers.load("film.h5")
    for table, target in zip(tables[1:], "tu", strict=True):
        runs = [line.split() for line in table.split("\n")]
        steps = [int(word) for line in runs if line[:1] == ["layer"] for word in line[2::2]]
        assert steps == list(range(0, 2000, 100))
        cells = [word for line in runs if line[:1] == ["b"] for word in line[1:]]
        assert cells == [f"{loaded['b', target, step].error['test']:.4f}" for step in steps]


def test_by_step_what_is_missing_is_empty_and_what_is_not_proven_is_marked(run, folder):
    from dataclasses import replace

    from solvers import Probes, Status

    every = made(steps=(0, 500))
    missed = every.changed(
        lambda probe: (
            replace(probe, proof=replace(probe.proof, status=Status.GAP_MISSED))
            if (probe.layer, probe.step) == ("a", 500)
            else probe
        )
    )
    kept = [probe for key, probe in missed.items() if key[::2] != ("c", 0)]
    Probes(kept, beside=missed.beside).save("part.h5")
    lines = run("probe show part.h5 --by step").stdout.split("\n")[3:6]
    assert lines[0].split()[2] == f"{every['a', 't', 500].error['test']:.4f}!"
    assert lines[1].count("!") == 0
    assert len(lines[2].split()) == 2
    assert lines[2].rstrip().endswith(f"{every['c', 't', 500].error['test']:.4f}")
    assert "\n!: not proven to be optimal" in run("probe show part.h5 --by step").stdout


@pytest.mark.parametrize("line", ["many.h5 --csv", "many.h5 --json", "many.h5 many.h5"])
def test_by_step_arranges_the_table_of_one_file(refused, probes, line):
    assert "--by arranges the table of one file" in refused(f"probe show {line} --by step", code=2)


def test_showing_a_file_loads_no_scipy_stats(probes):
    """It takes half a second to import, of the two that 129 layers may take."""
    code = "import sys; from cli.main import probe; probe(['show', 'p.h5'], standalone_mode=False); "
    code += "print('scipy.special' in sys.modules, 'scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "True False"


def test_compare_says_why_a_p_is_blank_and_counts_it(run, folder):
    made(layers=("a", "b", "c", "d"), sharpness=(40, 50, 60, 1)).save("right.h5")
    shown = run("probe compare right.h5 --reference a --metric roc_auc").stdout
    assert (
        "no interval and no p of b, c: the difference is the same whichever rows are drawn, so its error is not known; "
        "counted in the family all the same"
    ) in " ".join(shown.split())
    (family,) = json.loads(run("probe compare right.h5 --reference a --metric roc_auc --json").stdout)[
        "families"
    ]
    b, _, d = family["comparisons"]
    assert (b["p"], b["p_family"]) == (None, None)
    assert b["why"].startswith("the difference is the same")
    assert (d["why"], d["p_family"]) == ("", pytest.approx(3 * d["p"]))


@pytest.mark.parametrize(
    "line",
    [
        "show div.h5",
        "show div.h5 --csv",
        "show div.h5 --json",
        "show div.h5 --by step",
        "show div.h5 div.h5",
        "compare div.h5",
        "compare div.h5 --layers a,b --json",
        "plot div.h5 -o f.svg",
        "plot div.h5 --kind steps -o g.svg",
    ],
)
def test_rows_of_groups_that_were_trained_on_are_called_not_new(run, folder, line):
    with_divided_groups(made(groups=40), test=3).save("div.h5")
    done = run(f"probe {line}")
    assert "groups of training rows have rows in other splits, too (3 in `test`)" in done.stderr
    made(groups=40).save("div.h5", overwrite=True)
    line = line.replace("f.svg", "f2.svg").replace("g.svg", "g2.svg")
    assert "groups of training rows" not in run(f"probe {line}").stderr


def test_some_layers_targets_and_steps_are_shown(run, probes):
    lines = run("probe show many.h5 --layers model.layers.1*.mlp --layers model.layers.2.mlp --step 500").stdout
    shown = [line.split()[0] for line in lines.split("\n\n")[0].split("\n")[1:]]
    assert shown == [f"model.layers.{number}.mlp" for number in (1, 2, *range(10, 20))]
    document = json.loads(run("probe show many.h5 --layers model.layers.1.mlp --step 0 --json").stdout)
    assert [(each["layer"], each["step"]) for each in document["probes"]] == [("model.layers.1.mlp", 0)]
    whole = [
        row
        for row in rows_of(run("probe show many.h5 --csv").stdout)
        if (row["layer"], row["step"]) == ("model.layers.1.mlp", "0")
    ]
    assert rows_of(run("probe show many.h5 --layers model.layers.1.mlp --step 0 --csv").stdout) == whole
    made(targets=("t", "u")).save("two.h5")
    assert {row["target"] for row in rows_of(run("probe show two.h5 --target u --csv").stdout)} == {"u"}
    pairs = json.loads(run("probe show two.h5 two.h5 --target u --layers b --json").stdout)["pairs"]
    assert [(left["layer"], right["target"]) for left, right in pairs] == [("b", "u")]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "--layers model.layer.1.mlp",
            "no layer matches 'model.layer.1.mlp'; the nearest: 'model.layers.1.mlp'",
        ),
        ("--target T", "many.h5 has no target 'T'; there are: 't'"),
        ("--step 50", "many.h5 has no step 50; it has 0, 500"),
    ],
)
def test_what_show_is_asked_for_and_is_not_there_is_refused(refused, probes, line, why):
    assert why in refused(f"probe show many.h5 {line}")


def test_one_is_no_plural(run, folder):
    made(layers=("a", "b"), rows=1).save("one.h5")
    head = run("probe compare one.h5 --reference a").stdout
    assert head.startswith("error of t on test, step 0: 1 row\n")
    assert "wrote one.csv: 2 rows of 2 probes" in run("probe predictions one.h5 --split test -o one.csv").stdout
    run_one = run("probe predictions one.h5 --split test --layer a -o two.csv").stdout
    assert "wrote two.csv: 1 row of 1 probe\n" in run_one
    assert "majority error" in run("probe show one.h5").stdout


@pytest.fixture
def seeds(folder):
    """seed0.h5 to seed2.h5: probes of three stores; their tables beside them."""
    from dataclasses import replace

    for seed in range(3):
        one = made(seed=seed).changed(
            lambda probe, seed=seed: replace(
                probe, provenance=replace(probe.provenance, fingerprint=f"xxh3_128:{seed}")
            )
        )
        one.save(f"seed{seed}.h5")


def test_the_mean_over_files_is_a_table_or_scores_that_are_drawn(run, seeds, folder):
    shown = run("probe show seed0.h5 seed1.h5 seed2.h5 --mean").stdout
    assert shown.split("\n")[0].split() == [
        "layer",
        "error",
        "train",
        "95%",
        "error",
        "val",
        "95%",
        "error",
        "test",
        "95%",
    ]
    assert "means over 3 runs; 95%: of the mean over further runs (Student's t), not of new rows" in shown
    rows = rows_of(run("probe show seed0.h5 seed1.h5 seed2.h5 --mean --metric error --csv").stdout)
    one = [row for row in rows if row["layer"] == "a" and row["split"] == "test" and row["kind"] == "task"]
    values = [
        float(row["value"])
        for seed in range(3)
        for row in rows_of(run(f"probe show seed{seed}.h5 --metric error --csv").stdout)
        if row["layer"] == "a" and row["split"] == "test" and row["kind"] == "task"
    ]
    assert float(one[0]["value"]) == pytest.approx(sum(values) / 3)
    assert (one[0]["interval"], one[0]["groups"]) == ("t_runs", "3")
    for seed in range(3):
        (folder / f"seed{seed}.csv").write_text(run(f"probe show seed{seed}.h5 --metric error --csv").stdout)
    again = rows_of(run("probe show seed0.csv seed1.csv seed2.csv --mean --csv --layers a").stdout)
    assert again == [row for row in rows if row["layer"] == "a"]
    document = json.loads(run("probe show seed0.h5 seed1.h5 --mean --json").stdout)
    assert document["runs"] == 2
    assert {score["groups"] for score in document["scores"]} == {2}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("seed0.h5 seed1.h5 seed2.h5", 2, "3 files were given; two are shown side by side"),
        ("seed0.h5 --mean", 1, "a mean over runs needs two of them"),
        ("seed0.h5 seed0.h5 --mean", 2, "seed0.h5 is given twice"),
        ("seed0.h5 seed1.h5 --mean --layers q", 1, "no layer matches 'q'"),
        ("seed0.h5 seed1.h5 --mean --step 7", 1, "seed0.h5 has no score of what is asked for"),
        ("seed0.h5 seed1.h5 --mean --by step", 2, "--by arranges the table of one file"),
    ],
)
def test_a_mean_of_what_is_no_set_of_runs_is_refused(run, seeds, words, code, message):
    assert message in run(f"probe show {words}", code).stderr


def test_copies_of_one_file_are_one_run(run, seeds, folder):
    (folder / "copy.h5").write_bytes((folder / "seed0.h5").read_bytes())
    assert "seed0.h5 and copy.h5 are of one store" in run("probe show seed0.h5 copy.h5 --mean", 1).stderr
