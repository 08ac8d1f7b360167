"""Grids of pictures: words are words, files appear whole, and nothing else is replaced."""

import base64
import re
import struct
import zlib

import numpy as np
import pytest

from solvers.decoders.grid import Cell, Grid, refuse_existing_grid, save_grid
from solvers.errors import FigureError


def grid_of(picture, title="t", words="w"):
    return Grid(title, [("input",), ("a<b>\x1b", "alpha=0")], [(("r&1",), [Cell(picture, words), Cell(None)])])


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (3, 2), (4, 6)])
def test_the_pixels_are_those_of_the_picture(tmp_path, channels, colour):
    picture = np.random.default_rng(0).uniform(-0.2, 1.2, (channels, 5, 7))
    save_grid(grid_of(picture), tmp_path / "g.svg")
    text = (tmp_path / "g.svg").read_text()
    png = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    width, height, _, kind = struct.unpack(">IIBB", png[16:26])
    assert (width, height, kind) == (7, 5, colour)
    size = struct.unpack(">I", png[33:37])[0]
    lines = np.frombuffer(zlib.decompress(png[41 : 41 + size]), np.uint8).reshape(5, 1 + 7 * channels)
    expected = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0).reshape(5, -1)
    np.testing.assert_array_equal(lines[:, 1:], expected)


def test_hostile_words_are_text(tmp_path):
    import xml.etree.ElementTree as ElementTree

    save_grid(grid_of(np.zeros((1, 2, 2)), title="</svg><script>"), tmp_path / "g.svg")
    tree = ElementTree.parse(tmp_path / "g.svg")
    words = [each.text for each in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "</svg><script>" in words
    assert not any("\x1b" in word for word in words)


def test_what_is_refused(tmp_path, monkeypatch):
    grid = grid_of(np.zeros((1, 2, 2)))
    with pytest.raises(FigureError, match=r"a grid of pictures is \.svg or \.png"):
        refuse_existing_grid(tmp_path / "g.html", overwrite=False)
    (tmp_path / "g.svg").write_text("precious")
    with pytest.raises(FigureError, match="exists already"):
        save_grid(grid, tmp_path / "g.svg")
    with pytest.raises(FigureError, match="is no svg figure"):
        save_grid(grid, tmp_path / "g.svg", overwrite=True)
    assert (tmp_path / "g.svg").read_text() == "precious"
    with pytest.raises(FigureError, match="could not be written"):
        save_grid(grid, tmp_path / "none" / "g.svg")
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(FigureError, match=r"a \.png needs Pillow .* pip install 'actstore\[images\]'"):
        refuse_existing_grid(tmp_path / "g.png", overwrite=False)
