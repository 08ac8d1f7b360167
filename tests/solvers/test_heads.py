import numpy as np
import pytest

import solvers
from solvers.errors import ProblemError
from solvers.probing.layer.slices import cut

ROWS = 300


@pytest.fixture
def layers(labels):
    """Two layers of 12 features: three heads of four, the last of which knows the classes best."""
    generator = np.random.default_rng(1)
    noise = generator.normal(size=(2, ROWS, 3, 4))
    signal = np.eye(3, 4)[labels][:, None, :] * np.array([0.0, 1.0, 3.0])[:, None]
    return {"attn": noise[0] + signal, "attn@1": (noise[1] + signal).reshape(ROWS, 12)}


def test_names_and_columns(layers):
    found = cut(layers, 3)
    assert [(layer.name, layer.order, layer.head) for layer in found[:4]] == [
        ("attn@0", 0, 0),
        ("attn@1", 1, 1),
        ("attn@2", 2, 2),
        ("attn@1@0", 3, 0),
    ]
    assert found[4].columns.tolist() == [4, 5, 6, 7]
    assert len({layer.name for layer in found}) == 6


def test_whole_layers_have_no_head(layers):
    assert [(layer.name, layer.head, layer.columns) for layer in cut(layers, None)] == [
        ("attn", None, None),
        ("attn@1", None, None),
    ]


def test_a_slice_is_fitted_as_if_it_were_alone_and_acts_on_the_whole_layer(layers, labels, tmp_path):
    probes = solvers.fit_layers(layers, labels, C=1.0, split_features=3)
    assert len(probes) == 6
    probes.save(tmp_path / "heads.h5")
    for key, probe in solvers.load(tmp_path / "heads.h5").items():
        stored = layers[probe.stored_layer]
        mine = stored.reshape(ROWS, 12)[:, 4 * probe.head : 4 * probe.head + 4]
        alone = solvers.fit(mine, labels, C=1.0, scale=True)
        assert np.array_equal(probe.weights[probe.columns], alone.weights)
        assert not np.delete(probe.weights, probe.columns, axis=0).any()
        assert probe.width == 12
        assert solvers.evaluate(probe, stored, labels).error == probes[key].error["train"]
        assert probe.error["train"] == np.mean(alone.predict(mine) != labels)
    errors = [probes[f"attn@{head}", "label", 0].error["train"] for head in range(3)]
    assert errors[2] < errors[1] < errors[0]


def test_slices_with_random_features(layers, labels):
    probes = solvers.fit_layers(layers, labels, C=1.0, split_features=3, random_features=2)
    for probe in probes.values():
        assert len(probe.columns) == 2
        assert set(probe.columns // 4) == {probe.head}


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (
            5,
            "layer 'attn' has 12 features, which cannot be cut into 5 slices of one width; give a number that",
        ),
        (0, "split_features is 0; expected a number of slices, 1 or more"),
    ],
)
def test_what_can_not_be_cut(layers, labels, count, message):
    with pytest.raises(ProblemError, match=message):
        solvers.fit_layers(layers, labels, C=1.0, split_features=count)
