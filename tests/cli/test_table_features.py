"""Tables as features: which columns were taken is said, and what only numbers the rows is left out."""

import numpy as np


def test_fit_and_dump_say_which_columns_are_the_features(run, folder):
    generator = np.random.default_rng(0)
    lines = [f"{row},{generator.normal():.4f},{generator.normal():.4f},{row % 2}" for row in range(40)]
    (folder / "t.csv").write_text("\n".join(["row,a,b,y", *lines]) + "\n")
    (folder / "m.py").write_text("def run(x):\n    return {'h': x}\n")
    used = "features of t.csv: 2 columns, 'a', 'b'\n"
    left = "warning: t.csv: 'row' only numbers the rows, and is left out of the features"
    result = run("probe fit t.csv --target y=t.csv:y --C 1 -o p.h5")
    assert used in result.stderr
    assert left in result.stderr
    result = run("actstore dump m.py:run --data t.csv --target y=t.csv:y --layers h -o s.acts")
    assert used in result.stderr
    assert left in result.stderr
    result = run("probe fit t.csv:row,a --target y=t.csv:y --C 1 --overwrite -o p.h5")
    assert result.stderr.startswith("features of t.csv: 2 columns, 'row', 'a'\n")
    assert left not in result.stderr
