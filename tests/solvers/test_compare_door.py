"""`probes.compare(...)`: the words of `probe compare` in Python, its table, and pandas."""

import numpy as np
import pytest

from solvers.errors import ProblemError
from tests.solvers.made_probes import made, with_divided_groups


@pytest.fixture
def film():
    return made(steps=(0, 500), targets=("t", "u"), groups=60)


def test_it_prints_what_the_command_prints(tmp_path, film):
    from click.testing import CliRunner

    from cli.main import probe

    film.save(tmp_path / "film.h5")
    made(layers=("a", "b", "c", "d"), sharpness=(40, 50, 60, 1)).save(tmp_path / "right.h5")
    right = made(layers=("a", "b", "c", "d"), sharpness=(40, 50, 60, 1))
    plain = made(targets=("t", "u"))
    plain.save(tmp_path / "plain.h5")
    for probes, name, options, given in [
        (film, "film", [], {}),
        (film, "film", ["--reference", "b", "--metric", "roc_auc"], {"reference": "b", "metric": "roc_auc"}),
        (film, "film", ["--layers", "a,c,b"], {"layers": ["a", "c", "b"]}),
        (film, "film", ["--steps", "0,500", "--metric", "accuracy"], {"steps": (0, 500), "metric": "accuracy"}),
        (plain, "plain", ["--targets", "t,u", "--split", "test"], {"targets": ["t", "u"], "split": "test"}),
        (right, "right", ["--metric", "roc_auc", "--reference", "a"], {"metric": "roc_auc", "reference": "a"}),
    ]:
        done = CliRunner().invoke(probe, ["compare", str(tmp_path / f"{name}.h5"), *options])
        assert done.exit_code == 0, done.output
        assert repr(probes.compare(**given)).split("\n") == done.stdout.rstrip("\n").split("\n")


def test_two_files_and_pandas(film):
    pytest.importorskip("pandas")
    other = made(steps=(0, 500), targets=("t", "u"), groups=60, sharpness=(3, 3, 3))
    found = film.compare(other, metric="accuracy")
    frame = found.to_pandas()
    assert len(frame) == 12 == sum(len(family.comparisons) for family in found)
    assert list(frame.columns[:6]) == ["target", "step", "split", "metric", "layer", "against"]
    line = frame[(frame.layer == "a") & (frame.target == "t") & (frame.step == 500)].iloc[0]
    assert line.value == 1 - other["a", "t", 500].error["test"]
    assert line.reference == 1 - film["a", "t", 500].error["test"]
    assert line.low <= line.difference <= line.high
    steps = film.compare(steps=(0, 500)).to_pandas()
    assert steps.step.isna().all()
    assert (frame.rows == 200).all()
    assert (frame.groups == 60).all()


def test_notes_and_slices(film):
    found = with_divided_groups(film, test=3).compare()
    assert len(found.notes) == 1
    assert "note: groups of training rows have rows in other splits, too (3 in `test`)" in repr(found)
    assert len(found[:2]) == 2
    assert found[0].target == "t"
    assert not np.isnan([each["p"] for each in found.to_dicts()]).any()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"layer": ["a", "b"]}, "compare has no option 'layer'; the nearest: 'layers'"),
        ({"layers": "a,b"}, "layers is 'a,b'; expected a list of two or more that differ"),
        ({"layers": ["a"]}, "expected a list of two or more that differ"),
        ({"steps": (0, 500, 0)}, "expected a list of two that differ"),
        ({"steps": 500}, "steps is 500; expected a list of two that differ"),
        ({"layers": ["a", "b"], "reference": "a"}, "layers and reference are two ways to compare; choose one"),
        ({"other": {}}, "other is a dict; expected Probes"),
        ({"reference": "x"}, "there is no layer 'x'"),
        ({"steps": (0, 7)}, "there is no step 7 among the probes; there are 0, 500"),
        ({"metric": "eror"}, "there is no metric 'eror'"),
        ({"split": "tset"}, "there is no split 'tset'"),
        ({"split": "val"}, "the rows of 'val' chose C"),
    ],
)
def test_what_there_is_not_is_refused(film, given, why):
    with pytest.raises(ProblemError, match=why):
        film.compare(**given)
