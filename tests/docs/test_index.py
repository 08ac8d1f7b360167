"""The pages hang together: every link leads somewhere, every page is reached from the index, every citation exists."""

import re
from pathlib import Path
from urllib.parse import unquote

HOUSE = Path(__file__).resolve().parents[2]
DOCS = HOUSE / "docs"
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
PAGES = [HOUSE / "README.md", *sorted(DOCS.rglob("*.md"))]


def text_of(page: Path) -> str:
    return CODE.sub("", page.read_text())


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-") for heading in headings}


def links_of(page: Path) -> list[tuple[Path, str]]:
    """Where the links of a page lead: a path, and an anchor or an empty text."""
    found = LINK.findall(text_of(page))
    return [((page.parent / unquote(path)).resolve() if path else page, anchor[1:]) for path, anchor in found]


def test_every_link_leads_somewhere() -> None:
    lost = [
        f"{page.relative_to(HOUSE)} -> {target}#{anchor}"
        for page in PAGES
        for target, anchor in links_of(page)
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target))
    ]
    assert not lost, "\n".join(lost)


def test_every_page_is_reached_from_the_index() -> None:
    reached, waiting = set(), [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += [target for target, _ in links_of(page) if target.suffix == ".md" and target.exists()]
    assert set(DOCS.rglob("*.md")) <= reached


def test_every_decision_is_in_the_index() -> None:
    """By the index itself: a decision that another page cites is easily forgotten there."""
    index = (DOCS / "README.md").read_text()
    missing = [page.name for page in (DOCS / "decisions").glob("*.md") if f"decisions/{page.name}" not in index]
    assert not missing


def test_no_docstring_cites_a_page_that_is_not_there() -> None:
    cited = {
        (page, source.relative_to(HOUSE))
        for package in ("actstore", "solvers", "cli")
        for source in (HOUSE / package).rglob("*.py")
        for page in re.findall(r"docs/[\w./-]+\.md", source.read_text())
    }
    assert not [each for each in cited if not (HOUSE / each[0]).exists()]
    short = {
        (number, source.relative_to(HOUSE))
        for package in ("actstore", "solvers", "cli")
        for source in (HOUSE / package).rglob("*.py")
        for number in re.findall(r"decisions/(\d{4})", source.read_text())
    }
    assert not [each for each in short if not list((DOCS / "decisions").glob(f"{each[0]}-*.md"))]
