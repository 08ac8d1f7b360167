"""Networks that people use, small and at random weights: what has a row per example or token, and what seems to."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import DumpError, LayerError
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData
from actstore.sources.python import from_object

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: make test-frameworks")
nn = torch.nn
SIZES = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "intermediate_size": 28,
    "pad_token_id": 0,
}
RNG = np.random.default_rng(0)


def made(model, config, **sizes):
    torch.manual_seed(0)
    return getattr(transformers, model)(getattr(transformers, config)(**sizes)).eval()


def batch(*lengths):
    """Token ids padded on the right, with their mask."""
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": RNG.integers(4, 40, mask.shape) * mask, "attention_mask": mask}


def run(out, model, inputs, layers, **settings):
    data = [SplitData("", from_object(inputs, "inputs"))]
    out.mkdir(exist_ok=True)
    with dump(model, data, out / "run.acts", DumpSettings(layers, **settings)) as store:
        return {name: layer[:] for name, layer in store.layers.items()}, store.provenance.get("passed_over", {})


def described(model, inputs):
    return {layer.name: layer for layer in adapt(model).layers(inputs)}


# A length that happens to be the batch size


class Positions(nn.Module):
    """Embeddings of tokens and of positions, as a small GPT has them."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places, self.mix = nn.Embedding(50, 8), nn.Embedding(64, 8), nn.Linear(8, 8)
        self.steps = nn.LSTM(8, 8)

    def forward(self, ids):
        hidden = self.mix(self.tokens(ids) + self.places(torch.arange(ids.shape[1])))
        return self.steps(hidden.swapaxes(0, 1))[0].swapaxes(0, 1)


def test_embeddings_of_positions_and_a_recurrent_layer_that_is_sequence_first(tmp_path):
    ids = RNG.integers(0, 50, (24, 12))
    found, notes = run(tmp_path, Positions(), ids, ("**",), batch_size=12)
    assert list(found) == ["tokens", "mix"]
    assert list(notes) == ["places", "steps"]
    assert notes["steps"].endswith(
        "(12, 2, 8) for 2 rows and (12, 3, 8) for 3, the rows along axis 1 (--batch-axis 'steps=1')"
    )
    with pytest.raises(LayerError, match="layer 'places' cannot be stored: no row per example"):
        run(tmp_path / "no", Positions(), ids, ("places",), batch_size=12)


def test_xlnet_works_sequence_first_and_is_refused(tmp_path):
    model = made("XLNetModel", "XLNetConfig", vocab_size=40, d_model=24, n_layer=2, n_head=2, d_inner=28)
    batches = [batch(*[12] * 12) for _ in range(2)]
    with pytest.raises(LayerError, match=r"'layer\.0' cannot be stored: no row per example: .* along axis 1"):
        run(tmp_path, model, batches, ("layer.*",), row="token")


def test_windows_of_swin_are_no_rows():
    model = made(
        "SwinModel",
        "SwinConfig",
        image_size=32,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
    )
    found = described(model, RNG.random((4, 3, 32, 32)).astype(np.float32))
    (inside,) = [
        layer
        for name, layer in found.items()
        if name.startswith("encoder.layers.0") and name.endswith("q_proj")
    ]
    assert inside.shape is None
    assert "4 to each row (windows" in inside.note
    assert found["encoder.layers.0.blocks.0"].axes == ("position", "feature")


def test_weights_that_a_parametrization_makes_are_never_layers(tmp_path):
    convolutions = {
        "conv_dim": (8, 8),
        "conv_stride": (5, 2),
        "conv_kernel": (10, 3),
        "num_feat_extract_layers": 2,
    }
    position = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "num_attention_heads": 3}
    model = made("Wav2Vec2Model", "Wav2Vec2Config", **SIZES, **convolutions, **position)
    sounds = RNG.normal(size=(48, 400)).astype(np.float32)
    layers = described(model, sounds)
    assert not any("parametrizations" in name for name in layers)
    assert layers["encoder.layers.1"].axes == ("position", "feature")
    assert layers["feature_extractor.conv_layers.0.conv"].axes == ("channel", "position")
    found, _ = run(tmp_path, model, sounds, ("encoder.layers.*",), batch_size=24)
    assert found["encoder.layers.0"].shape == (48, 39, 24)


