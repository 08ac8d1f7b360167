"""JAX and Flax from end to end: stores, training steps, model specs, weights from files, the programs."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner

import actstore
from actstore.errors import AdapterError, DumpError
from actstore.models import load_model
from cli.main import actstore as program

jax = pytest.importorskip("jax", reason="jax is not installed: make test-frameworks")
flax = pytest.importorskip("flax", reason="flax is not installed: make test-frameworks")
nn, nnx = pytest.importorskip("flax.linen"), pytest.importorskip("flax.nnx")
jnp = jax.numpy

NET = """
import jax, numpy as np
from flax import linen as nn, nnx

class Net(nn.Module):
    width: int
    @nn.compact
    def __call__(self, x, train=True):
        x = nn.relu(nn.Dense(self.width)(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(2)(x)

def linen(width=4, seed=0):
    net = Net(width)
    return net, net.init(jax.random.key(seed), np.ones((1, 3), np.float32), train=False)

def bound(width=4):
    net, variables = linen(width)
    return net.bind(variables)

def dense(seed=0):
    return nn.Dense(2), nn.Dense(2).init(jax.random.key(seed), np.ones((1, 3), np.float32))

def module(seed=0):
    return nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(seed)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(seed + 1)))

@jax.jit
def jitted(x):
    return {"half": x / 2}

def pair(scale=2.0):
    return lambda params, x: {"y": params["scale"] * x}, {"scale": np.float32(scale) * np.ones(3, np.float32)}

unready = Net(4)
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    np.save(tmp_path / "x.npy", vectors())
    yield tmp_path / "net.py"
    sys.path[:] = [folder for folder in sys.path if folder != str(tmp_path)]


def vectors(rows=8):
    return np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)


def dumped(model, path, pattern="**"):
    with actstore.create(path, layers=[pattern]) as recording:
        recording.dump(model, vectors())
    return actstore.open(path)


def by_program(model, folder, *options):
    """`actstore dump` of the rows in `x.npy` to `run.h5`."""
    data, out = str(folder / "x.npy"), str(folder / "run.h5")
    return CliRunner().invoke(program, ["dump", model, "--data", data, *options, "-o", out])


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("linen", ["Dense_0", "BatchNorm_0", "Dense_1"]),
        ("bound", ["Dense_0", "BatchNorm_0", "Dense_1"]),
        ("module", ["layers.0", "layers.2"]),
        ("jitted", ["half"]),
        ("pair", ["y"]),
    ],
)
def test_every_kind_of_model_is_dumped_by_the_program(net, tmp_path, name, layers):
    done = by_program(f"{net}:{name}", tmp_path, "--layers", "**", "--batch-size", "3")
    assert done.exit_code == 0, done.output
    with actstore.open(tmp_path / "run.h5") as store:
        assert list(store.layers) == layers
        assert store.provenance["versions"]["jax"] == jax.__version__
        assert store.provenance["versions"]["flax"] == flax.__version__
        (last,) = dumped(load_model(f"{net}:{name}"), tmp_path / "again.h5", layers[-1]).layers.values()
        # Batches of three against one of eight: sums in another order.
        np.testing.assert_allclose(store.layers[layers[-1]][:], last[:], rtol=1e-5, atol=1e-6)


def test_users_mistakes_are_one_line(net, tmp_path):
    for name, options, message in [
        ("unready", [], "Net comes with no variables: give it bound"),
        ("linen", ["--device", "gpu:7"], "the model cannot go to device 'gpu:7'"),
        ("linen", ["--layers", "Dense_7"], "no layer matches 'Dense_7'; the nearest: 'Dense_"),
    ]:
        done = by_program(f"{net}:{name}", tmp_path, "--layers", "Dense_1", *options)
        assert done.exit_code == 1
        assert message in done.output
        assert done.output.count("\n") == 1


def test_a_model_that_fails_is_told_in_one_line(net, tmp_path):
    recording = actstore.create(tmp_path / "run.h5", layers=["**"])
    with pytest.raises(
        DumpError, match=r"the model failed on the first batch: .*; the model was given"
    ) as caught:
        recording.dump(load_model(f"{net}:linen"), vectors()[:, :2])
    assert "\n" not in str(caught.value)


def test_an_error_that_jax_has_notes_on_is_one_line(tmp_path):
    recording = actstore.create(tmp_path / "run.h5", layers=["**"])
    with pytest.raises(
        DumpError, match="the model failed on the first batch: TypeError: dot_general"
    ) as caught:
        recording.dump(lambda x: {"y": jnp.asarray(x) @ jnp.ones((2, 2))}, vectors())
    assert "\n" not in str(caught.value)


def test_training_steps_have_weights_of_their_own(net, tmp_path):
    with actstore.create(tmp_path / "run.acts", layers=["**"]) as recording:
        for step in (0, 1):
            recording.dump(load_model(f"{net}:linen", {"seed": str(step)}), vectors(), step=step)
    with actstore.open(tmp_path / "run.acts") as store:
        assert (store.layers["Dense_0", 0][:] != store.layers["Dense_0", 1][:]).any()


