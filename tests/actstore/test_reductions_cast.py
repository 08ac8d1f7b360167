"""Casts: their rounding, and the report of what they cost."""

import numpy as np
import pytest

from actstore.adapters import ModelLayer, adapt
from actstore.adapters.keep import Keeper
from actstore.reductions import CastReport, ReductionSettings, plan_reductions
from actstore.store.documents.bfloat16 import narrowed, widened


def dumped(arrays, settings, batch_rows=2):
    """Layers of a function as they are stored, joined over batches; and the plan."""
    inputs = np.arange(len(next(iter(arrays.values()))))
    adapter = adapt(lambda rows: {name: array[rows] for name, array in arrays.items()})
    layers = [layer for layer in adapter.layers(inputs) if not layer.explicit]
    plan = plan_reductions(settings, layers)
    with adapter.running(layers, plan) as run:
        parts = [run(inputs[start : start + batch_rows]) for start in range(0, len(inputs), batch_rows)]
    found = {name: np.concatenate([part[name].array for part in parts]) for name in arrays}
    for layer in plan.layers:
        assert (parts[0][layer.name].dtype, parts[0][layer.name].axes) == (layer.dtype, layer.axes)
    return plan, found


def test_a_cast_reports_its_largest_error_what_overflows_and_what_is_no_number():
    wide = np.array([[1.0, 2049.0], [70000.0, np.nan], [np.inf, -1e9], [0.1, np.nan]], np.float32)
    plan, found = dumped({"a": wide}, ReductionSettings(dtype="float16"))
    np.testing.assert_array_equal(
        found["a"], np.array([[1, 2048], [np.inf, np.nan], [np.inf, -np.inf], [0.1, np.nan]], np.float16)
    )
    assert plan.report() == {"a": CastReport("float32", "float16", 1.0, overflows=2, nan=2)}


def test_the_report_covers_casts_that_can_lose_something_alone():
    arrays = {
        "half": np.ones((4, 2), np.float16),
        "single": np.full((4, 2), 0.1, np.float32),
        "double": np.full((4, 2), 0.1, np.float64),
        "whole": np.full((4, 2), 2**24 + 1),
    }
    plan, found = dumped(arrays, ReductionSettings(dtype="float32"))
    assert {name: array.dtype.name for name, array in found.items()} == {
        "half": "float32", "single": "float32", "double": "float32", "whole": "int64",
    }  # fmt: skip
    error = abs(float(np.float32(0.1)) - 0.1)
    assert plan.report() == {"double": CastReport("float64", "float32", error)}
    np.testing.assert_array_equal(found["whole"], arrays["whole"])


def test_a_layer_that_is_left_as_it_is_is_not_reported():
    plan, _ = dumped({"a": np.full((4, 2), 0.1, np.float16)}, ReductionSettings())
    assert plan.report() == {}
    assert plan.document()["layers"]["a"]["steps"] == []


def test_a_projection_that_overflows_the_layers_dtype_is_reported_unasked():
    plan, found = dumped({"a": np.full((4, 900), 60_000, np.float16)}, ReductionSettings(random_projection=1))
    report = plan.report()["a"]
    assert (report.computed, report.stored) == ("float32", "float16")
    assert report.overflows == np.isinf(found["a"]).sum() == 4


def test_the_report_does_not_depend_on_batches():
    array = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    reports = [
        dumped({"a": array}, ReductionSettings(dtype="bfloat16"), rows)[0].report()["a"] for rows in (1, 4, 9)
    ]
    assert reports[0] == reports[1] == reports[2]
    # Half a unit in the last of 8 bits of values below 4.
    assert 0 < reports[0].largest_error <= 2.0**-7


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, 1.0),
        (1 + 2**-8, 1.0),  # half way: to the even one, below
        (1 + 3 * 2**-8, 1 + 2**-6),  # half way: to the even one, above
        (1 + 2**-8 + 2**-20, 1 + 2**-7),
        (-(1 + 2**-8), -1.0),
        (3.4e38, np.inf),
        (-np.inf, -np.inf),
        (1e-45, 0.0),
        (-0.0, -0.0),
    ],
)
def test_bfloat16_is_rounded_to_nearest_even(value, expected):
    found = widened(narrowed(np.float32([value])))
    np.testing.assert_array_equal(found, np.float32([expected]))
    assert np.signbit(found[0]) == np.signbit(expected)


def test_every_bfloat16_comes_back_and_no_nan_becomes_a_number():
    bits = np.arange(2**16, dtype=np.uint16)
    values = widened(bits)
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(narrowed(values)[numbers], bits[numbers])
    nan = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(widened(narrowed(nan))).all()


def test_bytes_per_row_are_those_of_what_is_stored():
    layer = ModelLayer("a", "array", (3, 8), ("channel", "position"), "float32")
    plan = plan_reductions(ReductionSettings(("mean",), dtype="float16"), [layer])
    assert (layer.bytes_per_row, plan.layers[0].bytes_per_row) == (96, 6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_kept_is_a_copy_in_c_order_of_native_bytes(order):
    buffer = np.array(np.random.default_rng(0).normal(size=(4, 6)), ">f4", order=order)
    adapter = adapt(lambda batch: {"a": buffer[: len(batch)]})
    layers = [layer for layer in adapter.layers(np.zeros(4)) if not layer.explicit]
    with adapter.running(layers, plan_reductions(ReductionSettings(random_features=3), layers)) as run:
        kept = run(np.zeros(4))["a"].array
    before = kept.copy()
    buffer[:] = 0
    np.testing.assert_array_equal(kept, before)
    assert before.any()
    assert kept.flags.c_contiguous
    assert kept.dtype.isnative


def test_what_is_kept_is_a_copy_where_a_view_would_do():
    buffer = np.ones((4, 1, 6), np.float32)
    layer = ModelLayer("a", "array", (1, 6), ("position", "feature"), "float32")
    keeper = Keeper(plan_reductions(ReductionSettings(("cls",)), [layer]))
    keeper.begin(np.zeros(4), 4)
    kept = keeper.keep("a", buffer)
    buffer[:] = 0
    np.testing.assert_array_equal(kept.array, np.ones((4, 6)))
    assert kept.axes == ("feature",)
