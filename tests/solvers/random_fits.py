"""Random problems of every shape, fitted by the engine numpy and held against the tests' own Newton method.

    python -m tests.solvers.random_fits 3000 [FIRST_SEED]

counts certificates that are false (the probe is further from the optimum than it says) and fits that missed their gap.
Two classes and fewer rows than columns come often, so that rows turned to the space they span and coefficients of one
row are what is mostly tried; half of the problems are worked in float32, which only large ones are otherwise.
"""

import sys
import warnings
from dataclasses import dataclass
from unittest import mock

import numpy as np

import solvers
from solvers.problem.problem import pose

ROUNDING = 1e-13
"""What the independent optimum is known to, as a share of one nat and the loss."""


@dataclass(frozen=True)
class Drawn:
    """One problem, and how it is fitted."""

    activations: np.ndarray
    labels: dict
    weights: np.ndarray | None
    C: list
    gap_nats: float
    scale: bool
    single: bool


def draw(seed):
    """A problem by its number."""
    generator = np.random.default_rng(seed)
    rows, width = int(generator.integers(6, 45)), int(generator.integers(1, 60))
    activations = generator.standard_normal((rows, width)) * np.arange(1, width + 1) ** -generator.uniform(
        0, 1.5
    )
    if generator.random() < 0.5:
        activations = activations @ np.linalg.qr(generator.standard_normal((width, width)))[0]
    activations *= 10.0 ** generator.uniform(-1.5, 1.5)
    activations[:, 0] += generator.choice([0.0, 300.0])
    activations[:, -1] *= generator.choice([1.0, 200.0])
    if generator.random() < 0.2:
        activations[rows // 2 :] = activations[: rows - rows // 2]  # rows that are there twice
    labels = {}
    for target in range(int(generator.integers(1, 3))):
        classes = 2 if generator.random() < 0.7 else int(generator.integers(3, 5))
        logits = activations @ generator.standard_normal((width, classes))
        logits *= generator.uniform(0.1, 3) / max(logits.std(), 1e-9)
        labels[target] = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
        labels[target][:classes] = np.arange(classes)
    weights = generator.exponential(size=rows) if generator.random() < 0.3 else None
    kind = np.float32 if generator.random() < 0.6 else np.float64
    strengths = sorted(10.0 ** generator.uniform(-3, 3, int(generator.integers(1, 5))))
    gap = float(generator.choice([1e-4, 1e-6]))
    scale, single = bool(generator.random() < 0.5), bool(generator.random() < 0.5)
    return Drawn(activations.astype(kind), labels, weights, strengths, gap, scale, single)


def fitted(drawn):
    """The paths of every target."""
    given = {"sample_weight": drawn.weights, "gap_nats": drawn.gap_nats, "scale": drawn.scale}
    elements = 0 if drawn.single else 1 << 16
    with (
        mock.patch("solvers.lbfgs.sweep.DOUBLE_ELEMENTS", elements),
        mock.patch("solvers.lbfgs.turned.DOUBLE_ELEMENTS", elements),
        mock.patch("solvers.lbfgs.turned.LEAST_ELEMENTS", 0),  # so that these few rows are turned, too
    ):
        return solvers.fit(drawn.activations, drawn.labels, C=drawn.C, engine="numpy", **given)


class Optimum:
    """The optimum of a problem by damped Newton steps on the whole Hessian, in the formula of docs/solving.md."""

    def __init__(self, problem, C):
        x = (np.asarray(problem.source[:], np.float64) - problem.mean) / problem.scale
        self.x = np.column_stack([x, np.ones(len(x))])
        self.weights = np.ones(len(x)) if problem.weights is None else problem.weights
        self.one_hot = np.eye(len(problem.classes))[problem.codes]
        effective = C / 2 if len(problem.classes) == 2 else C
        self.penalty = np.append(np.full(x.shape[1], 1 / (effective * problem.total_weight)), 0.0)
        self.loss = self._solved()

    def loss_at(self, a):
        """The objective at coefficients (classes, width + 1)."""
        return self._found(a)[0]

    def _found(self, a):
        z = self.x @ a.T
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        fit = -(self.weights * (self.one_hot * log_p).sum(axis=1)).mean()
        return fit + 0.5 * (self.penalty * a**2).sum(), np.exp(log_p)

    def _solved(self):
        classes, size = self.one_hot.shape[1], self.x.shape[1]
        a, rows = np.zeros((classes, size)), len(self.x)
        value, p = self._found(a)
        for _ in range(200):
            gradient = ((p - self.one_hot) * self.weights[:, None]).T @ self.x / rows + self.penalty * a
            v = self.weights[:, None, None] * (p[:, :, None] * (np.eye(classes) - p[:, None, :]))
            hessian = np.einsum("nij,na,nb->iajb", v, self.x, self.x, optimize=True) / rows
            hessian[:, -1, :, -1] += 1.0  # a shift of all intercepts, which changes nothing
            hessian = hessian.reshape(classes * size, -1) + np.diag(np.tile(self.penalty, classes))
            step = -np.linalg.lstsq(hessian, gradient.ravel(), rcond=1e-15)[0].reshape(a.shape)
            length = 1.0
            while length > 1e-9 and not self._found(a + length * step)[0] < value:
                length /= 2
            if length <= 1e-9:
                break
            a = a + length * step
            value, p = self._found(a)
        return value


def judged(drawn):
    """What each fit claims and what is true: (fit, gap by the independent optimum, loss at the fit)."""
    for name, path in fitted(drawn).items():
        problem = pose(drawn.activations, drawn.labels[name], drawn.weights, scale=drawn.scale)
        for fit in path:
            optimum = Optimum(problem, fit.C)
            loss = optimum.loss_at(np.column_stack([fit.coefficients.T, fit.intercept]))
            yield fit, loss - optimum.loss, loss


def is_false(fit, gap, loss):
    """Whether a certificate says less than the truth."""
    return not fit.gap_nats >= gap - ROUNDING * (1 + loss)


def main():
    """Try many, and say what came of it."""
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    fits = false = missed = wide = two = 0
    for seed in range(first, first + count):
        if seed > first and (seed - first) % 100 == 0:
            print(f"{seed - first} problems, {fits} fits, {false} false, {missed} missed", flush=True)  # noqa: T201
        drawn = draw(seed)
        wide += drawn.activations.shape[0] < drawn.activations.shape[1]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for fit, gap, loss in judged(drawn):
                fits, two = fits + 1, two + (len(fit.classes) == 2)
                if is_false(fit, gap, loss):
                    false += 1
                    print(f"FALSE: seed {seed}, C={fit.C:g}: {fit.gap_nats:.3e} said, {gap:.3e} true")  # noqa: T201
                if fit.status != "converged":
                    missed += 1
                    print(f"missed: seed {seed}, C={fit.C:g}: {fit!r}")  # noqa: T201
    print(f"{count} problems ({wide} of fewer rows than columns), {fits} fits ({two} of two classes):")  # noqa: T201
    print(f"{false} false certificates, {missed} gaps missed")  # noqa: T201


if __name__ == "__main__":
    main()
