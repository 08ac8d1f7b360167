"""The gallery shows what its commands write (which tests/docs/test_documents.py runs), and no other picture."""

import re
from pathlib import Path

from pages import BLOCK

FIGURES = Path(__file__).resolve().parent.parent.parent / "docs" / "figures"
GALLERY = (FIGURES.parent / "gallery.md").read_text()
_WRITTEN = re.compile(r"(?:-o|--animate) (\S+\.svg)")


def test_each_picture_is_written_by_a_command_of_the_page():
    written = [name for _, code in BLOCK.findall(GALLERY) for name in _WRITTEN.findall(code)]
    shown = re.findall(r"\]\(figures/(\S+)\)", GALLERY)
    assert shown
    assert sorted(shown) == sorted(written)
    assert sorted(path.name for path in FIGURES.glob("*.svg")) == sorted(shown)


def test_each_kind_of_figure_is_in_the_gallery():
    from solvers.figures.asked import KINDS

    shown = set(re.findall(r"--kind (\w+)", GALLERY))
    assert shown | {"depth"} == set(KINDS)
