"""Rows of tokens from a small transformer in torch."""

import numpy as np
import pytest

import actstore
from actstore.dumping.dump import DumpSettings, dump
from actstore.reductions import ReductionSettings
from actstore.reductions.arrays import ArrayOperations, Bits
from actstore.sources import SplitData
from actstore.sources.python import from_object

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn


class Transformer(nn.Module):
    """Embeddings and two encoder layers; ``pooler`` takes the first position."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embeddings = nn.Embedding(20, 8)
        self.layer = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.pooler = nn.Linear(8, 8)

    def forward(self, input_ids, attention_mask):
        hidden = self.embeddings(input_ids)
        for layer in self.layer:
            hidden = layer(hidden, src_key_padding_mask=attention_mask == 0)
        return self.pooler(hidden[:, 0])


def batches(size=4):
    rng = np.random.default_rng(0)
    examples = [rng.integers(1, 20, size=rng.integers(1, 7)) for _ in range(10)]
    for start in range(0, len(examples), size):
        chosen = examples[start : start + size]
        mask = (np.arange(max(map(len, chosen))) < np.array([[len(tokens)] for tokens in chosen])).astype(
            np.int64
        )
        ids = np.zeros_like(mask)
        ids[mask == 1] = np.concatenate(chosen)
        yield {"input_ids": ids, "attention_mask": mask}, np.arange(start, start + len(chosen))


def dumped(path, size=4, **settings):
    data = [SplitData("train", from_object(list(batches(size)), "batches", "example"))]
    return dump(Transformer(), data, path, DumpSettings(("embeddings", "layer.*"), row="token", **settings))


def test_tokens_are_those_of_the_whole_batches(tmp_path):
    with dumped(tmp_path / "run.acts") as store:
        assert list(store.layers) == ["embeddings", "layer.0", "layer.1"]
        assert {layer.axes for layer in store.layers.values()} == {("feature",)}
        found = store.layers["layer.1"][:]
        model, expected = Transformer().eval(), []
        for inputs, _ in batches():
            tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
            # Both layers: torch computes a layer without hooks by another kernel.
            with torch.no_grad(), actstore.capture(model, ["layer.*"]) as activations:
                model(**tensors)
            expected.append(activations["layer.1"][inputs["attention_mask"] == 1])
        np.testing.assert_array_equal(found, np.concatenate(expected))
        assert store.targets["example"].tolist() == [int(group.split("/")[1]) for group in store.groups]


def test_batches_do_not_matter(tmp_path):
    with dumped(tmp_path / "a.acts") as some, dumped(tmp_path / "b.acts", size=10) as all_at_once:
        assert some.ids.tolist() == all_at_once.ids.tolist()
        # Attention over more padding sums the same numbers in another order.
        np.testing.assert_allclose(
            some.layers["layer.1"][:], all_at_once.layers["layer.1"][:], rtol=1e-5, atol=1e-6
        )


def test_a_sample_and_reductions_are_those_of_the_whole(tmp_path):
    with dumped(tmp_path / "a.acts") as whole:
        rows, values = whole.ids.tolist(), whole.layers["layer.0"][:]
    settings = ReductionSettings(random_features=3, dtype="float16")
    with dumped(tmp_path / "b.acts", sample=0.5, reductions=settings) as store:
        (step, _) = [
            s for s in store.provenance["reductions"]["layers"]["layer.0"]["steps"] if s["step"] != "rows"
        ]
        kept = [rows.index(row) for row in store.ids]
        assert 0 < len(kept) < len(rows)
        expected = values[kept][:, step["indices"]].astype(np.float16)
        np.testing.assert_array_equal(store.layers["layer.0"][:], expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "bool"])
@pytest.mark.parametrize("kind", ["mean", "max"])
def test_torch_joins_as_numpy_does(dtype, kind):
    from actstore.adapters.for_torch.operations import TensorOperations

    if (dtype, kind) == ("bool", "mean"):
        dtype = "uint8"
    rng = np.random.default_rng(0)
    tensor = torch.from_numpy(rng.normal(size=(20, 3, 2)) * 10).to(getattr(torch, dtype))
    counts = np.array([1, 4, 2, 1, 9, 3])
    found = TensorOperations().joined(tensor, counts, kind)
    bits = tensor.view(torch.int16).numpy().view(np.uint16) if dtype == "bfloat16" else tensor.numpy()
    expected = ArrayOperations().joined(Bits(bits, dtype), counts, kind)
    assert str(found.dtype) == f"torch.{expected.dtype}"
    values = found.view(torch.int16).numpy().view(np.uint16) if expected.dtype == "bfloat16" else found.numpy()
    # Sums of at most 9 numbers of order 10: in float32 one by one, against float64.
    np.testing.assert_allclose(values, expected.array, rtol=1e-6, atol=1e-5 if kind == "mean" else 0)
    ours, numpys = TensorOperations(), ArrayOperations()
    spread = ours.spread(tensor, 2, np.array([0, 5, 5]), np.array([1, 0, 1]))
    np.testing.assert_array_equal(
        spread.float(),
        numpys.spread(
            Bits(tensor.float().numpy(), "float32"), 2, np.array([0, 5, 5]), np.array([1, 0, 1])
        ).array,
    )
