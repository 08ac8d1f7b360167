"""Figures in a browser: labels beside each other, no word in the console, no request, a slider that slides."""

import itertools

import pytest
from browser import TEXTS, Browser, needs_browser, overlapping
from figure_scores import HOSTILE, REAL_NAMES, by_depth, everything

from solvers.figures.animation import save_animation
from solvers.figures.asked import KINDS, SIZES, asked
from solvers.figures.chart import drawn, save_figure
from solvers.figures.figure import description

pytestmark = needs_browser
LAYERS = ["input", "conv1", "conv2", "fc"]


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


def assert_legible(browser, spec, folder):
    """No text stands over another, and none is cut at the edge."""
    path = folder / "figure.html"
    style = '<!doctype html><meta charset="utf-8"><body style="margin:0">'
    path.write_text(style + drawn(spec, ".svg").decode(), encoding="utf-8")
    page = browser.open(path)
    boxes = page.evaluate(TEXTS)
    assert boxes
    assert overlapping(boxes) == []
    width = page.evaluate("document.querySelector('svg').getBoundingClientRect().width")
    assert [text for text, left, _, right, _ in boxes if left < -1 or right > width + 1] == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_two_labels_overlap(browser, tmp_path, kind, size):
    classes = [f"class number {number}" for number in range(12)]
    for names in (LAYERS, REAL_NAMES[:20]):
        assert_legible(browser, description(everything(names, classes)[kind], asked(kind, size=size)), tmp_path)


@pytest.mark.parametrize("size", SIZES)
def test_no_two_labels_overlap_where_there_are_many(browser, tmp_path, size):
    edges = [*itertools.pairwise(REAL_NAMES), *zip(REAL_NAMES, REAL_NAMES[9:], strict=False)]
    for kind, rows, options in (
        ("depth", by_depth(REAL_NAMES), {"references": [(0.2, "one"), (0.201, "two"), (0.9, "three")]}),
        ("steps", by_depth(REAL_NAMES[:128], range(0, 3000, 100)), {}),
        ("graph", by_depth([*REAL_NAMES, *(f"head{number}" for number in range(21))]), {"edges": edges}),
        ("depth", by_depth(REAL_NAMES[:40], (0, 10, 200, 3000)), {"scale": "log"}),
    ):
        assert_legible(browser, description(rows, asked(kind, size=size, **options)), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_says_nothing_asks_nothing_and_runs_nothing(browser, tmp_path, kind):
    rows = everything(HOSTILE, HOSTILE[:5])[kind]
    path = tmp_path / "figure.html"
    save_figure(description(rows, asked(kind, title=HOSTILE[0])), path)
    page = browser.open(path)
    page.until("document.querySelector('#figure svg, #figure canvas')")
    assert page.complaints() == []
    assert page.evaluate("window.ran === undefined")
    page.click("#figure svg")
    assert page.evaluate("document.querySelectorAll('#figure svg img, #figure svg script').length") == 0


@pytest.fixture
def film(browser, tmp_path):
    path = tmp_path / "film.html"
    save_animation(by_depth(LAYERS, (0, 100, 2000)), asked(), path)
    page = browser.open(path)
    page.until("document.getElementById('figure').dataset.frame === '0'")
    return page


def shown(page, frame):
    page.until(f"document.getElementById('figure').dataset.frame === '{frame}'")
    step = ("step 0", "step 100", "step 2,000")[frame]
    assert page.evaluate("document.getElementById('named').textContent") == step
    assert page.evaluate("document.getElementById('frame').getAttribute('aria-valuetext')") == step
    number = step.replace(",", "").removeprefix("step ")
    page.until(f"document.querySelector('#figure svg').textContent.includes('step {number}')")


def test_the_slider_slides_by_the_mouse(film):
    film.click_at("#frame", 0.98)
    shown(film, 2)
    film.click_at("#frame", 0.5)
    shown(film, 1)
    assert film.complaints() == []


def test_the_slider_slides_by_the_keyboard(film):
    film.evaluate("document.getElementById('frame').focus()")
    film.press("ArrowRight", 39)
    shown(film, 1)
    film.press("End", 35)
    shown(film, 2)
    film.press("Home", 36)
    shown(film, 0)
    assert film.complaints() == []


def test_play_plays_to_the_last_frame_and_can_be_stopped_by_either(film):
    film.click("#play")
    assert film.evaluate("document.getElementById('play').textContent") == "Pause"
    shown(film, 2)
    film.until("document.getElementById('play').textContent === 'Play'")
    film.evaluate("document.getElementById('play').focus()")
    film.press(" ", 32)
    film.until("document.getElementById('play').textContent === 'Pause'")
    film.press(" ", 32)
    film.until("document.getElementById('play').textContent === 'Play'")
    assert film.complaints() == []
