"""Flax nnx: which layers there are, and that the model is left as it was found."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.errors import AdapterError
from actstore.patterns import select

jax = pytest.importorskip("jax", reason="jax is not installed: make test-frameworks")
nnx = pytest.importorskip("flax.nnx", reason="flax is not installed: make test-frameworks")
jnp = jax.numpy


class Net(nnx.Module):
    """Convolution, batch statistics, dropout, a list of layers, and a layer that is never called."""

    def __init__(self, seed=0):
        rngs = nnx.Rngs(seed)
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.List([nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)])
        self.unused = nnx.Linear(2, 2, rngs=rngs)
        self.seen = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, x):
        self.seen[...] += len(x)
        x = self.drop(nnx.relu(self.norm(self.conv(x))))
        self.sow(nnx.Intermediate, "pooled", x.mean((1, 2)))
        for dense in self.dense:
            x = dense(x)
        return x.mean((1, 2))


def pixels(rows=4):
    return np.random.default_rng(0).normal(size=(rows, 5, 5, 1)).astype(np.float32)


@pytest.fixture
def net():
    return Net()


def run_batches(model, patterns, *batches):
    adapter = adapt(model)
    layers = select(patterns, adapter.layers(batches[0]))
    with adapter.running(layers) as run:
        return [run(batch) for batch in batches]


def test_layers_by_their_paths_in_call_order(net):
    rows = {row.name: row for row in adapt(net).layers(pixels())}
    assert list(rows) == [
        "input", "conv", "norm", "drop", "dense.0", "dense.1", "pooled", "output", "unused",
    ]  # fmt: skip
    pixel = ("height", "width", "channel")
    assert [rows[name].axes for name in ("conv", "norm", "drop", "dense.0", "dense.1")] == [pixel] * 5
    assert (rows["conv"].type, rows["pooled"].type) == ("Conv", "sown value")
    assert rows["unused"].note == "it was not called for this batch"
    assert (rows["output"].explicit, rows["output"].shape) == (True, (3,))


def test_without_data_the_modules_are_known(net):
    rows = adapt(net).layers(None)
    assert {row.name for row in rows} == {
        "conv", "norm", "drop", "dense.0", "dense.1", "unused", "output",
    }  # fmt: skip
    assert all(row.shape is None for row in rows)


def test_values_are_those_of_the_model_in_evaluation_mode(net):
    (found,) = run_batches(net, ["conv", "pooled", "output"], pixels())
    net.eval()
    np.testing.assert_array_equal(found["output"].array, nnx.capture(net, nnx.Intermediate)(pixels())[0])
    np.testing.assert_array_equal(found["conv"].array, net.conv(pixels()))
    assert found["pooled"].array.shape == (4, 4)


def test_the_model_is_left_as_it_was_found(net):
    net.norm.use_running_average = True
    modes = (net.drop.deterministic, net.norm.use_running_average, net.seen[...].item())
    calls = [type(module).__call__ for module in (net, net.conv, net.norm)]
    statistics = np.array(net.norm.mean[...])
    attributes = [sorted(vars(module)) for _, module in nnx.iter_modules(net)]
    run_batches(net, ["**"], pixels(), pixels())
    assert (net.drop.deterministic, net.norm.use_running_average, net.seen[...].item()) == modes
    assert [type(module).__call__ for module in (net, net.conv, net.norm)] == calls
    assert [sorted(vars(module)) for _, module in nnx.iter_modules(net)] == attributes
    np.testing.assert_array_equal(net.norm.mean[...], statistics)


def test_classes_are_restored_after_an_error_in_the_model(net):
    before = nnx.Conv.__call__, Net.__call__
    with pytest.raises(ValueError, match="feature dimension size") as caught:
        run_batches(net, ["**"], pixels()[..., [0, 0]])
    assert caught.value.__notes__ == ["the model was given ndarray float32 (4, 5, 5, 2)"]
    assert (nnx.Conv.__call__, Net.__call__) == before


def test_every_batch_meets_the_model_as_it_was_given():
    class Counting(nnx.Module):
        def __init__(self):
            self.calls = nnx.Variable(np.zeros((), np.float32))

        def __call__(self, x):
            self.calls[...] += 1
            return x * self.calls[...]

    first, second = run_batches(Counting(), ["output"], np.ones((2, 3)), np.ones((2, 3)))
    np.testing.assert_array_equal(first["output"].array, second["output"].array)


def test_a_class_that_calls_its_parent_is_one_layer():
    class Parent(nnx.Module):
        def __call__(self, x):
            return x + 1

    class Child(Parent):
        def __call__(self, x):
            return 2 * super().__call__(x)

    class Both(nnx.Module):
        def __init__(self):
            self.parent, self.child = Parent(), Child()

        def __call__(self, x):
            return self.child(self.parent(x))

    (found,) = run_batches(Both(), ["**"], np.ones((2, 3), np.float32))
    assert {name: layer.array[0, 0] for name, layer in found.items()} == {"parent": 2, "child": 6}


def test_the_weights_hash_leaves_random_streams_out(net):
    weights = adapt(net).provenance()["weights"]
    net.drop(jnp.ones((2, 3)))  # draws
    assert adapt(net).provenance()["weights"] == weights
    net.norm.mean[...] += 1
    assert adapt(net).provenance()["weights"] != weights
    assert adapt(Net(seed=1)).provenance()["weights"] != weights


def test_bfloat16_layers_keep_their_own_bits():
    model = nnx.Linear(3, 2, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    inputs = np.random.default_rng(0).normal(size=(4, 3))
    (found,) = run_batches(model, ["output"], inputs)
    assert (found["output"].dtype, found["output"].array.dtype) == ("bfloat16", np.uint16)
    expected = np.asarray(model(jnp.asarray(inputs, jnp.bfloat16)))
    np.testing.assert_array_equal(found["output"].array, expected.view(np.uint16))


class Scanned(nnx.Module):
    """Four layers that are scanned over, and one after them."""

    def __init__(self):
        @nnx.vmap(in_axes=0, out_axes=0)
        def layers(key):
            return nnx.Linear(3, 3, rngs=nnx.Rngs(key))

        self.blocks = layers(jax.random.split(jax.random.key(0), 4))
        self.last = nnx.Linear(3, 2, rngs=nnx.Rngs(1))

    def __call__(self, x):
        scan = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return self.last(scan(x, self.blocks))


class Recurrent(nnx.Module):
    """A recurrent layer, whose scan cannot carry what its cell sows, between a jitted and a plain layer."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first, self.last = nnx.Linear(3, 3, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.rnn = nnx.RNN(nnx.SimpleCell(3, 4, rngs=rngs))

    def __call__(self, x):
        x = nnx.jit(lambda layer, x: layer(x))(self.first, x)
        return self.last(self.rnn(x[:, None]))


