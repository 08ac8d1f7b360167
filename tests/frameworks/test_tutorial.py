"""docs/tutorial.md, block by block, with a model that was trained for a moment: the numbers are another matter."""

import shutil
from pathlib import Path

import pytest
from pages import BLOCK, run_block

pytest.importorskip("transformers", reason="transformers is not installed: make test-frameworks")
pytestmark = pytest.mark.framework

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_block_of_the_tutorial_runs(tmp_path):
    shutil.copy(DOCS / "tutorial" / "agreement.py", tmp_path)
    blocks = BLOCK.findall((DOCS / "tutorial.md").read_text())
    assert [language for language, _ in blocks] == ["sh"] * 7 + ["python"]
    for language, code in blocks:
        done = run_block(
            language, code.replace("agreement.py .\n", "agreement.py . 20\n"), tmp_path, OMP_NUM_THREADS="1"
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "agreement.svg").is_file()
