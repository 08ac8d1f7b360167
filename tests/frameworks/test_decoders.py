"""Convolutional decoders: bit-reproducible, gone on with to the bit, judged by a network that is really frozen."""

import copy
import math

import numpy as np
import pytest

from solvers.decoders.architecture import architecture
from solvers.decoders.by_torch.classifier import Classifier, frozen
from solvers.decoders.by_torch.fit import ConvDecoder, _Loss, fit_conv, fit_evaluation, fit_reference
from solvers.decoders.by_torch.fresh import Encoder, fresh
from solvers.decoders.by_torch.network import build, decode, doubling, loaded, state_of
from solvers.decoders.by_torch.training import EpochFile, Training
from solvers.decoders.examples import Examples
from solvers.decoders.images import image_units
from solvers.decoders.settings import DecoderSettings
from solvers.errors import EngineError, ProbeFileError, ProblemError

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
nn = torch.nn

CHW = ("channel", "height", "width")


class Net(nn.Module):
    """Three classes from pictures (n, 6, 6) of 0 to 8, with everything that is awkward."""

    def __init__(self, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(36, classes)

    def forward(self, x):
        h = self.pool(self.relu(self.norm(self.conv(x[:, None].float() / 8))))
        return self.fc(self.drop(h.flatten(1)))


@pytest.fixture
def examples():
    """90 pictures: a bar in one of three places, with noise."""
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    pictures = generator.uniform(0, 2, (90, 6, 6))
    for place in range(3):
        pictures[labels == place, 2 * place : 2 * place + 2] += 6
    pictures = pictures.astype("f4")
    return Examples(pictures, image_units(pictures, np.arange(60)), np.arange(60), labels=labels)


@pytest.fixture
def codes(examples):
    """Activations that tell the whole picture."""
    flat = np.asarray(examples.images).reshape(90, -1)
    return (flat @ np.random.default_rng(1).normal(size=(36, 12))).astype("f4") / 10


def settings(**given):
    return Training(DecoderSettings(**{"epochs": 3, "batch_rows": 16, **given}))


@pytest.mark.parametrize(
    ("code", "axes", "picture"),
    [
        ((5,), (), (1, 28, 28)),
        ((4, 14, 14), CHW, (3, 32, 32)),
        ((7, 7, 4), ("height", "width", "channel"), (1, 28, 28)),
        ((4, 28, 28), CHW, (1, 28, 28)),
        ((4, 3, 5), CHW, (3, 12, 17)),
        ((4, 30, 30), CHW, (1, 28, 28)),
    ],
)
def test_a_picture_comes_out_at_its_size(code, axes, picture):
    built = architecture(code, axes, picture)
    body = build(built, 0, np.full(picture[0], 0.5))
    out = decode(body, built, torch.randn(2, *code)).detach()
    assert out.shape == (2, *picture)
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    again = decode(loaded(built, state_of(body)), built, torch.zeros(1, *code))
    assert torch.equal(again, decode(body, built, torch.zeros(1, *code)))


@pytest.mark.parametrize(("given", "made"), [(3, 2), (5, 1)])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_adoubling_is_torch_s_transposed_convolution(given, made, side):
    torch.manual_seed(0)
    layer, cells = doubling(given, made), torch.randn(4, given, side, side, requires_grad=True)
    plain = torch.nn.ConvTranspose2d.forward(layer, cells)
    torch.testing.assert_close(layer(cells), plain)
    wanted = [cells, layer.weight, layer.bias]
    ours, theirs = (torch.autograd.grad((out**2).sum(), wanted) for out in (layer(cells), plain))
    torch.testing.assert_close(ours, theirs)


def test_channels_last_maps_are_decoded_as_channels_first_ones():
    first, last = (
        architecture(c, a, (1, 8, 8)) for c, a in (((4, 2, 3), CHW), ((2, 3, 4), (*CHW[1:], "channel")))
    )
    body = build(first, 0, np.array([0.5]))
    codes = torch.randn(5, 4, 2, 3)
    assert torch.equal(decode(body, first, codes), decode(body, last, codes.permute(0, 2, 3, 1)))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(codes, examples):
    torch.manual_seed(1)
    one = fit_conv(codes, examples, settings())
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    two, other = fit_conv(codes, examples, settings()), fit_conv(codes, examples, settings(seed=1))
    assert torch.equal(before, torch.random.get_rng_state())
    for name, array in one.decoder.arrays.items():
        assert array.tobytes() == two.decoder.arrays[name].tobytes()
    assert one.losses == two.losses != other.losses
    assert one.losses[-1] < one.losses[0]


@pytest.mark.parametrize("what", ["decoder", "reference", "evaluation"])
def test_an_interrupted_training_goes_on_to_the_bit(codes, examples, tmp_path, what):
    classifier = Classifier(Net(), examples.units, np.arange(3))

    def run(training):
        if what == "decoder":
            return fit_conv(codes, examples, training).decoder.arrays
        if what == "reference":
            return fit_reference(Net, "pool", examples, training, CHW).decoder.arrays
        judge = fit_evaluation(Net, classifier, examples.pictures, examples, training)
        return state_of(judge.model)

    def stop(step):
        if step.epoch == 3:
            raise KeyboardInterrupt

    keep = EpochFile(tmp_path / "e.h5", {"what": what})
    with pytest.raises(KeyboardInterrupt):
        run(Training(settings().settings, keep, stop))
    seen = []
    resumed = run(Training(settings().settings, keep, lambda step: seen.append(step.epoch)))
    assert set(seen) == {3}
    for name, array in run(settings()).items():
        assert array.tobytes() == resumed[name].tobytes(), name
    other = EpochFile(tmp_path / "e.h5", {"what": "else"})
    seen.clear()
    run(Training(settings().settings, other, lambda step: seen.append(step.epoch)))
    assert set(seen) == {1, 2, 3}


def test_a_damaged_epoch_is_told(codes, examples, tmp_path):
    keep = EpochFile(tmp_path / "e.h5")
    fit_conv(codes, examples, Training(settings().settings, keep))
    (tmp_path / "e.h5").write_bytes((tmp_path / "e.h5").read_bytes()[:2000])
    with pytest.raises(ProbeFileError, match=r"e\.h5 .*remove it"):
        fit_conv(codes, examples, Training(settings().settings, keep))


def test_the_loss_is_the_one_of_the_paper(examples):
    """(1 − α) · squared error summed over the image + α · cross-entropy, up to one factor."""
    model = Net()
    rows = np.arange(16)
    shown = torch.from_numpy(examples.pictures(rows).astype("f4"))
    decoded = torch.rand(16, 1, 6, 6, requires_grad=True)
    with frozen(model):
        classifier = Classifier.checked(model, examples.units, np.arange(3), np.asarray(examples.images[:4]))
        ours = _Loss(examples, DecoderSettings(alpha=0.3), classifier).of(decoded, shown, rows)
        (gradient,) = torch.autograd.grad(ours, decoded)
        error = ((decoded - shown) ** 2).sum((1, 2, 3)).mean()
        given = decoded[:, 0] * (examples.units.high - examples.units.low) + examples.units.low
        nats = nn.functional.cross_entropy(model(given), torch.from_numpy(examples.labels[rows]))
        (expected,) = torch.autograd.grad(0.7 * error + 0.3 * nats, decoded)
    factor = float((gradient * expected).sum() / (expected * expected).sum())
    assert torch.allclose(gradient, factor * expected, rtol=1e-4, atol=1e-9)


def test_alpha_one_makes_pictures_for_the_classifier(codes, examples):
    torch.manual_seed(0)
    model = Net()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    pictures, labels = torch.from_numpy(np.asarray(examples.images)), torch.from_numpy(examples.labels)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(pictures), labels).backward()
        optimiser.step()
    with frozen(model):
        before = copy.deepcopy(model.state_dict())
        classifier = Classifier.checked(model, examples.units, np.arange(3), pictures[:4].numpy())
        fit = fit_conv(codes, examples, settings(alpha=1.0, epochs=20, learning_rate=3e-3), (), classifier)
        decoded = torch.from_numpy(fit.decoder.reconstruct(codes[60:]).astype("f4"))
        right = (classifier.log_odds(decoded).argmax(1) == labels[60:]).float().mean()
        assert float(right) > 0.8
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())