def vectors(rows=4):
    return np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("model", "hidden", "why"),
    [
        (
            Scanned,
            ["blocks"],
            "it is called within a part that is scanned, which gives its 4 steps before the rows",
        ),
        (
            Recurrent,
            ["first", "rnn.cell"],
            "it is called within a part that is jitted or scanned, which hands out its own result alone",
        ),
    ],
)
def test_layers_within_a_scan_are_told_and_those_around_it_are_right(model, hidden, why):
    net = model()
    rows = {row.name: row for row in adapt(net).layers(vectors())}
    assert {name: rows[name].note for name in hidden} == dict.fromkeys(hidden, why)
    (found,) = run_batches(net, ["last"], vectors())
    np.testing.assert_allclose(found["last"].array, net(vectors()), rtol=1e-6, atol=1e-6)  # a scan is compiled


def test_a_model_that_is_jitted_as_a_whole_shows_its_layers():
    class Jitted(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

        @nnx.jit
        def __call__(self, x):
            return 2 * self.dense(x)

    net = Jitted()
    net(vectors())  # compiled before
    for _ in range(2):
        (found,) = run_batches(net, ["dense", "output"], vectors())
        np.testing.assert_array_equal(2 * found["dense"].array, found["output"].array)


def test_a_flax_without_capture_is_told(net, monkeypatch):
    monkeypatch.delattr(nnx, "capture")
    with pytest.raises(
        AdapterError, match=r"needs flax 0\.12\.6 or newer, which has nnx\.capture, but this is"
    ):
        adapt(net).layers(pixels())


@pytest.mark.parametrize("jitted", [True, False])
def test_an_argument_that_asks_for_training_is_false(jitted):
    class Asking(nnx.Module):
        def __init__(self):
            self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

        def __call__(self, x, train=True):
            return self.drop(x, deterministic=not train)

    if jitted:
        Asking.__call__ = nnx.jit(Asking.__call__, static_argnames=("train",))
    (found,) = run_batches(Asking(), ["drop"], vectors())
    np.testing.assert_array_equal(found["drop"].array, vectors())
