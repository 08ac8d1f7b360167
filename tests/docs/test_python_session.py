"""The session of docs/python.md runs, and prints what the page says (certified gaps may differ by the machine)."""

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
SESSION = re.compile(r"^```pycon\n(.*?)^```", re.MULTILINE | re.DOTALL)
GAP = re.compile(r"\b\d\.\de-\d\d\b")
SCORE = re.compile(r"\b\d\.\d{4}\b")
NEAR = 0.01
"""A row or two of 597 may fall on the other side where another machine sums in another order."""


class Checker(doctest.OutputChecker):
    def check_output(self, want, got, optionflags):
        pairs = zip(SCORE.findall(want), SCORE.findall(got), strict=False)
        near = all(abs(float(one) - float(other)) < NEAR for one, other in pairs)
        plain = [SCORE.sub("SCORE", GAP.sub("GAP", text)) for text in (want, got)]
        return near and super().check_output(*plain, optionflags)


def test_the_session_prints_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = SESSION.findall(PAGE.read_text())
    assert len(blocks) >= 5
    session = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, str(PAGE), 0)
    told = []
    runner = doctest.DocTestRunner(checker=Checker())
    results = runner.run(session, out=told.append)
    assert results.attempted > 30
    assert not results.failed, "".join(told)


def test_a_page_that_says_something_else_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = doctest.DocTestParser().get_doctest(
        ">>> 'error 0.1111'\n'error 0.2222'\n>>> 1\n2\n", {}, "x", "x", 0
    )
    assert doctest.DocTestRunner(checker=Checker()).run(session, out=lambda _text: None).failed == 2
