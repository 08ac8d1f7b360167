"""The commands for real weights that two pages of docs/reproductions print, on small images and random weights."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from pages import bash

import actstore
import solvers

pytestmark = pytest.mark.framework

PAGES = Path(__file__).resolve().parents[2] / "docs" / "reproductions"
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page, folder, changes):
    """The commands of a page's section on ImageNet, with other sizes; its script lies in the folder."""
    text = (PAGES / page / "README.md").read_text().split("\n## ImageNet\n")[1]
    (code,) = BLOCK.findall(text)
    for old, new in changes.items():
        assert old in code, old
        code = code.replace(old, new)
    (folder / "imagenet.py").write_text((PAGES / page / "imagenet.py").read_text())
    return code


@pytest.fixture
def folder(tmp_path):
    """Eight photos of two classes, noise of two brightnesses, two of them to be tested on."""
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed: make test-frameworks")
    draw = np.random.default_rng(0)
    for split, rows in (("train", 6), ("val", 2)):
        for number in range(rows):
            path = tmp_path / "imagenet" / split / ("cat", "dog")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 200, (40, 48, 3)) + 55 * (number % 2)
            image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path


def run(code, folder, **variables):
    done = bash(code, folder, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def loaded(page):
    """The module that a page's script is."""
    scope = {"__name__": page}
    exec(compile((PAGES / page / "imagenet.py").read_text(), page, "exec"), scope)
    return scope


# Three passes of ResNet-50 and Inception v3 through eight images: seconds, and the only proof that the scripts run.


def test_resnet50_of_torch_and_of_keras(folder):
    torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
    if find_spec("keras") is None:  # importing it here would settle the backend for every test that follows
        pytest.skip("keras is not installed: make test-frameworks")
    made = loaded("resnet50")
    (folder / "weights").mkdir()
    torch.manual_seed(1)
    torch.save(made["OfPhotos"](1000).state_dict(), folder / "weights" / "resnet50.pth")
    name = "weights/resnet50_weights_tf_dim_ordering_tf_kernels.h5"
    code = commands(
        "resnet50",
        folder,
        {
            "resize=256,crop=224": "resize=36,crop=32",
            " --sample-rows 0.05": " --no-selfcheck",
            "--device cuda:0 ": "",
            f"--arg weights={name}": "--arg weights=weights/keras.weights.h5 --arg side=32",
        },
    )
    # As keras.applications writes them: weights alone, which a network without them saves.
    write = "import keras; keras.applications.ResNet50(weights=None).save_weights('weights/keras.weights.h5')"
    run(f'KERAS_BACKEND=torch python -W ignore -c "{write}"', folder)
    done = run(code, folder)
    assert "warning" not in done.stderr
    with actstore.open(folder / "torch.h5") as store, actstore.open(folder / "keras.h5") as other:
        for layers in (store.layers, other.layers):
            widths = [layer.shape[1] for layer in layers.values()]
            assert widths == [3] + [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
        # The input of both is the pixels themselves: their mean by channel.
        np.testing.assert_allclose(store.layers["input"][:], other.layers["input"][:], rtol=1e-6)
        assert np.abs(store.layers["layer1.0.add"][:]).max() > 0
    assert len(solvers.load(folder / "probes.h5")) == 17


def test_inception_v3_at_two_moments(folder):
    torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
    made = loaded("figure9")
    network = made["inception_v3"]()
    # torchvision's inception_v3: so many weights and buffers, by these names.
    assert sum(each.numel() for each in network.parameters()) == 27_161_264
    assert len(network.state_dict()) == 580
    assert "Mixed_7c.branch3x3dbl_3b.bn.running_var" in network.state_dict()
    (folder / "checkpoints").mkdir()
    for step in (0, 9):
        torch.manual_seed(step)
        torch.save(made["InceptionV3"](1000).state_dict(), folder / "checkpoints" / f"{step}.pth")
    changes = {
        "0 200000 500000": "0 9",
        " --sample-rows 0.02": "",
        "--random-features 1000 --device cuda:0": "--random-features 20 --no-selfcheck",
    }
    run(commands("figure9", folder, changes), folder)
    probes = solvers.load(folder / "imagenet.h5")
    with actstore.open(folder / "imagenet.acts") as store:
        assert list(store.steps) == [0, 9]
        assert {store.layers[name, 9].shape[1] for name in store.layers} == {20}
        assert {"maxpool1", "Mixed_5b", "Mixed_6e", "AuxLogits", "Mixed_7c", "fc"} <= set(store.layers)
        assert len(probes) == 2 * len(store.layers)
    drawn = (folder / "imagenet.svg").read_text()
    assert "recorded in the store" in drawn
    assert "AuxLogits" in drawn
