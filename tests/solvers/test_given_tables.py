"""Features that are no numbers, and several layers where one is expected: the message says which, and how."""

import numpy as np
import pytest

import solvers
from solvers import ProblemError

Y = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [1.0, 2, 3, 4], "name": list("xyzw")}, r"because of the column 'name' \("),
        ({"t": np.array([1, 2, 3, 4], "M8[ns]")}, r"because of the column 't' \(datetime64\[ns\]\)"),
        ({**{name: list("xyzw") for name in "abcde"}, "f": [1, 2, 3, 4]}, r"the columns 'a' .* and 2 more"),
        ({"n": "Int64", "m": [1, 2, 3, 4]}, r"because of the column 'n' \(Int64 with missing values\)"),
    ],
)
@pytest.mark.parametrize("door", ["fit", "fit_layers", "by name"])
def test_a_table_s_columns_that_are_no_numbers_are_named(columns, said, door):
    pandas = pytest.importorskip("pandas")
    if "n" in columns:
        columns = {**columns, "n": pandas.array([1, None, 3, 4], dtype="Int64")}
    table = pandas.DataFrame(columns)
    fit = solvers.fit if door == "fit" else solvers.fit_layers
    with pytest.raises(ProblemError, match=said) as caught:
        fit({"own": table} if door == "by name" else table, Y, C=1.0)
    assert "\n" not in str(caught.value)
    assert "leave that out, or convert it to float32" in str(caught.value)


@pytest.mark.parametrize("several", [{"fc1": np.eye(4)}, [np.ones((4, 2)), np.ones((4, 3))]])
def test_several_layers_where_one_is_expected_are_told_how(several):
    with pytest.raises(ProblemError, match=r"solvers\.fit_layers"):
        solvers.fit(several, Y, C=1.0)


def test_an_array_of_no_numbers_is_told_its_dtype_alone():
    with pytest.raises(ProblemError, match="dtype <U1; expected real numbers: convert them to float32"):
        solvers.fit(np.array([["a"], ["b"], ["c"], ["d"]]), Y, C=1.0)
