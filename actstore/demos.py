"""``demo:NAME``: small networks, trained on the spot, for trying things out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actstore.sources.digits import split_rows

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier


def digits(hidden: tuple[int, ...] = (128, 64, 32), seed: int = 0) -> MLPClassifier:
    """A multi-layer perceptron trained on the ``train`` split of ``digits``; the same each time, in about a second."""
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    images, classes = split_rows("train")
    network = MLPClassifier(hidden_layer_sizes=hidden, random_state=seed, max_iter=5000)
    with threadpool_limits(1):  # threads only get in each other's way on products this small
        return network.fit(images, classes)


DEMOS = {"digits": digits}
