"""One network in several frameworks, with the same weights: the stores agree layer by layer, through their axis names.

A framework is a file ``same_in_NAME.py`` with functions that build the networks from the weights of ``same_network``,
and an entry in each table below, which says what it calls every layer.
"""

import numpy as np
import pytest
from frameworks import same_in_keras, same_in_linen, same_in_nnx, same_in_onnx, same_in_torch
from frameworks.same_network import Network, convnet_weights, images, sentences, transformer_weights

import actstore


def themselves(*names, **others):
    return {name: name for name in names} | others


def channels_first(inputs):
    return np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))


CONV_LAYERS = themselves("conv1", "relu1", "pool", "conv2", "relu2", "dense")
BLOCK_LAYERS = ("norm1", "attention", "norm2", "up", "gelu", "down")
TRANSFORMER_LAYERS = themselves("embed", "block", "norm", **{name: f"block.{name}" for name in BLOCK_LAYERS})
CONVNETS = {
    "torch": Network(same_in_torch.convnet, CONV_LAYERS, channels_first),
    "flax linen": Network(same_in_linen.convnet, CONV_LAYERS),
    "flax nnx": Network(same_in_nnx.convnet, CONV_LAYERS),
    "keras": Network(same_in_keras.convnet, CONV_LAYERS),
    "onnx": Network(same_in_onnx.convnet, CONV_LAYERS, channels_first),
}
TRANSFORMERS = {
    "torch": Network(same_in_torch.transformer, TRANSFORMER_LAYERS),
    "flax linen": Network(same_in_linen.transformer, TRANSFORMER_LAYERS),
    "flax nnx": Network(same_in_nnx.transformer, TRANSFORMER_LAYERS),
    "keras": Network(same_in_keras.transformer, TRANSFORMER_LAYERS),
    "onnx": Network(same_in_onnx.transformer, TRANSFORMER_LAYERS),
}


def stored(network, weights, inputs, path):
    """Each layer by the name that all frameworks have for it, with channels or features last, and its other axes."""
    model = network.build(weights)
    with actstore.create(path, layers=list(network.layers.values())) as recording:
        recording.dump(model, network.inputs(inputs))
    with actstore.open(path) as store:
        return {
            name: by_axes(store.layers[own][:], store.layers[own].axes) for name, own in network.layers.items()
        }


def by_axes(rows, axes):
    """Rows with channels or features last, and the names of the axes in this order."""
    last = next(index for index, axis in enumerate(axes) if axis in ("channel", "feature"))
    names = (*axes[:last], *axes[last + 1 :], axes[last])
    return np.moveaxis(rows, 1 + last, -1), names


CASES = [
    pytest.param(networks, framework, weights, inputs, id=f"{kind}-{framework}")
    for kind, networks, weights, inputs in (
        ("convnet", CONVNETS, convnet_weights, images),
        ("transformer", TRANSFORMERS, transformer_weights, sentences),
    )
    for framework in networks
    if framework != "torch"
]


@pytest.mark.parametrize(("networks", "framework", "weights", "inputs"), CASES)
def test_a_network_gives_the_layers_that_it_gives_in_torch(tmp_path, networks, framework, weights, inputs):
    expected = stored(networks["torch"], weights(), inputs(), tmp_path / "torch.h5")
    found = stored(networks[framework], weights(), inputs(), tmp_path / "other.h5")
    assert list(found) == list(expected)
    for name, (rows, axes) in expected.items():
        own, own_axes = found[name]
        assert (own_axes, own.dtype) == (axes, np.float32), name
        assert np.ptp(rows) > 0.1, name
        # Sums of up to 96 float32 products of order 1, in another order: 96 * 2**-24, about 6e-6.
        np.testing.assert_allclose(own, rows, rtol=1e-5, atol=1e-5, err_msg=name)
