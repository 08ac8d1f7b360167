"""Names as pages may have them: the same in both wings, which do not know each other."""

from html.parser import HTMLParser

import pytest

from actstore import wording
from solvers import printable

NAMES = {
    "<script>alert(1)</script>": "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\" onload='x' &amp;": "&quot; onload=&#x27;x&#x27; &amp;amp;",
    "\x1b[31mred\nline\u2028end": "\\x1b[31mred\\x0aline\\u2028end",
    "right \u202e to left": "right \\u202e to left",
    "lone \ud800": "lone \\ud800",
    "höhe · \U0001f469\u200d\U0001f52c": "höhe · \U0001f469\u200d\U0001f52c",
}


@pytest.mark.parametrize("html_safe", [wording.html_safe, printable.html_safe])
@pytest.mark.parametrize(
    ("name", "shown"), NAMES.items(), ids=["script", "quotes", "escape", "rtl", "lone", "emoji"]
)
def test_a_name_is_text_in_html(html_safe, name, shown):
    assert html_safe(name) == shown
    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: seen.append((tag, dict(attributes)))
    parser.feed(f'<p title="{html_safe(name)}">{html_safe(name)}</p>')
    assert [tag for tag, _ in seen] == ["p"]
    assert list(seen[0][1]) == ["title"]
