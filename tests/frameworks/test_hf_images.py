"""Images through transformers models and their image processors."""

import numpy as np
import pytest

from actstore.adapters import adapt
from actstore.dumping.dump import DumpSettings, dump
from actstore.errors import AdapterError, DumpError
from actstore.models import load_model
from actstore.reductions import ReductionSettings
from actstore.sources import SplitData
from actstore.sources.python import from_object

reason = "torch or transformers is not installed: make test-frameworks"
torch = pytest.importorskip("torch", reason=reason)
transformers = pytest.importorskip("transformers", reason=reason)


@pytest.fixture(scope="module")
def pictures():
    """Five images of another size than the model's."""
    return np.random.default_rng(0).integers(0, 256, size=(5, 20, 24, 3), dtype=np.uint8)


def dumped(model, path, inputs, **settings):
    data = [SplitData("train", from_object(inputs, "images"))]
    return dump(model, data, path, DumpSettings(("layers.*",), **settings))


def by_hand(folder, pictures):
    """The output of the second layer, (images, positions, features)."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    pixels = processor(images=list(pictures), return_tensors="pt")
    with torch.no_grad():
        return model(**pixels, output_hidden_states=True).hidden_states[2].numpy()


def test_images_go_through_the_processor_bit_for_bit(tmp_path, hf_folder, pictures):
    folder = hf_folder("vit")
    with dumped(load_model(f"hf:{folder}"), tmp_path / "run.acts", pictures) as store:
        np.testing.assert_array_equal(store.layers["layers.1"][:], by_hand(folder, pictures))
        assert store.layers["layers.1"].axes == ("position", "feature")
        assert store.provenance["model"]["image_processor"].startswith("xxh3_128:")


def test_patches_are_rows(tmp_path, hf_folder, pictures):
    folder = hf_folder("vit")
    with dumped(load_model(f"hf:{folder}"), tmp_path / "run.acts", pictures, row="token") as store:
        # Four patches, and the position of the class before them.
        assert store.ids.tolist() == [f"train/{row}/{place}" for row in range(5) for place in range(5)]
        np.testing.assert_array_equal(store.layers["layers.1"][:], by_hand(folder, pictures).reshape(25, 16))


def test_the_class_position_and_the_mean_are_pooled(tmp_path, hf_folder, pictures):
    folder = hf_folder("vit")
    hidden = by_hand(folder, pictures)
    settings = ReductionSettings(("layers.0=mean", "layers.1=cls"))
    with dumped(load_model(f"hf:{folder}"), tmp_path / "run.acts", pictures, reductions=settings) as store:
        np.testing.assert_array_equal(store.layers["layers.1"][:], hidden[:, 0])
        assert store.layers["layers.0"].shape == (5, 16)


def test_images_of_pil_and_of_one_channel(hf_folder, pictures):
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed: make test-frameworks")
    adapter = adapt(load_model(f"hf:{hf_folder('vit')}"))
    expected, words = adapter.prepared(pictures)
    assert words is None
    listed = adapter.prepared([image.fromarray(picture) for picture in pictures])[0]
    assert torch.equal(listed["pixel_values"], expected["pixel_values"])
    grey = adapter.prepared(pictures[..., 0])[0]["pixel_values"]
    again = adapter.prepared([image.fromarray(picture[..., 0]) for picture in pictures])[0]["pixel_values"]
    assert torch.equal(grey, again)
    assert torch.equal(grey[:, 0], expected["pixel_values"][:, 0])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_images_of_pil_of_more_than_8_bits_are_refused(hf_folder, dtype):
    """Pillow would cut them off at 255, as the folder of images says, too."""
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed: make test-frameworks")
    adapter = adapt(load_model(f"hf:{hf_folder('vit')}"))
    deep = np.arange(480, dtype=dtype).reshape(20, 24) * 100
    with pytest.raises(AdapterError, match=r"it is in mode (I|I;16|F); expected 8 bits a channel\. Scale it"):
        adapter.prepared([image.fromarray(deep)] * 2)


def test_pixel_values_are_given_as_they_are(hf_folder, captured, pictures):
    folder = hf_folder("vit")
    adapter = adapt(load_model(f"hf:{folder}"))
    pixels = adapter.prepared(pictures)[0]["pixel_values"].numpy()
    assert adapter.prepared(pixels)[0] is pixels
    found = captured(load_model(f"hf:{folder}"), pixels, "layers.1")
    np.testing.assert_array_equal(found["layers.1"].array, by_hand(folder, pictures))


# Refused in one line


@pytest.fixture
def refused(tmp_path):
    """``refused(model, inputs)``: the one line that a dump ends with."""

    def line(model, inputs):
        with pytest.raises((AdapterError, DumpError)) as caught:
            dumped(model, tmp_path / "never.acts", inputs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return line


def test_a_processor_that_is_missing_in_the_folder(refused, tmp_path, hf_folder, pictures):
    transformers.AutoModel.from_pretrained(hf_folder("vit")).save_pretrained(tmp_path / "bare")
    line = refused(load_model(f"hf:{tmp_path}/bare"), pictures)
    assert line.startswith(
        "the input is images, but there is no image processor for ViTModel: the folder bare has none ("
    )
    assert "preprocessor_config.json" in line


def test_images_for_a_model_of_text_and_text_for_one_of_images(refused, hf_folder, pictures):
    line = refused(load_model(f"hf:{hf_folder('bert')}"), pictures)
    assert line == "the input is images, but BertModel is a model of text (it takes input_ids); give it text"
    line = refused(load_model(f"hf:{hf_folder('vit')}"), [(["a cat", "a dog"], None)])
    assert (
        line == "the input is text, but ViTModel is a model of images (it takes pixel_values); give it images"
    )


def test_images_without_a_processor(refused, hf_folder, pictures):
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed: make test-frameworks")
    model = transformers.AutoModel.from_pretrained(hf_folder("vit"))
    line = refused(model, [([image.fromarray(picture) for picture in pictures], None)])
    assert (
        line
        == "the input is images, but there is no image processor for ViTModel: give (model, image processor)"
    )
    assert adapt(model).prepared(pictures)[0] is pictures, "an array is the caller's business"
