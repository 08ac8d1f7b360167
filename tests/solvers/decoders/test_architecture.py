"""The number of doublings follows from the layer and the picture, and so does how the last map is fitted."""

import pytest

from solvers.decoders.architecture import Architecture, architecture
from solvers.decoders.settings import DecoderSettings, alpha_per_image, alpha_per_value
from solvers.errors import ProblemError

CHW = ("channel", "height", "width")
HWC = ("height", "width", "channel")


@pytest.mark.parametrize(
    ("code", "axes", "picture", "doublings", "widths", "fit"),
    [
        ((128,), ("feature",), (1, 28, 28), 5, (1024, 512, 256, 128, 64), "crop"),
        ((128,), (), (3, 32, 32), 5, (1024, 512, 256, 128, 64), "exact"),
        ((10,), (), (1, 1, 1), 0, (64,), "exact"),
        ((16, 7, 7), CHW, (1, 28, 28), 2, (128, 64), "exact"),
        ((7, 7, 16), HWC, (1, 28, 28), 2, (128, 64), "exact"),
        ((8, 28, 28), CHW, (1, 28, 28), 0, (64,), "exact"),
        ((8, 14, 14), CHW, (3, 32, 32), 1, (64,), "resize"),
        ((8, 12, 12), CHW, (1, 28, 28), 1, (64,), "resize"),
        ((8, 4, 4), CHW, (1, 28, 28), 3, (256, 128, 64), "crop"),
        ((8, 7, 7), CHW, (1, 27, 27), 2, (128, 64), "crop"),
        ((8, 14, 14), CHW, (1, 27, 28), 1, (64,), "crop"),
        ((8, 30, 30), CHW, (1, 28, 28), 0, (64,), "resize"),
        ((8, 4, 7), CHW, (3, 16, 28), 2, (128, 64), "exact"),
        ((8, 7, 7), ("a", "b", "c"), (1, 28, 28), 5, (1024, 512, 256, 128, 64), "crop"),
        ((12, 30), ("position", "feature"), (1, 8, 8), 3, (256, 128, 64), "exact"),
    ],
)
def test_it_follows_from_the_shapes(code, axes, picture, doublings, widths, fit):
    built = architecture(code, axes, picture)
    assert (built.doublings, built.widths, built.fit) == (doublings, widths, fit)
    assert Architecture.from_json(built.to_json()) == built


def test_only_a_map_whose_axes_are_known_is_a_map():
    assert architecture((16, 7, 7), CHW, (1, 28, 28)).order == (0, 1, 2)
    assert architecture((7, 7, 16), HWC, (1, 28, 28)).order == (2, 0, 1)
    assert architecture((16, 7, 7), (), (1, 28, 28)).order == ()


def test_a_map_much_larger_than_the_picture_is_refused():
    with pytest.raises(
        ProblemError, match="a map of 56 x 56 is at least twice as large as a picture of 28 x 28"
    ):
        architecture((8, 56, 56), CHW, (1, 28, 28))


@pytest.mark.parametrize(
    "wrong", [{"widths": [128, 32]}, {"doublings": 3}, {"fit": "exact"}, {"picture": [1, 28]}, {"code": [0]}]
)
def test_a_file_describes_no_other_decoder(wrong):
    found = architecture((8, 12, 12), CHW, (1, 28, 28)).to_json() | wrong
    with pytest.raises(ValueError, match=r"describes no decoder|.*"):
        Architecture.from_json(found)


def test_the_two_conventions_of_alpha():
    """α_s/(1 − α_s) = P · α_m/(1 − α_m): .001 is .44 for 28 x 28 and .75 for 3 x 32 x 32."""
    assert alpha_per_image(0.001, 784) == pytest.approx(0.44, abs=0.005)
    assert alpha_per_image(0.001, 3072) == pytest.approx(0.75, abs=0.005)
    for alpha in (0.0, 0.001, 0.5, 0.99, 1.0):
        assert alpha_per_value(alpha_per_image(alpha, 784), 784) == pytest.approx(alpha)
    assert alpha_per_value(0.0, 784) == 0
    assert alpha_per_value(1.0, 784) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": 0}, "epochs is 0; expected 1 or more"),
        ({"alpha": 1.5}, "alpha is 1.5; expected 0"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"learning_rate": 0.0}, "learning_rate 0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_settings_that_cannot_be(given, said):
    with pytest.raises(ProblemError, match=said):
        DecoderSettings(**given)
