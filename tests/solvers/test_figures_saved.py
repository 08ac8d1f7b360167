"""Figures as files: whole or not at all, over nothing else, in every format; frames over steps."""

import io
import os

import pytest
from figure_scores import by_bin, by_depth, found_in, texts_of

from solvers.errors import FigureError
from solvers.figures import animation
from solvers.figures.animation import save_animation
from solvers.figures.asked import asked
from solvers.figures.chart import save_figure
from solvers.figures.figure import description
from solvers.figures.scores import read_scores

LAYERS = ["input", "conv1", "conv2", "fc"]
BEGINNINGS = {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF", ".html": b"<!doctype html"}


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_a_figure_is_written_once_and_over_its_like_alone(tmp_path, suffix):
    spec = description(by_depth(LAYERS), asked())
    path = tmp_path / f"f{suffix}"
    save_figure(spec, path)
    assert path.read_bytes().startswith(BEGINNINGS[suffix])
    with pytest.raises(FigureError, match="exists already"):
        save_figure(spec, path)
    save_figure(spec, path, overwrite=True)
    path.write_bytes(b"mine")
    with pytest.raises(FigureError, match="only such a figure is overwritten"):
        save_figure(spec, path, overwrite=True)
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == [path.name]


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(FigureError, match=r"'\.jpeg'; a figure is \.svg, \.png, \.pdf or \.html"):
        save_figure(description(by_depth(LAYERS), asked()), tmp_path / "f.jpeg")
    with pytest.raises(FigureError, match=r"'\.mp4'; a figure is \.html, \.gif, \.svg, \.png or \.pdf"):
        save_animation(by_depth(LAYERS, (0, 1)), asked(), tmp_path / "f.mp4")


def test_all_frames_have_the_same_axis_and_their_own_step():
    rows = by_depth(LAYERS, (0, 500, 5000))
    frames = animation._frames(rows, asked(), [0, 500, 5000])
    ends = [
        {tuple(scale["domain"]) for scale in found_in(frame, "scale") if scale.get("type") == "linear"}
        for frame in frames
    ]
    assert ends[0] == ends[1] == ends[2]
    assert len(ends[0]) == 1
    assert ["step 0" in texts_of(frames[0]), "step 5000" in texts_of(frames[2])] == [True, True]
    largest = max(
        row.score.high for row in rows if row.score.kind == "task" and row.score.high == row.score.high
    )
    assert max(high for _, high in ends[0]) >= largest


def test_a_gif_has_a_frame_a_step(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="GIFs need Pillow (extra `report`)")
    save_animation(by_depth(LAYERS, (0, 500, 5000)), asked(size="column"), tmp_path / "f.gif")
    with image.open(io.BytesIO((tmp_path / "f.gif").read_bytes())) as film:
        assert film.n_frames == 3
        pictures = []
        for frame in range(3):
            film.seek(frame)
            pictures.append(film.convert("RGB").tobytes())
    assert len(set(pictures)) == 3


def test_frames_in_a_row_are_few_and_the_first_and_last_among_them(tmp_path):
    save_animation(by_depth(LAYERS, range(0, 2000, 100)), asked(), tmp_path / "f.svg")
    svg = (tmp_path / "f.svg").read_text()
    assert ">step 0<" in svg
    assert ">step 1900<" in svg
    assert svg.count(">step ") <= 6


def test_what_has_no_frames_is_refused(tmp_path):
    with pytest.raises(FigureError, match="there is 1 step to animate"):
        save_animation(by_depth(LAYERS), asked(), tmp_path / "f.html")
    with pytest.raises(FigureError, match="every step at once already"):
        save_animation(by_depth(LAYERS, (0, 1)), asked("steps"), tmp_path / "f.html")
    with pytest.raises(FigureError, match="leave --scale and --ylim out"):
        description(by_bin(LAYERS), asked("calibration", ylim=(0, 1)))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layer,value\na,1\n", "no column 'store'"),
        ("", "no column 'store'"),
        (b"\xff\x00", "no table of scores"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, said):
    path = tmp_path / "s.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FigureError, match=said):
        read_scores(path)