def test_alpha_without_a_classifier_or_labels_is_refused(codes, examples):
    with pytest.raises(ProblemError, match=r"alpha is 0\.5, but there is no classifier"):
        fit_conv(codes, examples, settings(alpha=0.5))
    unlabelled = Examples(examples.images, examples.units, examples.train)
    with pytest.raises(ProblemError, match="there are no labels"):
        fit_conv(codes, unlabelled, settings(alpha=0.5), (), Classifier(Net(), examples.units, np.arange(3)))


def test_rows_that_are_not_finite_are_refused(codes, examples):
    codes = codes.copy()
    codes[3, 2] = np.inf
    with pytest.raises(ProblemError, match="1 rows of activations hold NaN"):
        fit_conv(codes, examples, settings())
    with pytest.raises(
        ProblemError, match="1 rows of activations hold NaN, infinities or numbers beyond float32"
    ):
        fit_conv(np.where(np.isinf(codes), 1e300, codes.astype("f8")), examples, settings())
    with pytest.raises(ProblemError, match="89 rows of activations and 90 pictures"):
        fit_conv(codes[:89], examples, settings())


class Random(Net):
    def forward(self, x):
        return super().forward(x) + torch.rand(())


class ByType(Net):
    def forward(self, x):
        return super().forward(x / 3 if x.dtype == torch.uint8 else x)


