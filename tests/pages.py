"""Code blocks of the README and the docs, and how they run.

A block fenced ```sh is run by bash with the two programs on the path, ```python by the interpreter that is there.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def bash(code, folder, **variables):
    """What became of a script, with these environment variables besides."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=os.environ | variables | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def run_block(language, code, folder, **variables):
    """What became of one block."""
    script = code if language == "sh" else f"python - <<'END_OF_BLOCK'\n{code}END_OF_BLOCK\n"
    return bash(script, folder, **variables)
