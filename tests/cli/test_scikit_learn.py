"""What scikit-learn does with rows goes for a stored layer as for an array."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import cross_val_score

import actstore
import solvers


def test_a_stored_layer_is_cross_validated(store):
    with actstore.open(store) as opened:
        layer, labels = opened.layers["hidden"], opened.targets["sign"][:]
        by_layer = cross_val_score(solvers.LogisticProbe(), layer, labels, cv=3)
        assert by_layer.tolist() == cross_val_score(solvers.LogisticProbe(), layer[:], labels, cv=3).tolist()


def test_labels_beside_a_stored_layer_are_of_its_rows(store):
    with actstore.open(store) as opened:
        layer, labels = opened.layers["hidden"], pd.Series(np.asarray(opened.targets["sign"][:]))
        probe, plain = solvers.LogisticProbe().fit(layer, labels), solvers.LogisticProbe().fit(layer[:], labels)
        assert probe.score(layer, labels) == plain.score(layer[:], labels)
        for door in (
            solvers.LogisticProbe().fit,
            solvers.fit,
            lambda x, y: solvers.fit_layers({"h": x}, y, C=1.0),
        ):
            with pytest.raises(ValueError, match=r"whose index is not 0, 1, 2, ... in order"):
                door(layer, labels[::-1])
