"""Hugging Face models with what other parts of a dump do: the self-check, broken images, autocast, inputs of layers."""

import numpy as np
import pytest

from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import DumpError
from actstore.models import load_model
from actstore.sources import SplitData, split_data
from actstore.sources.python import from_object

reason = "torch or transformers is not installed: make test-frameworks"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)
Image = pytest.importorskip("PIL.Image", reason="pillow is not installed: make test-frameworks")

SENTENCES = [["the", "unables", "cat", "sat"], ["dog"], ["the", "dog", "runs"]]


def dumped(model, path, batch, *layers, **settings):
    data = [SplitData("train", from_object([(batch, None)], "batches"))]
    return dump(model, data, path, DumpSettings(layers, **settings))


def test_the_self_check_names_a_row_that_is_too_long(tmp_path, hf_folder):
    batch = [["cat"], ["dog"], ["mat"], ["the", "mat"] * 6]  # behind those that show the layers
    with pytest.raises(DumpError, match=r"^row 'train/3' has 14 tokens, more than the 12 that the model takes"):
        dumped(load_model(f"hf:{hf_folder('bert')}"), tmp_path / "run.acts", batch, "embeddings", row="word")
    assert not (tmp_path / "run.acts").exists()


def test_the_self_check_names_a_layer_that_is_random(tmp_path, hf_folder):
    found = load_model(f"hf:{hf_folder('bert')}")
    layer = found.model.encoder.layer[1]
    layer.register_forward_hook(lambda _module, _inputs, output: output + torch.rand(1))
    with pytest.raises(
        DumpError, match=r"self-check: layer 'encoder.layer.1' \(BertLayer\) gives other values when"
    ):
        dumped(found, tmp_path / "run.acts", SENTENCES, "embeddings", "encoder.layer.*", row="word")


@pytest.mark.parametrize("broken", [[2], [1, 4, 7]])
def test_patches_of_a_folder_with_broken_images_are_sampled(tmp_path, hf_folder, broken):
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    for number in broken:
        (tmp_path / "photos" / f"{number}.png").write_bytes(b"no image")
    data = split_data([f"train={tmp_path}/photos"])
    settings = DumpSettings(("layers.1",), row="token", sample=0.5, skip_bad=True, batch_size=4)
    with dump(load_model(f"hf:{hf_folder('vit')}"), data, tmp_path / "run.acts", settings) as store:
        groups = {f"train/{number}" for number in range(9) if number not in broken}
        assert set(store.groups) == groups
        assert 0 < store.rows < 5 * len(groups), "of each image four patches and the class position"
        assert [row["id"] for row in store.provenance["skipped"]] == [f"train/{number}" for number in broken]


def test_words_of_a_layer_under_autocast_and_of_what_goes_into_it(tmp_path, hf_folder):
    model, name = load_model(f"hf:{hf_folder('bert')}"), "encoder.layer.1"
    with dumped(
        model, tmp_path / "run.acts", SENTENCES, f"{name}:in", name, row="word", autocast="bf16"
    ) as store:
        assert list(store.layers) == [f"{name}:in", name]
        assert store.groups.tolist() == ["train/0"] * 4 + ["train/1"] + ["train/2"] * 3
        assert store.layers[name].shape == (8, 16)
    assert store.provenance["model"]["autocast"] == "bf16"
