"""Adapters and sources of other packages: when they are asked, and what becomes of those that cannot be used."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from actstore import adapters, sources
from actstore.adapters.for_functions import FunctionAdapter
from actstore.errors import SourceError
from actstore.sources import read_labels, split_data
from actstore.sources.arrays import ArraySource


class Greedy(FunctionAdapter):
    """Takes any model whatever."""

    name = "greedy"
    fallback = False

    @staticmethod
    def accepts(model):
        return True


class Another(Greedy):
    name = "another"


class Unfinished(adapters.Adapter):
    """Has not even a name."""


def point(name, load):
    return SimpleNamespace(name=name, value=f"theirs:{name}", load=load if callable(load) else lambda: load)


def fails():
    raise RuntimeError("no licence\nfound")


@pytest.fixture
def registered(monkeypatch):
    """``registered(*points)`` stands for what is installed."""

    def register(*points):
        monkeypatch.setattr("actstore.plugins.entry_points", lambda group: points)
        adapters.adapters.cache_clear()
        sources._modules.cache_clear()

    yield register
    adapters.adapters.cache_clear()
    sources._modules.cache_clear()


def test_ours_are_asked_first_theirs_by_name_and_functions_last(registered):
    registered(point("b", lambda: Greedy), point("a", lambda: Another))
    names = [adapter.name for adapter in adapters.adapters()]
    assert names[-3:] == ["another", "greedy", "function"]
    assert adapters.adapt(StandardScaler().fit(np.eye(2))).name == "scikit-learn"
    assert adapters.adapt(len).name == "another", "a model can be called, too"


def test_a_source_is_asked_after_ours_and_reads_labels_too(registered, tmp_path, monkeypatch):
    theirs = SimpleNamespace(
        FORMS="SEVEN",
        resolve=lambda spec, split: [(split, ArraySource(np.full((2, 1), 7), spec))],
        labels=lambda spec: np.array([7, 7]) if spec == "SEVEN" else None,
    )
    registered(point("seven", theirs))
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((3, 1)))
    ours, seven = split_data(["a=x.npy", "b=SEVEN"], ["b:seven=SEVEN"])
    assert (ours.source.rows, seven.source.rows) == (3, 2)
    assert seven.targets["seven"].tolist() == [7, 7]
    with pytest.raises(SourceError, match=r"labels 'EIGHT' are not understood; expected .*, SEVEN$"):
        read_labels("EIGHT")


def test_those_that_can_not_be_used_are_named_and_left_out(registered, caplog):
    registered(
        point("bad", fails), point("half", lambda: Unfinished), point("good", lambda: Greedy), point("model", 3)
    )
    assert "greedy" in [adapter.name for adapter in adapters.adapters()]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert lines[0].startswith(
        "adapter 'bad' of another package (theirs:bad) is left out: it cannot be loaded: Runtime"
    )
    assert "RuntimeError: no licence found" in lines[0]
    assert "it does not define 'accepts', 'capturing', 'describe', 'provenance'" in lines[1]
    assert "an adapter is a subclass of actstore.adapters.Adapter, not int" in lines[2]
