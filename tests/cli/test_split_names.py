"""Splits by the words of the store, and what is said of splits and steps that there are not."""

import json
import re
from dataclasses import replace

import pytest

import solvers
from solvers.errors import ProblemError, UnknownNameError
from solvers.probing.probes import Probes
from tests.solvers.made_probes import made


def called(probes, **names):
    """The same probes, as if the store called their splits by these names."""
    return probes.changed(
        lambda probe: replace(probe, proof=replace(probe.proof, chosen={**probe.proof.chosen, "called": names}))
    )


@pytest.fixture
def probes(folder):
    """Where the store says `dev` the probes say `val`, and `exam` for `test`."""
    found = called(made(), val="dev", test="exam")
    found.save("p.h5")
    return found


def test_the_store_s_word_is_the_probe_s_split_in_python(probes):
    assert (
        probes.predictions(("a", "t", 0), "dev").logits.tolist()
        == probes.predictions("a", "val").logits.tolist()
    )
    assert probes.rows_of("dev").tolist() == probes.rows_of("val").tolist()
    assert probes.scores("error", splits="exam").to_dicts() == probes.scores("error", splits="test").to_dicts()
    taken = [probes.scores("tpr_at_fpr_0.01", negatives=each, splits="test") for each in ("dev", "val")]
    assert taken[0].to_csv() == taken[1].to_csv()
    drawn = probes.plot(splits=["dev"]).to_json()
    assert drawn == probes.plot(splits=["val"]).to_json()
    for name in ("dve", "dev "):
        with pytest.raises(UnknownNameError, match="there is no split"):
            probes.predictions("a", name)
        with pytest.raises(ProblemError, match="there is no split"):
            probes.scores(splits=name)


def test_the_store_s_word_is_the_probe_s_split_in_commands(run, refused, probes):
    run("probe predictions p.h5 --split dev -o dev.csv")
    run("probe predictions p.h5 --split val -o val.csv")
    with open("dev.csv") as one, open("val.csv") as two:
        assert one.read() == two.read()
    exam, test = (run(f"probe compare p.h5 --split {each} --json").stdout for each in ("exam", "test"))
    assert json.loads(exam)["families"] == json.loads(test)["families"]
    assert "the rows of 'val' chose C" in refused("probe compare p.h5 --split dev")
    run("probe plot p.h5 --split dev -o dev.svg")
    run("probe plot p.h5 --split val -o val.svg")
    with open("dev.svg") as one, open("val.svg") as two:
        assert re.sub(r"clip\d+", "", one.read()) == re.sub(r"clip\d+", "", two.read())
    assert "there is no score of split 'dve'" in refused("probe plot p.h5 --split dve -o no.svg")


def test_a_split_of_its_own_name_is_never_another_and_an_ambiguous_word_is_refused(folder):
    both = called(made(), val="test")  # the store's `test` chose C here, but the probes have a `test` as well
    assert both.predictions("a", "test").logits.tolist() == made().predictions("a", "test").logits.tolist()
    first = called(made(layers=("a",)), val="dev")
    second = called(made(layers=("b",), seed=0), test="dev")
    joined = Probes([*first.values(), *second.values()], beside=first.beside)
    with pytest.raises(ProblemError, match="there is no split 'dev'"):
        joined.scores("error", splits="dev")


def test_an_unknown_step_is_answered_with_those_there_are(refused, folder):
    film = made(steps=(0, 50, 500, 1000))
    film.save("film.h5")
    for line in (
        "predictions film.h5 -o f.csv --step 5",
        "plot film.h5 -o f.svg --step 5",
        "compare film.h5 --steps 0,5",
    ):
        assert "0, 50, 500, 1000" in refused(f"probe {line}")
    with pytest.raises(UnknownNameError, match="there are: 0, 50, 500, 1000"):
        film["a", 5]


def test_a_file_that_was_fitted_of_train_alone_is_told_how_its_predictions_are_kept(refused, folder):
    def only_train(probe):
        names = ("error", "cross_entropy", "majority", "rows", "unlabelled", "unseen")
        kept = {name: {"train": getattr(probe.scores, name)["train"]} for name in names}
        return replace(probe, predictions={}, scores=replace(probe.scores, **kept))

    Probes([only_train(each) for each in made().values()]).save("train.h5")
    why = "train.h5 keeps no predictions; fit again with --train-predictions"
    assert why in refused("probe predictions train.h5 -o t.csv")
    with pytest.raises(ProblemError, match="has none of split 'train'; fit with --train-predictions"):
        solvers.load("train.h5").scores("roc_auc")


def test_errors_of_a_store_whose_val_is_called_dev(run, net, folder):
    data = "--data train=train.npz:x --target train:sign=train.npz:y --data dev=test.npz:x --target dev:sign=test.npz:y"
    run(f"actstore dump {net} {data} --layers hidden -o s.h5")
    run("probe fit s.h5 --target sign --C 0.1,1 -o fitted.h5")
    own, theirs = (
        json.loads(run(f"probe errors fitted.h5 s.h5 --split {each} --json").stdout) for each in ("val", "dev")
    )
    assert own == theirs
    assert own["split"] == "val"
    run("probe predictions fitted.h5 --split dev -o dev.csv")
