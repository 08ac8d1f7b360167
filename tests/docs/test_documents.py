"""Every command and code block of the README and the docs runs, in order, in a folder of its own.

A block fenced ```sh is run by bash with the two programs on the path, ```python by this interpreter; blocks of one page
share a folder, in which the demo's `digits.h5` and `probes.h5` lie already. Blocks without a language are output, or
`make` calls (which CI makes).
"""

import shutil
from pathlib import Path

import pytest
from pages import BLOCK, bash, run_block

HOUSE = Path(__file__).resolve().parent.parent.parent
BY_HAND = {
    "docs/frameworks.md": "tests/frameworks/test_documents.py runs it, a section for each framework",
    "docs/tutorial.md": "tests/frameworks/test_tutorial.py runs it",
    "docs/reproductions/cladec/README.md": "needs MNIST, torch and hours",
    "docs/reproductions/ewt-words/README.md": "needs the EWT treebank, transformers and ten minutes",
    "docs/reproductions/figure5/README.md": "needs MNIST, torch and a quarter of an hour",
}
PAGES = sorted(
    str(page.relative_to(HOUSE))
    for page in [HOUSE / "README.md", *(HOUSE / "docs").rglob("*.md")]
    if BLOCK.search(page.read_text())
)
DEMO = """
actstore dump demo:digits --data digits --layers input --layers '**' -o digits.h5
probe fit digits.h5 --target digit --C 0.01 -o probes.h5
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    done = bash(DEMO, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page, demo, tmp_path):
    if page in BY_HAND:
        pytest.skip(BY_HAND[page])
    for file in demo.iterdir():
        shutil.copy(file, tmp_path)
    for language, code in BLOCK.findall((HOUSE / page).read_text()):
        done = run_block(language, code, tmp_path)
        assert done.returncode == 0, f"{page}:\n{code}\n{done.stdout}{done.stderr}"
