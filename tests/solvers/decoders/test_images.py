"""Which tensor is the input, in which units: there and back."""

import numpy as np
import pytest

from solvers.decoders.images import ImageUnits, image_units
from solvers.errors import ProblemError

ROWS = np.arange(4)


@pytest.mark.parametrize(
    ("shape", "axes", "picture"),
    [
        ((5, 6), "HW", (1, 5, 6)),
        ((3, 8, 8), "CHW", (3, 8, 8)),
        ((1, 8, 8), "CHW", (1, 8, 8)),
        ((8, 9, 3), "HWC", (3, 8, 9)),
        ((8, 9, 4), "HWC", (4, 8, 9)),
        ((3, 3), "HW", (1, 3, 3)),
    ],
)
def test_axes_and_the_way_back(shape, axes, picture):
    images = np.random.default_rng(0).integers(0, 256, (4, *shape)).astype(np.uint8)
    units = image_units(images, ROWS)
    assert (units.axes, units.picture) == (axes, picture)
    unit = units.to_unit(images)
    assert unit.shape == (4, *picture)
    assert 0 <= unit.min() <= unit.max() <= 1
    np.testing.assert_allclose(units.to_stored(unit), images, atol=1e-12)
    assert ImageUnits.from_json(units.to_json()) == units


def test_a_channel_stays_a_channel():
    images = np.zeros((4, 8, 9, 3), np.uint8)
    images[..., 2] = 255
    assert (image_units(images, ROWS).to_unit(images)[:, 2] == 1).all()


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("u1", 0, 255), ("i1", -128, 127), ("u2", 0, 65535), ("?", 0, 1)]
)
def test_small_whole_numbers_are_scaled_by_the_range_of_their_dtype(dtype, low, high):
    images = np.arange(4 * 30).reshape(4, 5, 6).astype(dtype)
    units = image_units(images, ROWS)
    assert (units.low, units.high) == (low, high)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8"])
def test_others_by_what_the_training_rows_hold(dtype):
    images = np.arange(4 * 30).reshape(4, 5, 6).astype(dtype)
    units = image_units(images, np.array([1, 2]))
    assert (units.low, units.high) == (30, 89)
    assert "2 training rows" in units.rule


def test_pictures_stored_flat():
    images = np.arange(4 * 24, dtype="f4").reshape(4, 24)
    units = image_units(images, ROWS, shape=(4, 6))
    assert units.picture == (1, 4, 6)
    np.testing.assert_allclose(units.to_stored(units.to_unit(images)), images, atol=1e-4)
    with pytest.raises(ProblemError, match=r"the stored input has the shape \(24,\); expected a picture"):
        image_units(images, ROWS)
    with pytest.raises(ProblemError, match="--image-shape 5x5 does not hold the 24 values"):
        image_units(images, ROWS, shape=(5, 5))


@pytest.mark.parametrize("shape", [(3, 8, 3), (5, 6, 7), (3, 3, 3)])
def test_axes_that_cannot_be_told_are_asked_for(shape):
    images = np.arange(4 * np.prod(shape)).reshape(4, *shape).astype(np.uint8)
    with pytest.raises(
        ProblemError, match=r"which axis .* has the channels cannot be told; say --image-axes HWC"
    ):
        image_units(images, ROWS)
    assert image_units(images, ROWS, axes="HWC").picture == (shape[2], shape[0], shape[1])
    with pytest.raises(ProblemError, match="--image-axes HW does not fit"):
        image_units(images, ROWS, axes="HW")


def test_what_is_no_picture_is_refused():
    with pytest.raises(ProblemError, match="every value of the stored input is 2"):
        image_units(np.full((4, 5, 6), 2.0), ROWS)
    images = np.zeros((4, 5, 6))
    images[2, 1, 1] = np.inf
    with pytest.raises(ProblemError, match="1 training rows of the stored input hold NaN"):
        image_units(images, ROWS)
    with pytest.raises(ValueError, match="describes no pictures"):
        ImageUnits.from_json(
            image_units(np.arange(120).reshape(4, 5, 6).astype("u1"), ROWS).to_json() | {"low": 300}
        )


def test_pictures_that_use_little_of_their_range_are_known():
    """Digits of 0 to 16 in uint8 are nearly black in 0 to 255: their errors look small, whatever the decoder."""
    images = (np.arange(4 * 30) % 17).reshape(4, 5, 6)
    assert image_units(images.astype("u1"), ROWS).pale
    assert image_units(images.astype("u1"), ROWS).held == (0, 16)
    assert not image_units(images.astype("f4"), ROWS).pale
