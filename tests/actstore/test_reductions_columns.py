"""Random features, random projections, and a record that suffices to do them again."""

import hashlib
import json

import numpy as np
import pytest
import xxhash

from actstore.adapters import ModelLayer
from actstore.errors import DumpError, LayerError
from actstore.reductions import ReductionSettings, plan_reductions
from actstore.reductions.apply import reduce_layer
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.reductions.positions import RealPositions
from actstore.store.documents.bfloat16 import narrowed, widened

SHAPES = {
    "conv": ((3, 4, 5), ("channel", "height", "width")),
    "fc": ((60,), ("feature",)),
    "tiny": ((4,), ("feature",)),
}


def layer_rows(*names, dtype="float32"):
    return [ModelLayer(name, "array", *SHAPES[name], dtype) for name in names]


def reduce_with(settings, arrays, dtype="float32"):
    plan = plan_reductions(settings, layer_rows(*arrays, dtype=dtype))
    operations = ArrayOperations()
    found = {}
    for name, array in arrays.items():
        bits, _ = reduce_layer(Bits(array, dtype), plan.of(name), RealPositions(array), operations)
        found[name] = bits.array
    return plan, found


def arrays(rows=6, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(rows, *shape)).astype(dtype) for name, (shape, _) in SHAPES.items()}


def indices(plan, name):
    (step,) = plan.document()["layers"][name]["steps"]
    return step["indices"]


# Random features


def test_random_features_are_those_that_are_recorded_in_c_order():
    whole = arrays()
    plan, found = reduce_with(ReductionSettings(random_features=7), whole)
    for name in ("conv", "fc"):
        chosen = indices(plan, name)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == 7
        np.testing.assert_array_equal(found[name], whole[name].reshape(6, 60)[:, chosen])
    assert [(layer.shape, layer.axes) for layer in plan.layers] == [((7,), ("feature",))] * 2 + [
        ((4,), ("feature",))
    ]


def test_a_layer_that_has_no_more_features_is_stored_whole_and_says_so():
    whole = arrays()
    plan, found = reduce_with(ReductionSettings(random_features=60, random_projection=60), whole)
    assert all(found[name] is whole[name] for name in whole)
    assert plan.layers == layer_rows(*whole)
    notes = [step["note"] for step in plan.document()["layers"]["tiny"]["steps"]]
    assert notes == ["left alone: it has no more than 60 features"] * 2


def test_draws_belong_to_the_seed_and_the_layer_alone():
    def drawn(seed, *names):
        plan = plan_reductions(ReductionSettings(random_features=20, seed=seed), layer_rows(*names))
        return {name: indices(plan, name) for name in names}

    first = drawn(0, "conv", "fc")
    assert drawn(0, "fc", "conv") == first
    assert drawn(0, "fc") == {"fc": first["fc"]}
    assert first["fc"] != first["conv"]
    assert drawn(1, "fc")["fc"] != first["fc"]


def test_the_draws_stay_what_they_were():
    """Another NumPy, or another seeding, would make a store that no resume can go on with."""
    plan = plan_reductions(ReductionSettings(random_features=5, random_projection=2, seed=3), layer_rows("fc"))
    features, projection = plan.document()["layers"]["fc"]["steps"]
    assert features["indices"] == [12, 19, 37, 44, 49]
    assert projection["first_rows_hash"] == "xxh3_128:ebf8b3a8c1ee4591dce8e2fe28914b69"


def test_every_feature_is_as_likely():
    counts = np.zeros(60)
    for seed in range(400):
        plan = plan_reductions(ReductionSettings(random_features=15, seed=seed), layer_rows("fc"))
        counts[indices(plan, "fc")] += 1
    # Each is binomial with n = 400, p = 1/4: mean 100, standard deviation 8.7; 5 of these for 60 features.
    assert np.abs(counts - 100).max() < 43


# Random projections


def test_a_projection_keeps_lengths_and_is_centred():
    """|P x|^2 / |x|^2 is chi-squared with K degrees of freedom over K: mean 1, standard deviation sqrt(2 / K)."""
    rng = np.random.default_rng(1)
    array = rng.normal(size=(5, 4000)).astype(np.float32)
    layer = ModelLayer("wide", "array", (4000,), ("feature",), "float32")
    plan = plan_reductions(ReductionSettings(random_projection=800), [layer])
    matrix = plan.of("wide").projection.matrix()
    assert (matrix.shape, matrix.dtype) == ((4000, 800), np.float32)
    # 3.2 million draws of standard deviation 1 / sqrt(800): the errors of mean and variance are 2e-5 and 1e-3 of it.
    assert abs(matrix.mean()) < 5 * 2e-5
    assert abs(matrix.var() * 800 - 1) < 5 * 1e-3
    found, _ = reduce_layer(Bits(array, "float32"), plan.of("wide"), RealPositions(array), ArrayOperations())
    ratios = (found.array**2).sum(1) / (array**2).sum(1)
    np.testing.assert_allclose(ratios, 1, atol=5 * np.sqrt(2 / 800))
    # Sums of 4000 products of float32 against the same in float64.
    np.testing.assert_allclose(found.array, array.astype(np.float64) @ matrix, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "int32", "bool"])
