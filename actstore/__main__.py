"""`python -m actstore`: the program that is installed under that name.

The library does not know the command line (docs/architecture.md), so it starts the program by the entry point that the
installation registered, as a shell would; `python -m solvers` starts `probe` the same way.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution


def main() -> None:
    """Run the program; exit 1, with a line, where the package was never installed."""
    try:
        found = [*distribution("actstore").entry_points.select(group="console_scripts", name="actstore")]
    except PackageNotFoundError:
        found = []
    if not found:
        sys.exit("Error: no installed package has the program actstore; install this one (pip install .)")
    found[0].load()()


if __name__ == "__main__":
    main()