def test_other_weights_do_not_continue_a_store(net, tmp_path):
    recording = actstore.create(tmp_path / "run.acts", layers=["**"])
    recording.dump(load_model(f"{net}:linen"), vectors(), split="train")
    with pytest.raises(DumpError, match="not the one this store was begun with"):
        recording.dump(load_model(f"{net}:linen", {"seed": "1"}), vectors(), split="test")


def test_bfloat16_is_stored_with_its_own_bits(tmp_path):
    model = nnx.Linear(3, 4, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    with dumped(model, tmp_path / "run.h5", "output") as store:
        expected = model(jnp.asarray(vectors(), jnp.bfloat16))
        assert expected.dtype == jnp.bfloat16
        np.testing.assert_array_equal(store.layers["output"][:], np.asarray(expected, np.float32))


# Weights


def saved(path, tree):
    """A tree of arrays in the format that the suffix of ``path`` names."""
    if path.suffix == ".msgpack":
        path.write_bytes(flax.serialization.msgpack_serialize(tree))
    else:
        flat = flax.traverse_util.flatten_dict(tree, sep=".")
        pytest.importorskip("safetensors.flax", reason="safetensors is not installed").save_file(flat, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".msgpack", ".safetensors"])
@pytest.mark.parametrize("what", ["variables", "under a key"])
def test_a_linen_model_takes_weights_from_a_file(net, tmp_path, suffix, what):
    module, other = load_model(f"{net}:linen", {"seed": "1"})
    tree = {"variables": other, "under a key": {"state": other}}[what]
    weights = saved(tmp_path / f"w{suffix}", tree) + (":state" if what == "under a key" else "")
    found_module, found = load_model(f"{net}:linen", weights=weights)
    np.testing.assert_array_equal(
        found_module.apply(found, vectors(), train=False), module.apply(other, vectors(), train=False)
    )
    bound = load_model(f"{net}:bound", weights=weights)
    assert actstore.adapters.adapt(bound).provenance() == actstore.adapters.adapt((module, other)).provenance()


@pytest.mark.parametrize("suffix", [".msgpack", ".safetensors"])
def test_parameters_alone_are_taken_where_there_is_nothing_else(net, tmp_path, suffix):
    _, other = load_model(f"{net}:dense", {"seed": "1"})
    for tree in (other, other["params"]):
        _, found = load_model(f"{net}:dense", weights=saved(tmp_path / f"w{suffix}", tree))
        np.testing.assert_array_equal(found["params"]["kernel"], other["params"]["kernel"])


@pytest.mark.parametrize("suffix", [".msgpack", ".safetensors"])
def test_an_nnx_model_takes_weights_from_a_file(net, tmp_path, suffix):
    other = load_model(f"{net}:module", {"seed": "7"})
    state = nnx.to_pure_dict(nnx.state(other))
    tree = jax.tree_util.tree_map(lambda leaf: leaf, state)
    tree = {"layers": {str(index): layer for index, layer in tree["layers"].items()}}
    found = load_model(f"{net}:module", weights=saved(tmp_path / f"w{suffix}", tree))
    np.testing.assert_array_equal(found(vectors()), other(vectors()))


def test_a_pair_takes_weights_from_a_file(net, tmp_path):
    weights = saved(tmp_path / "w.msgpack", {"scale": 3 * np.ones(3)})
    _, params = load_model(f"{net}:pair", weights=weights)
    assert params["scale"].dtype == np.float32, "the file has float64"
    np.testing.assert_array_equal(params["scale"], 3 * np.ones(3))


@pytest.mark.parametrize(
    ("name", "tree", "message"),
    [
        (
            "pair",
            {"scale": np.ones(4)},
            r"scale is ndarray float64 \(4,\), where ndarray float32 \(3,\) is needed",
        ),
        ("pair", {"other": np.ones(3)}, "it lacks 'scale' and has 'other' besides"),
        (
            "linen",
            {"Dense_0": {"bias": np.ones(4)}},
            "it lacks 'batch_stats.BatchNorm_0.mean', .* has 'Dense_0.bias'",
        ),
        ("jitted", {"scale": np.ones(3)}, "function 'jitted' has no parameters to load w.msgpack into"),
    ],
)
def test_weights_that_do_not_fit_are_refused(net, tmp_path, name, tree, message):
    weights = saved(tmp_path / "w.msgpack", tree)
    with pytest.raises(AdapterError, match=message):
        load_model(f"{net}:{name}", weights=weights)


@pytest.mark.parametrize(
    ("file", "key", "message"),
    [
        ("w.npy", "", r"cannot be loaded from w.npy: a .safetensors or .msgpack \(flax.serialization\) file"),
        ("w.msgpack", "", "w.msgpack is no file that flax.serialization wrote: "),
        ("good.msgpack", ":nothing", "good.msgpack holds nothing under 'nothing' but 'scale'"),
    ],
)
def test_files_that_hold_no_weights_are_refused(net, tmp_path, file, key, message):
    (tmp_path / file).write_bytes(b"\xc1 nonsense")
    saved(tmp_path / "good.msgpack", {"scale": np.ones(3)})
    with pytest.raises(AdapterError, match=message):
        load_model(f"{net}:pair", weights=f"{tmp_path / file}{key}")