class Softmax(Net):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Pair(Net):
    def forward(self, x):
        return super().forward(x), x


class Stubborn(nn.Dropout):
    def train(self, mode=True):
        return super().train(True)


@pytest.mark.parametrize(
    ("model", "classes", "said"),
    [
        (Random(), [0, 1, 2], "answers the same pictures in two ways"),
        (ByType(), [0, 1, 2], "answers otherwise to the same pictures as floats than as uint8"),
        (Pair(), [0, 1, 2], r"the model gives tuple for 8 pictures; expected one tensor"),
        (Net(), [0, 1, 3], r"the labels go from 0 to 3, but the model has outputs 0 to 2"),
        (Net(), [-1, 0, 1], r"the labels go from -1 to 1"),
        (Net(), ["a", "b"], r"the target has 2 classes and the model 3 outputs"),
    ],
)
def test_a_network_that_is_no_judge_is_refused(model, classes, said):
    images = np.random.default_rng(0).integers(0, 9, (8, 6, 6)).astype("u1")
    with frozen(model), pytest.raises(ProblemError, match=said):
        Classifier.checked(model, image_units(images, np.arange(8)), np.asarray(classes), images)


def test_dropout_that_stays_on_is_refused():
    model = Net()
    model.drop = Stubborn()
    with pytest.raises(ProblemError, match="drop stays in training mode"), frozen(model):
        pass
    assert model.training


def test_probabilities_are_taken_the_logarithm_of(examples):
    torch.manual_seed(0)
    model = Softmax()
    with frozen(model):
        judge = Classifier.checked(model, examples.units, np.arange(3), np.asarray(examples.images[:4]))
        pictures = torch.from_numpy(examples.pictures(np.arange(4)).astype("f4"))
        found = judge.log_odds(pictures).softmax(1)
        assert torch.allclose(found, model(torch.from_numpy(np.asarray(examples.images[:4]))), atol=1e-6)
    assert judge.probabilities


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, 6))


class Half(Own):
    def reset_parameters(self):
        with torch.no_grad():
            self.weight[:3] = 0.0


def test_a_fresh_copy_has_none_of_the_old_weights():
    torch.manual_seed(5)
    trained = Net()
    trained.norm.running_mean += 3
    before = copy.deepcopy(trained.state_dict())
    one, two, other = fresh(lambda: trained, 0), fresh(lambda: trained, 0), fresh(lambda: trained, 1)
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    assert not torch.equal(one.conv.weight, other.conv.weight)
    assert not torch.equal(one.conv.weight, trained.conv.weight)
    assert float(one.norm.running_mean.abs().max()) == 0


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Own, r"module '0' \(Own\) has weights of its own and no reset_parameters"),
        (Half, "leaves weight '0.weight'"),
    ],
)
def test_weights_that_cannot_be_drawn_anew_are_refused(module, said):
    with pytest.raises(ProblemError, match=said):
        fresh(lambda: nn.Sequential(module(), nn.Linear(6, 3)), 0)


def test_an_encoder_gives_what_a_dump_of_the_layer_would(captured, examples):
    model = Net().eval()
    inputs = np.asarray(examples.images[:8])
    found = captured(model, inputs, "conv", "norm", "fc:in", "output", "pool")
    for layer in ("conv", "norm", "fc:in", "output", "pool"):
        now = Encoder(model, layer)(torch.from_numpy(inputs))
        assert np.allclose(now.detach().numpy(), found[layer].array, atol=1e-6), layer
    with pytest.raises(ProblemError, match="the model has no module 'nope'"):
        Encoder(model, "nope")
    with pytest.raises(ProblemError, match=r"layer 'conv#1' of the model gives no tensor"):
        Encoder(model, "conv#1")(torch.from_numpy(inputs))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.relu = nn.Linear(6, 6), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.mix(self.relu(self.mix(x)))).flatten(1)