def test_a_projection_is_summed_wide_and_rests_in_the_layers_dtype(dtype):
    values = np.round(arrays()["conv"] * 8) / 8
    array = narrowed(values) if dtype == "bfloat16" else values.astype(dtype)
    plan, found = reduce_with(ReductionSettings(random_projection=3), {"conv": array}, dtype)
    rests = "float32" if dtype in ("int32", "bool") else dtype
    assert plan.layers[0].dtype == rests
    values = widened(array) if dtype == "bfloat16" else array
    exact = values.reshape(6, 60).astype(np.float64) @ plan.of("conv").projection.matrix()
    stored = widened(found["conv"]) if dtype == "bfloat16" else found["conv"]
    # Half a unit in the last place of the stored dtype, after float32 sums of 60 values of order 1 (none for float64).
    half_unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(rests, 0)
    np.testing.assert_allclose(stored, exact, rtol=half_unit, atol=1e-12 if dtype == "float64" else 1e-5)


def test_a_projection_that_is_too_large_is_refused_before_anything_is_drawn():
    layer = ModelLayer("huge", "array", (2**21, 2), ("channel", "feature"), "float32")
    message = (
        r"layer 'huge': projecting 4,194,304 features to 257 takes a matrix of 4.0 GiB, more than the 4 GiB .*"
        r"--random-features or a --pool"
    )
    with pytest.raises(LayerError, match=message):
        plan_reductions(ReductionSettings(random_projection=257), [layer])
    assert plan_reductions(ReductionSettings(random_projection=256), [layer]).layers[0].shape == (256,)
    plan_reductions(ReductionSettings(random_features=1000, random_projection=257), [layer])


def test_features_are_drawn_before_they_are_projected():
    whole = arrays()
    plan, found = reduce_with(
        ReductionSettings(random_features=20, random_projection=5), {"conv": whole["conv"]}
    )
    steps = plan.document()["layers"]["conv"]["steps"]
    assert [step["step"] for step in steps] == ["random_features", "random_projection"]
    matrix = plan.of("conv").projection.matrix()
    assert matrix.shape == (20, 5)
    expected = whole["conv"].reshape(6, 60)[:, steps[0]["indices"]] @ matrix
    np.testing.assert_allclose(found["conv"], expected, rtol=1e-5, atol=1e-6)  # 20 float32 of order 1


# The record


def recomputed(whole, record):
    """What the document says, done to whole layers by nothing but NumPy and the text of the document."""
    names = list(record["axes"])
    values = whole
    for step in record["steps"]:
        if "note" in step:
            continue
        if step["step"] == "pool":
            over = tuple(axis for axis, name in enumerate(names, start=1) if name in step["axes"])
            values = values.mean(axis=over, dtype=np.float64).astype(np.float32)
        elif step["step"] == "random_features":
            values = values.reshape(len(values), -1)[:, step["indices"]]
        elif step["step"] == "random_projection":
            words = np.frombuffer(hashlib.blake2b(b"conv", digest_size=16).digest(), "<u4").tolist()
            seeds = np.random.SeedSequence([step["seed"], 1, *words])
            shape = step["of"], step["to"]
            matrix = np.random.Generator(np.random.PCG64(seeds)).standard_normal(shape, np.float32)
            matrix = matrix / np.float32(np.sqrt(step["to"]))
            first = np.ascontiguousarray(matrix[: step["first_rows"]])
            assert step["first_rows_hash"] == f"xxh3_128:{xxhash.xxh3_128_hexdigest(first.data)}"
            values = values.reshape(len(values), -1) @ matrix
        else:
            values = values.astype(step["to"])
    return values


@pytest.mark.parametrize(
    "settings",
    [
        ReductionSettings(("mean",)),
        ReductionSettings(random_features=9, seed=5),
        ReductionSettings(random_projection=9, seed=5, dtype="float16"),
        ReductionSettings(random_projection=40),
        ReductionSettings(("mean",), random_features=2, random_projection=1, dtype="float64"),
    ],
)
def test_the_record_is_json_and_suffices_to_do_it_again(settings):
    whole = arrays()["conv"]
    plan, found = reduce_with(settings, {"conv": whole})
    document = plan.document()
    record = json.loads(json.dumps(document))
    assert record == document == plan_reductions(settings, layer_rows("conv")).document()
    assert record["settings"]["pool"] == list(settings.pool)
    assert record["settings"]["seed"] == settings.seed
    again = recomputed(whole, record["layers"]["conv"])
    np.testing.assert_array_equal(found["conv"], again)
    assert found["conv"].dtype == again.dtype


def test_the_record_does_not_depend_on_the_length_of_the_first_batch():
    def document(positions):
        layer = ModelLayer("tokens", "array", (positions, 6), ("position", "feature"), "float32")
        return plan_reductions(ReductionSettings(("mean",), random_features=3), [layer]).document()

    assert document(4) == document(9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"random_features": 0}, "random_features is 0; expected at least 1"),
        ({"random_projection": -2}, "random_projection is -2; expected at least 1"),
        ({"dtype": "int8"}, "dtype 'int8' is none to cast to; expected float16, float32, float64, bfloat16"),
        ({"dtype": "half"}, "dtype 'half' is none to cast to"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(DumpError, match=message):
        ReductionSettings(**settings)
