"""An index of pandas says which rows labels are of: what is of other rows than the activations is refused."""

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import solvers
from solvers.errors import ProblemError
from solvers.probing.evaluate import evaluate

ROWS = 60
NAMES = [f"r{row:02}" for row in range(ROWS)]
ANOTHER = "the index of .* is not that of the activations: row 0 is .* there and .* here"
NO_ORDER = r"are a pandas Series whose index is not 0, 1, 2, ... in order.*give .to_numpy\(\)"


def problem(index):
    """A frame whose first column tells the label, and the labels."""
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(ROWS, 3)), index=index, columns=list("abc"))
    return frame, (frame["a"] > 0).astype(int).rename("y")


@pytest.fixture(params=[range(ROWS), NAMES, range(ROWS, 0, -1)], ids=["counted", "named", "backwards"])
def data(request):
    return problem(request.param)


def fit_layers(rows, labels, **more):
    return solvers.fit_layers({"h": rows}, labels, C=1.0, **more)["h", "label", 0]


def fit_targets(rows, labels):
    return solvers.fit(rows, {"one": labels.to_numpy(), "two": labels})


def fit_weighted(rows, labels):
    return solvers.fit(rows, labels.to_numpy(), sample_weight=labels + 1)


def fit_validated(rows, labels):
    return solvers.fit(rows.to_numpy(), labels.to_numpy(), C=[0.1, 1.0], validation=(rows, labels))


def fit_in_splits(rows, labels):
    return fit_layers(rows, labels.to_numpy(), splits=labels.map({0: "train", 1: "train"}))


def fit_groups(rows, labels):
    return fit_layers(rows, labels.to_numpy(), groups=labels)


def fit_estimator(rows, labels):
    return solvers.LogisticProbe().fit(rows, labels)


def fit_weighted_estimator(rows, labels):
    return solvers.LogisticProbe().fit(rows, labels.to_numpy(), sample_weight=labels + 1)


def fit_estimator_path(rows, labels):
    return solvers.LogisticProbePath(Cs=2, cv=2).fit(rows, labels, sample_weight=labels + 1)


def score(rows, labels):
    return evaluate(fit_layers(rows, labels), rows, labels)


def score_estimator(rows, labels):
    return solvers.LogisticProbe().fit(rows.to_numpy(), labels.to_numpy()).score(rows.to_numpy(), labels) and (
        solvers.LogisticProbe().fit(rows, labels.to_numpy()).score(rows, labels)
    )


BY_POSITION = [solvers.fit, fit_targets, fit_weighted, fit_layers]
DOORS = [
    *BY_POSITION,
    fit_validated,
    fit_in_splits,
    fit_groups,
    fit_estimator,
    fit_weighted_estimator,
    fit_estimator_path,
    score,
    score_estimator,
]


@pytest.mark.parametrize("door", DOORS)
def test_labels_of_the_same_rows_in_another_order_are_refused(data, door):
    frame, labels = data
    assert door(frame, labels)
    shuffled = frame.sample(frac=1, random_state=0)
    assert door(shuffled, labels.loc[shuffled.index])
    with pytest.raises(ProblemError, match=ANOTHER):
        door(shuffled, labels)
    with pytest.raises(ProblemError, match=ANOTHER):
        door(frame, labels.loc[shuffled.index])


@pytest.mark.parametrize("door", BY_POSITION)
def test_beside_an_array_an_index_counts(door):
    frame, labels = problem(range(ROWS))
    rows = frame.to_numpy()
    assert door(rows, labels)
    for other in (labels[::-1], labels.set_axis(NAMES), labels.set_axis(range(1, ROWS + 1))):
        with pytest.raises(ProblemError, match=NO_ORDER):
            door(rows, other)
        right = pd.Series(other.to_numpy())
        assert door(rows, right)


def test_rows_that_were_filtered_are_told_by_their_labels():
    frame, labels = problem(range(ROWS))
    kept = labels[frame["b"] > 0]
    rows = frame.to_numpy()[: len(kept)]
    with pytest.raises(ProblemError, match=NO_ORDER):
        fit_layers(rows, kept)
    assert fit_layers(frame[frame["b"] > 0], kept).rows["train"] == len(kept)


def test_a_stored_layer_has_all_its_rows(tmp_path):
    frame, labels = problem(range(ROWS))
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        stored = file.create_dataset("h", data=frame.to_numpy())
        assert fit_estimator(stored, labels).score(frame.to_numpy(), labels) > 0.9
        for door in (fit_estimator, fit_layers, solvers.fit):
            with pytest.raises(ProblemError, match=NO_ORDER):
                door(stored, labels[::-1])


def test_what_scikit_learn_divides_goes_by_position(data):
    frame, labels = data
    kept, held, kept_labels, held_labels = train_test_split(frame, labels, random_state=0)
    assert fit_estimator(kept, kept_labels).score(held, held_labels) > 0.8
    pipeline = make_pipeline(StandardScaler(), solvers.LogisticProbe())
    assert pipeline.fit(kept, kept_labels).score(held, held_labels) > 0.8
    scaler = StandardScaler().fit(kept)
    assert (
        fit_estimator_path(scaler.transform(kept), kept_labels).score(scaler.transform(held), held_labels) > 0.8
    )
    for rows in (frame, frame.to_numpy()):
        assert cross_val_score(solvers.LogisticProbe(), rows, labels, cv=3).mean() > 0.8


def test_ids_are_of_the_rows_too(data):
    frame, labels = data
    ids = pd.Series(NAMES, index=frame.index)
    fit_layers(frame, labels, ids=ids)
    with pytest.raises(ProblemError, match="the index of the ids is not that of the activations"):
        fit_layers(frame, labels, ids=ids[::-1])


def test_the_first_row_that_differs_is_named():
    frame, labels = problem([np.nan, *range(ROWS - 1)])
    assert fit_layers(frame, labels)
    with pytest.raises(ProblemError, match=r"row 59 is 58.0 there and 99.0 here"):
        fit_layers(frame, labels.set_axis([np.nan, *range(ROWS - 2), 99]))
