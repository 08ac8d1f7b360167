"""Trainings of ClaDec: the decoder of a layer, its reference auto-encoder, and the classifier that judges pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from solvers.decoders.architecture import architecture
from solvers.decoders.by_torch.fresh import Encoder, fresh
from solvers.decoders.by_torch.loading import the_device, torch_or_refuse
from solvers.decoders.by_torch.network import build, decode, loaded, state_of
from solvers.decoders.by_torch.training import Training, train
from solvers.decoders.settings import alpha_per_value
from solvers.errors import ProblemError
from solvers.problem.moments import not_finite
from solvers.rows import as_source, take

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from solvers.arrays import Array
    from solvers.decoders.architecture import Architecture
    from solvers.decoders.by_torch.classifier import Classifier
    from solvers.decoders.examples import Examples
    from solvers.decoders.settings import DecoderSettings
    from solvers.rows import RowSource

__all__ = ["ConvDecoder", "ConvFit", "Judge", "fit_conv", "fit_evaluation", "fit_reference"]

EVALUATION_RATE = 1e-3
"""Adam's, of the evaluation classifier."""
_DEFAULTS = Training()


@dataclass(frozen=True, eq=False)
class ConvDecoder:
    """A convolutional decoder: its architecture, and its weights by name as arrays of the host."""

    architecture: Architecture
    arrays: dict[str, Array]

    def module(self, device: str = "cpu") -> Callable[[Any], Any]:
        """Return the function from a tensor of activations to one of pictures in [0, 1]; its weights stay."""
        body = loaded(self.architecture, self.arrays).to(the_device(device)).requires_grad_(False).eval()
        return lambda codes: decode(body, self.architecture, codes)

    def reconstruct(self, codes: Array) -> NDArray[np.float64]:
        """Return the pictures (rows, channels, height, width) of activations (rows, *code)."""
        torch = torch_or_refuse("the convolutional decoder")
        run = self.module()
        with torch.no_grad():
            return run(torch.from_numpy(_as_codes(codes, self.architecture.code))).numpy().astype(np.float64)


@dataclass(frozen=True)
class ConvFit:
    """A trained decoder and the mean loss of each epoch; ``encode`` is the reference's own encoder, None of a layer."""

    decoder: ConvDecoder
    losses: tuple[float, ...]
    encode: Callable[[Any], Any] | None = None

    def pictures(
        self, codes: RowSource, examples: Examples, device: str = "cpu"
    ) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
        """Return the function from numbers of rows to pictures (rows, channels, height, width) in [0, 1].

        A reference sees the pictures of the rows, any other decoder their stored activations.
        """
        torch = torch_or_refuse("the convolutional decoder")
        run = self.decoder.module(device)

        def given(rows: NDArray[np.int64]) -> Any:
            if self.encode is not None:
                return self.encode(examples.units.to_stored(_tensor(examples.pictures(rows), device))).float()
            shape = self.decoder.architecture.code
            return torch.from_numpy(_as_codes(take(codes, rows), shape)).to(the_device(device))

        def decoded(rows: NDArray[np.int64]) -> NDArray[np.float64]:
            with torch.no_grad():
                return run(given(rows)).cpu().numpy().astype(np.float64)

        return decoded


def fit_conv(
    codes: RowSource | Array,
    examples: Examples,
    training: Training = _DEFAULTS,
    axes: Sequence[str] = (),
    classifier: Classifier | None = None,
) -> ConvFit:
    """Train a decoder from the stored rows of a layer.

    Args:
        codes: (rows, *features) activations, in any float or whole dtype.
        examples: pictures of the same rows, and labels where ``alpha`` is above 0.
        training: how.
        axes: what the layer's axes are called, such as channel, height, width.
        classifier: frozen, of the same pictures; needed where ``alpha`` is above 0.

    Raises:
        ProblemError: rows that do not match or are not finite; alpha above 0 without classifier or labels; a loss that
            is no longer a number.
        EngineError: torch is not installed, or has no such device.
    """
    torch = torch_or_refuse("the convolutional decoder")
    source, settings = as_source(codes), training.settings
    examples.refuse_others(source)
    shape = tuple(int(length) for length in source.shape[1:])
    built = architecture(shape, axes, examples.units.picture)
    body = build(built, settings.seed, examples.brightness())
    judged = _Loss(examples, settings, classifier)

    def loss_of(rows: NDArray[np.int64]) -> Any:
        given = torch.from_numpy(_as_codes(take(source, rows), shape)).to(the_device(settings.device))
        return judged.of(decode(body, built, given), _tensor(examples.pictures(rows), settings.device), rows)

    losses = train(body, loss_of, judged.rows, training)
    return ConvFit(ConvDecoder(built, state_of(body)), losses)