def test_rotary_embeddings_that_are_as_many_as_the_images(tmp_path):
    sizes = {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 24,
        "intermediate_size": 28,
        "num_attention_heads": 2,
    }
    model = made("DINOv3ViTModel", "DINOv3ViTConfig", **sizes, num_hidden_layers=1)
    images = RNG.random((16, 3, 32, 32)).astype(np.float32)
    found, notes = run(tmp_path, model, images, ("**",), batch_size=16)
    assert "rope_embeddings" not in found
    assert "whatever the rows" in notes["rope_embeddings"]


@pytest.mark.filterwarnings("ignore:self-check. layer .* rounding .a router that gives its experts")
def test_routers_of_experts_are_passed_over(tmp_path):
    heads = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    model = made("MixtralModel", "MixtralConfig", **SIZES, **heads)
    pooled = ReductionSettings(("last",))
    found, notes = run(tmp_path, model, [batch(4, 4, 3, 4)], ("**",), reductions=pooled)
    assert found["layers.0.mlp"].shape == (4, 24)
    assert "4 to each row" in notes["layers.0.mlp.gate"]


# What is a token


def test_heads_are_no_tokens(tmp_path):
    model = made(
        "BloomModel", "BloomConfig", vocab_size=40, hidden_size=24, n_layer=1, n_head=4, pad_token_id=0
    )
    ids = batch(4, 4, 4, 3, 4, 2)
    found, notes = run(tmp_path, model, [ids], ("**",), row="token")
    assert list(notes) == ["h.0.self_attention.attention_dropout"]
    with torch.no_grad():
        hidden = model(**{name: torch.from_numpy(array) for name, array in ids.items()}).last_hidden_state
    # Products of batches of other widths are added in another order.
    np.testing.assert_allclose(found["ln_f"], hidden[torch.from_numpy(ids["attention_mask"]) == 1], atol=1e-5)
    with pytest.raises(LayerError, match=r"\(axis0, position, position\) per example, 2 axes of positions"):
        run(tmp_path / "no", model, [ids], ("h.0.self_attention.attention_dropout",), row="token")


def test_channels_and_lines_of_a_picture_are_no_tokens(tmp_path):
    model = made("ConvNextModel", "ConvNextConfig", depths=[1, 1], hidden_sizes=[8, 12], num_stages=2)
    images = RNG.random((6, 3, 32, 32)).astype(np.float32)
    layers = described(model, images)
    assert layers["encoder.stages.1"].axes == ("channel", "height", "width")
    assert layers["encoder.stages.0.layers.0.layernorm"].axes == ("height", "width", "channel")
    with pytest.raises(
        LayerError, match=r"\(channel, height, width\) per example, no axis that is known to hold"
    ):
        run(tmp_path, model, images, ("encoder.stages.1",), row="token")


