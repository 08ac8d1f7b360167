"""A file per request, as vLLM's connector for hidden states writes it: a row per token, the request its group."""

import numpy as np
import pytest

from actstore.errors import SourceError
from actstore.exchange import ImportSettings, import_files
from actstore.formats import safetensors

RNG = np.random.default_rng(0)


def request(path, tokens, layers=3, width=4, dtype="float32"):
    """Writes a request; gives its states and its tokens."""
    kind = np.uint16 if dtype == "bfloat16" else dtype
    states = RNG.integers(0, 100, (tokens, layers, width)).astype(kind)
    ids = RNG.integers(0, 50, tokens)
    header = safetensors.write_header(
        {"hidden_states": (dtype, states.shape), "token_ids": ("int64", ids.shape)}, {"by": "a test"}
    )
    path.write_bytes(header + states.tobytes() + ids.tobytes())
    return states, ids


def test_tokens_are_rows_and_requests_groups(tmp_path):
    made = {
        name: request(tmp_path / f"{name}.safetensors", tokens)
        for name, tokens in (("cmpl-b", 3), ("cmpl-a", 2))
    }
    specs = [f"{tmp_path}/{name}.safetensors" for name in made]
    with import_files([f"train={specs[0]}", f"train={specs[1]}"], tmp_path / "o.acts") as store:
        assert store.row_unit == "token"
        assert [*store.layers] == ["layer.0", "layer.1", "layer.2"]
        assert store.ids.tolist() == [
            *(f"train/cmpl-b/{n}" for n in range(3)),
            *(f"train/cmpl-a/{n}" for n in range(2)),
        ]
        assert store.groups.tolist() == ["train/cmpl-b"] * 3 + ["train/cmpl-a"] * 2
        assert store.positions.tolist() == [0, 1, 2, 0, 1]
        assert store.targets["token_id"].tolist() == [*made["cmpl-b"][1], *made["cmpl-a"][1]]
        states = np.concatenate([made["cmpl-b"][0], made["cmpl-a"][0]])
        for number in range(3):
            np.testing.assert_array_equal(store.layers[f"layer.{number}"][:], states[:, number])


def test_bfloat16_keeps_its_bits_and_long_requests_come_in_parts(tmp_path, monkeypatch):
    states, _ = request(tmp_path / "r.safetensors", 40, dtype="bfloat16")
    monkeypatch.setattr("actstore.exchange.run.BATCH_BYTES", 100)
    with import_files([f"{tmp_path}/r.safetensors"], tmp_path / "o.acts") as store:
        wide = (states.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_array_equal(store.layers["layer.1"][:], wide[:, 1])
        assert store.layers["layer.1"].stored_dtype == "bfloat16"
        assert store.positions.tolist() == [*range(40)]


def test_the_states_alone_are_an_array_like_any_other(tmp_path):
    states, _ = request(tmp_path / "r.safetensors", 5)
    with import_files([f"{tmp_path}/r.safetensors:hidden_states"], tmp_path / "o.acts") as store:
        assert store.row_unit == "example"
        np.testing.assert_array_equal(store.layers["hidden_states"][:], states)


def test_what_does_not_fit_together_is_refused(tmp_path):
    header = safetensors.write_header({"hidden_states": ("float32", (2, 3)), "token_ids": ("int64", (2,))}, {})
    (tmp_path / "r.safetensors").write_bytes(header + bytes(24) + bytes(16))
    with pytest.raises(
        SourceError, match=r"hidden_states of shape \(2, 3\) and token_ids of int64 \(2,\); expected"
    ):
        import_files([f"{tmp_path}/r.safetensors"], tmp_path / "o.acts")
    request(tmp_path / "a.safetensors", 2)
    request(tmp_path / "b.safetensors", 2, layers=2)
    with pytest.raises(SourceError, match="expected the same layers"):
        import_files([f"{tmp_path}/a.safetensors", f"{tmp_path}/b.safetensors"], tmp_path / "o.acts")
    with pytest.raises(SourceError, match="is the hidden states of a request"):
        import_files([f"{tmp_path}/a.safetensors"], tmp_path / "o.acts", ImportSettings(layer="x"))
    request(tmp_path / "none.safetensors", 0)
    with pytest.raises(SourceError, match="has no tokens"):
        import_files([f"{tmp_path}/none.safetensors"], tmp_path / "o.acts")
