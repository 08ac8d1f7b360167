"""Architectures of transformers, small and random from their configurations: every layer, against the library itself.

Each module's output is compared, bit for bit, with what a hook of the test's own sees in one pass of the whole batch;
and the hidden states that the library gives are found among the layers.
"""

from __future__ import annotations

import numpy as np
import pytest

import actstore

reason = "torch or transformers is not installed: make test-frameworks"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)

ROWS, LENGTH = 4, 6
RNG = np.random.default_rng(0)
SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": 0,
}
PLAIN = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2}
ROTARY = {**SMALL, "num_key_value_heads": 1, "head_dim": 8}
IMAGE = {**SMALL, "image_size": 32, "patch_size": 8}
IDS = {"input_ids": RNG.integers(4, 40, (ROWS, LENGTH)), "attention_mask": np.ones((ROWS, LENGTH), np.int64)}
PIXELS = {"pixel_values": RNG.random((ROWS, 3, 32, 32)).astype(np.float32)}
SOUNDS = {"input_values": RNG.normal(size=(ROWS, 400)).astype(np.float32)}
SPOKEN = {"input_features": RNG.normal(size=(ROWS, 8, 20)).astype(np.float32)}
CONVS = {"conv_dim": (8, 8), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2}

ARCHITECTURES = {
    "Albert": ({**SMALL, "embedding_size": 8}, IDS),
    "DistilBert": ({"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}, IDS),
    "Electra": ({**SMALL, "embedding_size": 8}, IDS),
    "DebertaV2": ({**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, IDS),
    "MPNet": (SMALL, IDS),
    "Ernie": (SMALL, IDS),
    "ModernBert": ({**SMALL, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}, IDS),
    "OPT": ({**PLAIN, "num_attention_heads": 2, "ffn_dim": 24, "word_embed_proj_dim": 16}, IDS),
    "GPTNeoX": (SMALL, IDS),
    "Mistral": (ROTARY, IDS),
    "Qwen2": (ROTARY, IDS),
    "Gemma2": (ROTARY, IDS),
    "Phi": (SMALL, IDS),
    "Falcon": ({**PLAIN, "num_attention_heads": 2}, IDS),
    "Mamba": ({**PLAIN, "state_size": 4}, IDS),
    "Olmo2": (ROTARY, IDS),
    "DeiT": (IMAGE, PIXELS),
    "Beit": (IMAGE, PIXELS),
    "Dinov2": (IMAGE, PIXELS),
    "ResNet": ({"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}, PIXELS),
    "ConvNextV2": ({"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}, PIXELS),
    "Swinv2": (
        {
            "image_size": 32,
            "patch_size": 4,
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [2, 2],
            "window_size": 4,
        },
        PIXELS,
    ),
    "RegNet": ({"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "groups_width": 4}, PIXELS),
    "MobileNetV2": ({"depth_multiplier": 0.35, "image_size": 32}, PIXELS),
    "CLIPVision": (IMAGE, PIXELS),
    "SiglipVision": (IMAGE, PIXELS),
    "Hubert": ({**SMALL, **CONVS, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}, SOUNDS),
}


def made(name):
    torch.manual_seed(0)
    settings, inputs = ARCHITECTURES[name]
    config = getattr(transformers, f"{name}Config")(**settings)
    return getattr(transformers, f"{name}Model")(config).eval(), inputs


def by_hooks(model, inputs):
    """Every call of every module by the name that a dump gives it; and the hidden states of the library."""
    seen, calls, handles = {}, {}, []

    def hook(name):
        def see(_module, _inputs, output):
            index = calls[name] = calls.get(name, -1) + 1
            tensor = tensor_in(output)  # a copy: ResNet adds to what its normalisation gave, in place
            seen[f"{name}#{index}" if index else name] = None if tensor is None else tensor.clone()

        return see

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name]
    with torch.no_grad():
        out = model(
            **{name: torch.from_numpy(array) for name, array in inputs.items()}, output_hidden_states=True
        )
    for handle in handles:
        handle.remove()
    states = getattr(out, "hidden_states", None) or ()
    return seen, [state.numpy() for state in states]


def tensor_in(output):
    """What a dump takes of an output: the tensor, or the first of several."""
    if isinstance(output, torch.Tensor):
        return output
    values = list(output.values()) if hasattr(output, "values") else list(output or ())
    return next((value for value in values if isinstance(value, torch.Tensor)), None)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_layer_is_what_the_library_gives(tmp_path, name):
    model, inputs = made(name)
    seen, states = by_hooks(model, inputs)
    with actstore.dump(model, [(inputs, None)], tmp_path / "s.acts", "**") as store:
        layers = {layer: rows[:] for layer, rows in store.layers.items()}
        passed_over = store.provenance.get("passed_over", {})
    assert len(layers) > 8
    for layer, rows in layers.items():
        expected = seen[layer].numpy()
        assert expected.shape == rows.shape, layer
        np.testing.assert_array_equal(rows, expected, err_msg=layer)
    for layer, note in passed_over.items():
        assert note, layer
    assert states
    found = [any(np.array_equal(rows, state) for rows in layers.values()) for state in states]
    assert sum(found) >= len(found) - 1, (
        found
    )  # the last may be normalised outside of any module, or not be one's
