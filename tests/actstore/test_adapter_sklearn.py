"""scikit-learn: hidden layers equal to what the model computes itself, and pipelines step by step."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from actstore.adapters import adapt
from actstore.errors import AdapterError, LayerError
from actstore.patterns import select

generator = np.random.default_rng(0)
X = generator.normal(size=(60, 5))
Y = generator.integers(3, size=60)
QUICK = {"tol": 10.0, "random_state": 0}  # a dozen epochs and no warning: what is learned does not matter


def layers(model, inputs=X, pattern="**"):
    adapter = adapt(model)
    chosen = select([pattern], adapter.layers(inputs))
    with adapter.running(chosen) as run:
        return {name: layer.array for name, layer in run(inputs).items()}


def classifier(labels=Y, **settings):
    return MLPClassifier((4, 3), **QUICK, **settings).fit(X, labels)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_the_output_is_the_models_own(activation):
    model = classifier(activation=activation)
    found = layers(model)
    assert [name for name in found if not name.endswith(".pre")] == ["hidden0", "hidden1", "output"]
    assert {name: array.shape[1] for name, array in found.items() if "hidden" in name} == {
        "hidden0.pre": 4, "hidden0": 4, "hidden1.pre": 3, "hidden1": 3,
    }  # fmt: skip
    # Products of width 4 in float64, in the order that scikit-learn takes them or another.
    np.testing.assert_allclose(found["output"], model.predict_proba(X), rtol=1e-12, atol=1e-14)
    softmax = np.exp(found["output.pre"]) / np.exp(found["output.pre"]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax, model.predict_proba(X), rtol=1e-10)


def test_two_classes_and_several_labels_and_regression():
    binary = classifier(labels=Y == 1)
    np.testing.assert_allclose(layers(binary)["output"][:, 0], binary.predict_proba(X)[:, 1], rtol=1e-12)
    several = classifier(labels=np.stack([Y == 0, Y == 1], axis=1))
    np.testing.assert_allclose(layers(several)["output"], several.predict_proba(X), rtol=1e-12)
    regressor = MLPRegressor(hidden_layer_sizes=(4,), **QUICK).fit(X, X[:, 0])
    np.testing.assert_allclose(layers(regressor)["output"][:, 0], regressor.predict(X), rtol=1e-12)


def test_float32_stays_float32():
    model = MLPClassifier((4,), **QUICK).fit(X.astype(np.float32), Y)
    assert layers(model, X.astype(np.float32))["hidden0"].dtype == np.float32


def test_globs_pick_activations_or_all():
    model = classifier()
    assert list(layers(model, pattern="*")) == ["hidden0", "hidden1", "output"]
    assert list(layers(model, pattern="hidden*.pre")) == ["hidden0.pre", "hidden1.pre"]


def test_layers_are_known_without_data():
    described = adapt(classifier()).layers(None)
    assert [(layer.name, layer.type, layer.shape) for layer in described][:2] == [
        ("hidden0.pre", "Linear", (4,)),
        ("hidden0", "relu", (4,)),
    ]


def test_every_transform_of_a_pipeline_and_the_layers_of_its_network():
    model = Pipeline(
        [
            ("scale", StandardScaler()),
            ("skip", "passthrough"),
            ("inner", Pipeline([("turn", PCA(3, random_state=0)), ("square", FunctionTransformer(np.square))])),
            ("mlp", MLPClassifier((4,), **QUICK)),
        ]
    ).fit(X, Y)
    found = layers(model)
    assert list(found) == [
        "scale", "inner.turn", "inner.square", "inner",
        "mlp.hidden0.pre", "mlp.hidden0", "mlp.output.pre", "mlp.output",
    ]  # fmt: skip
    scaled = model["scale"].transform(X)
    np.testing.assert_array_equal(found["scale"], scaled)
    np.testing.assert_array_equal(found["inner.turn"], model["inner"]["turn"].transform(scaled))
    np.testing.assert_array_equal(found["inner"], found["inner.square"])
    np.testing.assert_allclose(found["mlp.output"], model.predict_proba(X), rtol=1e-12, atol=1e-14)


def test_a_pipeline_that_ends_in_another_estimator_gives_its_transforms():
    model = Pipeline([("scale", StandardScaler()), ("fit", LogisticRegression())]).fit(X, Y)
    assert list(layers(model)) == ["scale"]


def test_steps_after_the_deepest_layer_do_not_run():
    calls = []
    model = Pipeline(
        [("scale", StandardScaler()), ("count", FunctionTransformer(lambda x: calls.append(len(x)) or x))]
    ).fit(X)
    calls.clear()
    layers(model, pattern="scale")
    assert calls == [2, 3], "to describe the layers"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MLPClassifier(), "MLPClassifier is not fitted; let the function that makes it call fit first"),
        (Pipeline([("scale", StandardScaler())]), "StandardScaler is not fitted; let the function"),
        (
            LogisticRegression(),
            "LogisticRegression has no layers; MLPClassifier, MLPRegressor and Pipeline have",
        ),
    ],
)
def test_what_gives_no_layers_is_refused(model, message):
    with pytest.raises(AdapterError, match=message):
        layers(model, Y[:, None])


def test_a_sparse_layer_is_passed_over_and_refused_by_its_name():
    steps = [("hot", OneHotEncoder()), ("less", TruncatedSVD(2, random_state=0))]
    model = Pipeline(steps).fit(Y[:, None])
    found = adapt(model).layers(Y[:, None])
    assert [layer.name for layer in select(["**"], found)] == ["less"]
    with pytest.raises(
        LayerError, match=r"'hot' cannot be stored: it is a sparse matrix; .*\(sparse_output=False\)"
    ):
        select(["hot"], found)


def test_an_unfitted_model_without_data_is_refused():
    with pytest.raises(AdapterError, match="MLPClassifier does not say how many features it takes; fit it, or"):
        adapt(MLPClassifier()).layers(None)


def test_images_are_not_taken_for_rows_of_features():
    with pytest.raises(ValueError, match="Found array with dim 3"):
        layers(classifier(), X.reshape(12, 5, 5))


def test_the_weights_hash_sees_every_fitted_array():
    model = Pipeline([("scale", StandardScaler()), ("mlp", classifier())]).fit(X, Y)
    weights = [adapt(model).provenance()["weights"]]
    model["mlp"].coefs_[1][0, 0] += 1e-12
    weights.append(adapt(model).provenance()["weights"])
    model["scale"].mean_[0] += 1e-12
    weights.append(adapt(model).provenance()["weights"])
    model["scale"].sparse_ = csr_array(np.eye(3))
    weights.append(adapt(model).provenance()["weights"])
    assert len(set(weights)) == 4