def fit_reference(
    make: Callable[[], Any],
    layer: str,
    examples: Examples,
    training: Training = _DEFAULTS,
    axes: Sequence[str] = (),
) -> ConvFit:
    """Train the same decoder behind a fresh copy of the classifier's layers up to one, both for the picture alone.

    Args:
        make: the factory of the classifier.
        layer: which layer's output the decoder sees.
        examples: pictures.
        training: how; ``alpha`` is 0 here.
        axes: what the layer's axes are called.

    Raises:
        ProblemError: a network that cannot be drawn anew, or has no such layer.
    """
    torch = torch_or_refuse("the reference")
    training = training.changed(alpha=0.0)
    settings = training.settings
    model = fresh(make, settings.seed).to(the_device(settings.device)).eval()
    encoder = Encoder(model, layer)
    with torch.no_grad():
        first = encoder(
            examples.units.to_stored(_tensor(examples.pictures(examples.train[:2]), settings.device))
        )
    built = architecture(tuple(first.shape[1:]), axes, examples.units.picture)
    body = build(built, settings.seed, examples.brightness())
    judged = _Loss(examples, settings, None)
    encoder.train()

    def loss_of(rows: NDArray[np.int64]) -> Any:
        shown = _tensor(examples.pictures(rows), settings.device)
        return judged.of(decode(body, built, encoder(examples.units.to_stored(shown)).float()), shown, rows)

    both = torch.nn.ModuleDict({"decoder": body, "encoder": model})
    losses = train(both, loss_of, judged.rows, training)
    model.eval()
    return ConvFit(ConvDecoder(built, state_of(body)), losses, encoder)


@dataclass(frozen=True, eq=False)
class Judge:
    """The evaluation classifier: the classifier's architecture, trained on reconstructions alone."""

    model: Any
    classifier: Classifier
    losses: tuple[float, ...]

    def log_odds(self, pictures: Any) -> Any:
        """Return logits (rows, classes) of a tensor of pictures in [0, 1]."""
        return self.classifier.of(self.model, pictures)


def fit_evaluation(
    make: Callable[[], Any],
    classifier: Classifier,
    reconstruct: Callable[[NDArray[np.int64]], Array],
    examples: Examples,
    training: Training = _DEFAULTS,
) -> Judge:
    """Train the classifier's architecture anew on reconstructions of the training pictures: Adam at 1e-3.

    Args:
        make: the factory of the classifier.
        classifier: the classes, and whether its outputs are probabilities.
        reconstruct: from numbers of rows to pictures (rows, channels, height, width) in [0, 1].
        examples: with labels.
        training: how; the learning rate is 1e-3 here, without weight decay.

    Raises:
        ProblemError: a network that cannot be drawn anew; no labels.
    """
    torch = torch_or_refuse("the evaluation classifier")
    training = training.changed(alpha=0.0, learning_rate=EVALUATION_RATE, weight_decay=0.0)
    labels = _labels(examples)
    model = fresh(make, training.settings.seed).train()

    def loss_of(batch: NDArray[np.int64]) -> Any:
        shown = _tensor(reconstruct(batch), training.settings.device)
        wanted = torch.from_numpy(labels[batch]).to(shown.device)
        return torch.nn.functional.cross_entropy(classifier.of(model, shown), wanted)

    losses = train(model, loss_of, examples.train[labels[examples.train] >= 0], training)
    return Judge(model.eval(), classifier, losses)


class _Loss:
    """(1 − α) · squared error + α · cross-entropy, in the convention of a mean over values (``alpha_per_value``)."""

    def __init__(self, examples: Examples, settings: DecoderSettings, classifier: Classifier | None) -> None:
        self._settings, self._classifier = settings, classifier
        self._alpha = alpha_per_value(settings.alpha, examples.units.values)
        self.rows = np.asarray(examples.train, np.int64)
        """The rows to train on: with a label, where labels take part."""
        if settings.alpha > 0:
            if classifier is None:
                msg = f"alpha is {settings.alpha:g}, but there is no classifier; give one, or alpha 0"
                raise ProblemError(msg)
            self._wanted = _labels(examples)
            self.rows = self.rows[self._wanted[self.rows] >= 0]

    def of(self, pictures: Any, shown: Any, rows: NDArray[np.int64]) -> Any:
        """Return the loss of decoded pictures beside those that were shown, of some rows."""
        torch = torch_or_refuse("the convolutional decoder")
        error = torch.nn.functional.mse_loss(pictures, shown)
        if self._classifier is None or self._settings.alpha == 0:
            return error
        wanted = torch.from_numpy(self._wanted[rows]).to(pictures.device)
        nats = torch.nn.functional.cross_entropy(self._classifier.log_odds(pictures).float(), wanted)
        return (1 - self._alpha) * error + self._alpha * nats


def _tensor(pictures: Array, device: str) -> Any:
    """Pictures as float32 on the device."""
    torch = torch_or_refuse("the convolutional decoder")
    return torch.from_numpy(np.asarray(pictures, np.float32)).to(the_device(device))


def _labels(examples: Examples) -> NDArray[np.int64]:
    if examples.labels is None:
        msg = "a classifier takes part, but there are no labels; give the target that it was trained on"
        raise ProblemError(msg)
    return examples.labels


def _as_codes(codes: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Activations as float32 (rows, *shape).

    Raises:
        ProblemError: some are not finite, in their own dtype or in float32.
    """
    given = np.asarray(codes)
    with np.errstate(over="ignore"):
        found = given.reshape(len(given), -1).astype(np.float32)
    if bad := not_finite(found):
        msg = (
            f"{bad:,} rows of activations hold NaN, infinities or numbers beyond float32; leave those rows out"
        )
        raise ProblemError(msg)
    return found.reshape(len(given), *shape)
