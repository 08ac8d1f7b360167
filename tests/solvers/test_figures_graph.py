"""The network drawn: every edge leads down, none crosses a box, and what was not recorded is said."""

import itertools
import time

import pytest
from figure_scores import by_depth, found_in, records_of, texts_of

from solvers.errors import FigureError
from solvers.figures.asked import asked
from solvers.figures.chart import drawn
from solvers.figures.figure import description
from solvers.figures.network.layering import layered
from solvers.figures.network.routing import Room, placed
from solvers.figures.scores import read_edges


def residual(blocks):
    """Names and edges of a network with a skip in every block, a long one, and three heads."""
    names, edges = ["input", "stem"], [("input", "stem")]
    for block in range(blocks):
        inner = [f"blocks.{block}.{part}" for part in ("conv1", "relu", "conv2", "add")]
        edges += [(names[-1], inner[0]), *itertools.pairwise(inner), (names[-1], inner[3])]
        names += inner
    last = names[-1]
    for head in ("head.a", "head.b", "head.c"):
        edges.append((last, head))
        names.append(head)
    return names, [*edges, ("input", "head.a"), ("stem", last)]


@pytest.mark.parametrize("blocks", [1, 6, 36])
@pytest.mark.parametrize("size", [(309, 620), (668, 900), (948, 540)])
def test_edges_lead_down_and_cross_no_box(blocks, size):
    names, edges = residual(blocks)
    network = layered(names, edges)
    row_of = {name: number for number, row in enumerate(network.rows) for name in row}
    assert all(row_of[source] < row_of[to] for source, to in edges)
    assert set(row_of) == set(names)
    drawing = placed(network, Room(*size, 15, 60, 10, 6))
    for at, box in enumerate(drawing.boxes):
        assert box.x >= 0
        assert box.x + box.width <= size[0] + 0.01
        for other in drawing.boxes[:at]:
            assert (
                box.x >= other.x + other.width
                or other.x >= box.x + box.width
                or box.y >= other.y + other.height
                or other.y >= box.y + box.height
            )
    for _, way in drawing.ways:
        for (x, y), (to_x, to_y) in itertools.pairwise(way):
            for box in drawing.boxes:
                for share in (0.02, 0.25, 0.5, 0.75, 0.98):
                    at = x + (to_x - x) * share, y + (to_y - y) * share
                    inside = (
                        box.x + 0.1 < at[0] < box.x + box.width - 0.1
                        and box.y + 0.1 < at[1] < box.y + box.height - 0.1
                    )
                    assert not inside, (box.name, way)


def test_a_circle_is_drawn_and_said():
    spec = description(
        by_depth(["a", "b", "c"]), asked("graph", edges=[("a", "b"), ("b", "c"), ("c", "a"), ("b", "b")])
    )
    assert "dashed: 1 lead back" in texts_of(spec)
    assert [4, 3] in found_in(spec, "strokeDash")
    network = layered(["a", "b"], [("a", "b"), ("b", "a")])
    assert network.back == {("b", "a")}


def test_a_chain_is_said_to_be_one_where_nothing_was_recorded():
    assert "a chain in the order of the calls, since nothing says" in texts_of(
        description(by_depth(["a", "b"]), asked("graph"))
    )
    told = texts_of(description(by_depth(["a", "b"]), asked("graph", edges=[("a", "b")])))
    assert "1 edge, given" in told
    assert "chain" not in told


def test_layers_without_a_probe_are_there_and_grey():
    spec = description(by_depth(["a", "c"]), asked("graph", edges=[("a", "b"), ("b", "c")]))
    boxes = {record["layer"]: record for record in records_of(spec) if "probed" in record}
    assert {name: box["probed"] for name, box in boxes.items()} == {"a": True, "b": False, "c": True}
    assert boxes["b"]["shown"] == "no probe"
    assert "grey: 1 without a probe" in texts_of(spec)


def test_layers_that_were_not_asked_for_are_not_said_to_have_no_probe():
    edges = [("a", "b"), ("b", "c"), ("c", "d")]
    spec = description(by_depth(["a", "b", "c"]), asked("graph", layers=["a", "c"], edges=edges))
    boxes = {record["layer"]: record["shown"] for record in records_of(spec) if "probed" in record}
    assert (boxes["b"], boxes["d"]) == ("left out", "no probe")
    assert "grey: 1 without a probe; grey: 1 left out" in texts_of(spec)


def test_colours_say_better_by_the_same_end_whatever_the_metric():
    from solvers.figures.marks.heat import Colours
    from solvers.figures.parts.scale import ValueScale

    error = Colours.of(ValueScale("error", "share", "linear", 0, 1, ()), "red-blue")
    accuracy = Colours.of(ValueScale("accuracy", "share", "linear", 0, 1, ()), "red-blue")
    assert error.colour(0) == accuracy.colour(1)
    assert int(error.colour(0)[5:], 16) > int(error.colour(0)[1:3], 16)  # blue
    assert int(error.colour(1)[1:3], 16) > int(error.colour(1)[5:], 16)  # red


def test_150_layers_with_skips_are_drawn_in_seconds():
    names, edges = residual(37)
    began = time.monotonic()
    drawn(description(by_depth(names), asked("graph", edges=edges)), ".svg")
    assert time.monotonic() - began < 10
    assert len(names) >= 150


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "no columns `from` and `to`"),
        ("", "no columns `from` and `to`"),
        ("from,to\na,\n", "line 2: .*a name is empty"),
        (b"\xff\xfe\x00", "no table of edges"),
    ],
)
def test_edges_that_are_none_are_refused(tmp_path, text, said):
    path = tmp_path / "e.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FigureError, match=said):
        read_edges(path)
    with pytest.raises(FigureError, match="cannot be read: No such file"):
        read_edges(tmp_path / "none.csv")


def test_edges_are_read_once_each(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("from,to,note\na,b,x\na,b,y\nb,c,\n", encoding="utf-8")
    assert read_edges(path).pairs == (("a", "b"), ("b", "c"))
