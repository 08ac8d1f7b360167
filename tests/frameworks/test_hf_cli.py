"""`hf:FOLDER` from the command line: layers, word vectors, probes, and a mistake in one line."""

import json

import pytest
from click.testing import CliRunner

import actstore

reason = "torch or transformers is not installed: make test-frameworks"
pytest.importorskip("torch", reason=reason)
pytest.importorskip("transformers", reason=reason)

SENTENCES = """
sentences = [["the", "unables", "cat", "sat"], ["a", "dog", "runs"], ["dogs", "sat", "on", "the", "mat"]] * 8
train = [(sentences[start : start + 4], [start] * 4) for start in range(0, 24, 4)]
long = [(["the cat sat on a mat on a mat on a mat"], None)]
"""


@pytest.fixture
def run(tmp_path, monkeypatch, hf_folder):
    """``run("actstore ...")`` in a folder of its own, with HF for the folder of a small BERT."""
    from cli.main import actstore as program
    from cli.main import probe

    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.py").write_text(SENTENCES)

    def call(line, code=0):
        name, *arguments = line.replace("HF", f"hf:{hf_folder('bert')}").split()
        result = CliRunner().invoke({"actstore": program, "probe": probe}[name], arguments)
        assert result.exit_code == code, result.output
        return result

    return call


def test_layers_words_and_probes(run):
    layers = json.loads(run("actstore layers HF --data text.py:train --json").stdout)["layers"]
    shapes = {layer["name"]: (tuple(layer["shape"] or ()), tuple(layer["axes"])) for layer in layers}
    # Of two sentences the longer: [CLS], the, un, ##able, ##s, cat, sat, [SEP].
    assert shapes["encoder.layer.1"] == ((8, 16), ("position", "feature"))
    run(
        "actstore dump HF --data train=text.py:train --row word --layers embeddings --layers encoder.layer.* -o w.acts"
    )
    with actstore.open("w.acts") as store:
        assert (store.row_unit, store.rows) == ("word", 8 * 12)
        assert list(store.layers) == ["embeddings", "encoder.layer.0", "encoder.layer.1"]
        assert len(set(store.groups)) == 24
    run("actstore verify w.acts")
    run("probe fit w.acts --target label --C 0.1 -o p.h5")
    assert len(json.loads(run("probe show p.h5 --json").stdout)["probes"]) == 3


def test_a_text_that_is_too_long_is_one_line(run):
    result = run("actstore dump HF --data test=text.py:long --pool mean --layers embeddings -o w.acts", code=1)
    (line,) = result.stderr.strip().split("\n")
    assert line.startswith("Error: row 'test/0' has 14 tokens, more than the 12 that the model takes")