def test_an_encoder_tells_calls_and_inputs_apart(captured, examples):
    model = Twice().eval()
    inputs = np.asarray(examples.images[:8])
    names = ("mix", "mix#1", "relu#1", "mix:in", "mix:in#1")
    found = captured(model, inputs, *names)
    for name in names:
        now = Encoder(model, name)(torch.from_numpy(inputs))
        assert np.allclose(now.detach().numpy(), found[name].array, atol=1e-6), name


def test_a_reference_trains_without_dropout_and_learns_its_statistics(examples):
    model = Net()
    encoder = Encoder(model, "output")
    encoder.train()
    assert (model.norm.training, model.drop.training, model.training) == (True, False, False)


def test_the_reference_learns_from_pictures_alone(examples):
    fit = fit_reference(Net, "pool", examples, settings(epochs=15, learning_rate=3e-3), CHW)
    found = fit.pictures(None, examples)(np.arange(60, 90))
    true = examples.pictures(np.arange(60, 90))
    error, spread = ((found - true) ** 2).mean(), ((true - true.mean(axis=0)) ** 2).mean()
    assert error < spread
    assert fit.losses[-1] < fit.losses[0]


def test_a_decoder_begins_at_the_brightness_of_its_pictures():
    built = architecture((8,), (), (3, 16, 16))
    wanted = np.array([0.05, 0.5, 0.9])
    found = decode(build(built, 0, wanted), built, torch.zeros(4, 8)).detach().numpy().mean(axis=(0, 2, 3))
    assert found == pytest.approx(wanted, abs=0.05)
    black = build(built, 0, np.array([0.0, 1.0, np.float64(0.5)]))
    assert all(bool(torch.isfinite(each).all()) for each in black.parameters())


def test_brightness_is_of_the_rows_to_learn_from(examples, monkeypatch):
    monkeypatch.setattr("solvers.decoders.examples._READ_ROWS", 7)
    assert examples.brightness() == pytest.approx(examples.pictures(np.arange(60)).mean(axis=(0, 2, 3)))


class Plain(nn.Module):
    """Two convolutions as torch draws them, whose activations are small at first."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = (
            nn.Conv2d(1, 8, 5, padding=2),
            nn.Conv2d(8, 16, 5, padding=2),
            nn.Linear(784, 10),
        )
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)

    def forward(self, pictures):
        h = self.pool1(torch.relu(self.conv1(pictures[:, None].float() / 255)))
        return self.fc(self.pool2(torch.relu(self.conv2(h))).flatten(1))


def test_a_reference_of_dark_pictures_learns_within_some_steps():
    """Begun at .5, it is no nearer to them than one shade of grey after ten times as many."""
    generator = np.random.default_rng(0)
    pictures = np.zeros((768, 28, 28), np.uint8)
    for picture in pictures:
        x, y = generator.integers(4, 18, 2)
        picture[x : x + 6, y : y + 3] = picture[x + 2 : x + 4, y : y + 8] = 230
    dark = Examples(pictures, image_units(pictures, np.arange(640)), np.arange(640))
    fit = fit_reference(Plain, "pool2", dark, settings(epochs=6, batch_rows=64, learning_rate=1e-3), CHW)
    rows = np.arange(640, 768)
    true = dark.pictures(rows)
    grey = ((true - true.mean()) ** 2).mean()
    assert ((fit.pictures(None, dark)(rows) - true) ** 2).mean() < 0.5 * grey


def test_arrays_of_another_decoder_are_refused():
    built = architecture((5,), (), (1, 8, 8))
    arrays = state_of(build(built, 0, np.array([0.5])))
    with pytest.raises(ValueError, match="not those of its architecture"):
        ConvDecoder(built, {**arrays, "0.weight": arrays["0.weight"][:, :4]}).reconstruct(np.zeros((1, 5)))
    with pytest.raises(ValueError, match="not those of its architecture"):
        ConvDecoder(built, {**arrays, "more": arrays["0.weight"]}).reconstruct(np.zeros((1, 5)))


def test_a_loss_that_is_no_number_ends_the_training(codes, examples):
    with pytest.raises(ProblemError, match=r"the loss is nan in epoch|the loss is inf in epoch"):
        fit_conv(codes, examples, settings(learning_rate=1e30, epochs=9))


def test_a_device_that_is_not_there_is_one_line(codes, examples):
    with pytest.raises(EngineError, match="device 'cuda:9' cannot be used here"):
        fit_conv(codes, examples, settings(device="cuda:9"))
    assert math.isfinite(fit_conv(codes, examples, settings(epochs=1)).losses[0])