class Transposing(nn.Module):
    """An activation of channels last, after a convolution of channels first."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.act = nn.Conv1d(3, channels, 3, padding=1), nn.GELU()

    def forward(self, x):
        return self.act(self.conv(x).swapaxes(1, 2))


@pytest.mark.parametrize("channels", [8, 16])
def test_names_are_not_handed_on_by_an_equal_shape(tmp_path, channels):
    sounds = RNG.normal(size=(6, 3, 16)).astype(np.float32)
    torch.manual_seed(0)
    model = Transposing(channels)
    assert described(model, sounds)["act"].axes == ("position", "channel" if channels == 0 else "feature")
    found, _ = run(tmp_path, model, sounds, ("conv", "act"), reductions=ReductionSettings(("mean",)))
    with torch.no_grad():
        conv = model.conv(torch.from_numpy(sounds))
    np.testing.assert_allclose(found["conv"], conv.mean(2), atol=1e-6)
    np.testing.assert_allclose(found["act"], nn.functional.gelu(conv).mean(2), atol=1e-6)


def test_a_subclass_that_permutes_is_not_named_by_its_base():
    class Last(nn.Conv2d):
        def forward(self, x):
            return super().forward(x).permute(0, 2, 3, 1)

    found = described(nn.Sequential(Last(3, 4, 3)), RNG.random((2, 3, 9, 8)).astype(np.float32))
    assert found["0"].axes == ("height", "width", "channel")


# Padding


@pytest.mark.parametrize("kind", ["FNet", "ConvBert"])
def test_models_that_see_their_padding_are_told_so_though_the_first_batch_has_none(tmp_path, kind):
    more = {"embedding_size": 24, "head_ratio": 1, "num_attention_heads": 4, "conv_kernel_size": 3}
    sizes = {**SIZES, "initializer_range": 0.2, **(more if kind == "ConvBert" else {})}
    model = made(f"{kind}Model", f"{kind}Config", **sizes)
    batches = [batch(*[3] * 8), batch(4, 4, 4, 5, 5, 6, 7, 9)]
    pooled = ReductionSettings(("last",))
    with pytest.raises(DumpError, match=r"gives row '8' other values alone .*: the model sees its padding"):
        run(tmp_path, model, batches, ("encoder.layer.*",), reductions=pooled)


def test_a_model_that_respects_its_mask_passes(tmp_path):
    model = made("BertModel", "BertConfig", **SIZES, num_attention_heads=2)
    batches = [batch(*[3] * 8), batch(4, 4, 4, 5, 5, 6, 7, 9)]
    found, _ = run(tmp_path, model, batches, ("encoder.layer.*",), reductions=ReductionSettings(("last",)))
    assert found["encoder.layer.1"].shape == (16, 24)


def test_padding_is_refused_before_the_first_row(tmp_path):
    model = made("BertModel", "BertConfig", **SIZES, num_attention_heads=2)
    with pytest.raises(LayerError, match=r"choose --pool last or --pool mean .*, or --row token"):
        run(tmp_path, model, [batch(3, 9)], ("encoder.layer.*",))
    assert not (tmp_path / "run.acts").exists()


# What cannot be described or hashed


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def forward(self, ids):
        return self.encoder(self.embedding(ids), src_key_padding_mask=ids == 0).mean(1)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_module_that_can_not_be_described_is_a_note(tmp_path):
    ids = (RNG.integers(1, 30, (40, 9)) * (np.arange(9) < RNG.integers(3, 10, 40)[:, None])).astype(np.int64)
    model = Nested().eval()
    note = described(model, ids)["encoder.layers.0"].note
    assert "cannot be described" in note or "nested tensor" in note
    found, _ = run(tmp_path, model, ids, ("embedding",))
    assert found["embedding"].shape == (40, 9, 16)


class Sparse(nn.Module):
    def __init__(self, layout):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("graph", getattr(torch.eye(6), f"to_sparse{layout}")())
        self.out = nn.Identity()

    def forward(self, x):
        self.out(torch.eye(len(x)).to_sparse())
        return self.linear(x)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("layout", ["", "_csr"])
def test_sparse_weights_are_hashed_and_a_sparse_output_is_a_note(tmp_path, layout):
    model = Sparse(layout)
    before = adapt(model).provenance()["weights"]
    assert before.startswith("xxh3_128:")
    assert "sparse" in described(model, np.zeros((3, 8), np.float32))["out"].note
    found, _ = run(tmp_path, model, RNG.normal(size=(5, 8)).astype(np.float32), ("linear",))
    assert found["linear"].shape == (5, 8)
    model.graph = 2 * torch.eye(6).to_sparse()
    assert adapt(model).provenance()["weights"] != before


def test_weights_that_are_not_there_are_not_seen():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    found = adapt(model).provenance()
    assert found["weights"] == "not seen"
    assert found["reason"].startswith("1.weight: ")


# Other frameworks: a length that is the batch size


def test_flax_modules_whose_first_axis_is_a_length():
    pytest.importorskip("flax", reason="flax is not installed: make test-frameworks")
    import jax
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self):
            self.tokens, self.places = (nnx.Embed(50, 4, rngs=nnx.Rngs(seed)) for seed in (0, 1))
            self.mix = nnx.Linear(4, 4, rngs=nnx.Rngs(2))

        def __call__(self, ids):
            return self.mix(self.tokens(ids) + self.places(jax.numpy.arange(ids.shape[1])))

    found = described(Net(), RNG.integers(0, 50, (12, 12)))
    assert (found["tokens"].axes, found["mix"].axes) == (("position", "feature"),) * 2
    assert found["places"].shape is None


def test_keras_layers_whose_first_axis_is_a_length():
    pytest.importorskip(
        "frameworks.keras_networks", reason="no backend of Keras is installed: make test-frameworks"
    )
    import keras

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.tokens, self.places = keras.layers.Embedding(50, 4), keras.layers.Embedding(64, 4)
            self.mix = keras.layers.Dense(4)

        def call(self, ids):
            return self.mix(self.tokens(ids) + self.places(keras.ops.arange(ids.shape[1])))

    model = Net()
    model(np.zeros((2, 12), np.int64))
    found = described(model, RNG.integers(0, 50, (12, 12)))
    assert (found["tokens"].axes, found["mix"].axes) == (("position", "feature"),) * 2
    assert found["places"].shape is None


def test_jitted_functions_whose_first_axis_is_a_length():
    jax = pytest.importorskip("jax", reason="jax is not installed: make test-frameworks")
    table = jax.numpy.asarray(RNG.normal(size=(64, 4)))

    @jax.jit
    def model(params, ids):
        return {"tokens": params[ids], "places": params[: ids.shape[1]]}

    found = described((model, table), RNG.integers(0, 50, (12, 12)))
    assert found["tokens"].axes == ("position", "feature")
    assert found["places"].shape is None


# How long a text may be


@pytest.mark.parametrize(
    ("model", "config", "sizes", "limit"),
    [
        (
            "XLNetModel",
            "XLNetConfig",
            {"vocab_size": 40, "d_model": 24, "n_layer": 1, "n_head": 2, "d_inner": 28},
            None,
        ),
        ("BertModel", "BertConfig", {**SIZES, "num_attention_heads": 2, "max_position_embeddings": 12}, 12),
        ("BloomModel", "BloomConfig", {"vocab_size": 40, "hidden_size": 24, "n_layer": 1, "n_head": 4}, None),
        (
            "T5EncoderModel",
            "T5Config",
            {"vocab_size": 40, "d_model": 24, "d_kv": 6, "d_ff": 28, "num_layers": 1},
            None,
        ),
        ("LlamaModel", "LlamaConfig", {**SIZES, "num_attention_heads": 2, "max_position_embeddings": 16}, 16),
    ],
)
def test_a_number_in_a_configuration_is_a_limit_only_where_there_is_a_table_or_a_rotation(
    model, config, sizes, limit
):
    from actstore.adapters.for_hf.text import _position_limit

    assert _position_limit(made(model, config, **sizes)) == limit


class Mixer(nn.Module):
    """Mixes over a fixed number of positions, and then over features."""

    def __init__(self):
        super().__init__()
        self.positions, self.features = nn.Linear(7, 7), nn.Linear(4, 4)

    def forward(self, x):
        return self.features(self.positions(x.transpose(1, 2)).transpose(1, 2))


def test_an_axis_that_a_model_goes_on_with_for_a_while_is_no_position():
    found = described(Mixer(), RNG.normal(size=(3, 7, 4)).astype(np.float32))
    assert found["input"].axes == ("axis0", "axis1")
    assert found["positions"].axes == ("axis0", "feature")
    assert found["output"].axes == ("position", "feature")


def test_patches_of_a_model_of_one_size_are_named_by_their_classes():
    sizes = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "intermediate_size": 32}
    model = made("ViTModel", "ViTConfig", **sizes, num_hidden_layers=1, num_attention_heads=2)
    found = described(model, RNG.random((3, 3, 16, 16)).astype(np.float32))
    assert {found[name].axes for name in ("embeddings", "layers.0", "layernorm")} == {("position", "feature")}
