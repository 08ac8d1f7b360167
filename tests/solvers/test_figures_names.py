"""Names in figures are data: whatever they hold, they are drawn on one line and nothing of them acts."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from figure_scores import HOSTILE, by_depth, everything
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solvers.figures.asked import KINDS, asked
from solvers.figures.chart import cleaned, drawn
from solvers.figures.figure import description
from solvers.figures.page import page
from solvers.figures.parts.names import clipped, labels_of, safe, thinned, width_of, wrapped
from solvers.figures.rows import Shown

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no fault of a name."""


def hostile_everywhere(rows):
    """The same scores, whose targets, splits, files and stores have such names, too."""
    return [
        Shown(
            replace(row.score, target=HOSTILE[0], store=HOSTILE[2], split=f"{row.score.split}{HOSTILE[2]}"),
            HOSTILE[3] + row.file,
        )
        for row in rows
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_are_drawn_and_nothing_of_them_acts(kind):
    rows = hostile_everywhere(everything(HOSTILE, [*HOSTILE[:5], "plain"])[kind])
    spec = description(rows, asked(kind, title=HOSTILE[2] * 3))
    svg = drawn(spec, ".svg").decode()
    for raw in ("\x1b", "\x07", "\u202e", "\u2028", "<script", "<img"):
        assert raw not in svg
    ElementTree.fromstring(svg)
    html = drawn(spec, ".html").decode()
    ours = html[: html.index("<script>")]  # up to the library
    assert "<script>window.ran" not in html
    assert "<img" not in ours


def test_each_name_alone_is_drawn():
    for name in HOSTILE:
        assert drawn(description(by_depth([name, "plain"]), asked("graph")), ".svg")


@unhurried
@given(st.lists(st.text(max_size=30), min_size=1, max_size=12, unique=True), st.floats(20, 200))
def test_labels_are_as_many_as_names_all_different_on_one_line(names, room):
    labels = labels_of(names, room, 10)
    assert len(set(labels.texts)) == len(names)
    assert all(len(text.splitlines()) == 1 and text == safe(text) for text in labels.texts)


@unhurried
@given(st.text(max_size=60), st.floats(30, 300))
def test_a_clipped_text_has_room(text, room):
    assert width_of(clipped(text, room, 10), 10) <= max(room, width_of("…", 10))


@unhurried
@given(st.text(max_size=200), st.integers(1, 4))
def test_wrapped_lines_have_room_and_are_no_more_than_asked(text, most):
    lines = wrapped(text, 200, 10, most)
    assert 1 <= len(lines) <= most
    assert all(width_of(line, 10) <= 200 for line in lines)


@unhurried
@given(st.integers(0, 500), st.integers(1, 60))
def test_thinned_places_are_no_more_than_room_and_hold_both_ends(count, room):
    places = thinned(count, room)
    assert len(places) <= max(room, 1)
    assert places == sorted(set(places))
    if count > 1 and room > 1:
        assert (places[0], places[-1]) == (0, count - 1)


def test_a_shared_beginning_is_left_out_and_told():
    labels = labels_of(["input", *(f"model.layers.{number}" for number in range(12))], 300, 10)
    assert labels.prefix == "model.layers."
    assert labels.texts[:3] == ("input", "…0", "…1")
    assert labels_of(["a.b", "c.d"], 300, 10).prefix == ""
    assert labels_of(["model.a"], 300, 10).texts == ("model.a",)


def test_a_page_cannot_be_ended_by_what_it_shows():
    text = page([{"title": "</script><!--"}], ["</script>"], "</title><script>", "/* library */")
    assert text.count("</script>") == 3
    assert "</title><script>" not in text
    assert "default-src 'none'" in text


def test_a_description_is_cleaned_at_the_door():
    assert cleaned({"a\x1b": ["\x1b", float("nan"), True, 1, 2.5, None, ("x\n",)]}) == {
        "a\\x1b": ["\\x1b", None, True, 1, 2.5, None, ["x\\x0a"]]
    }


def test_a_raw_escape_never_reaches_the_drawing_even_from_a_description_made_by_hand():
    code = (
        "from solvers.figures.chart import drawn\n"
        "spec = {'data': {'values': [{'a': '\\x1b[31m'}]}, 'mark': 'text', 'encoding': {'text': {'field': 'a'}}}\n"
        "print(len(drawn(spec, '.svg')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
