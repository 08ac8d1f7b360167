"""What a study of decoders is asked for: the plan, the rows, the live network, and each job of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from solvers.decoders.decoder import LAYER, REFERENCE
from solvers.decoders.settings import DecoderSettings
from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from solvers.decoders.examples import Examples
    from solvers.rows import RowSource

__all__ = ["Job", "Network", "Plan", "Study", "jobs_of"]


@dataclass(frozen=True)
class Plan:
    """Which decoders are asked for.

    Args:
        method: ``linear`` or ``conv``.
        alphas: of (1 − α) · squared error, summed over the image, + α · cross-entropy.
        seeds: of the trainings; a linear decoder has none, and is fitted once.
        reference: whether each layer gets the auto-encoder to compare with.
        evaluate: whether each decoder gets an evaluation classifier.
        penalties: of a linear decoder; None: its grid.
        engine: of a linear decoder.
        memory_bytes: for a linear decoder's Gram.
        settings: of trainings; their alpha and seed are those above.

    Raises:
        ProblemError: what does not go together.
    """

    method: str = "conv"
    alphas: tuple[float, ...] = (0.0,)
    seeds: tuple[int, ...] = (0,)
    reference: bool = False
    evaluate: bool = False
    penalties: tuple[float, ...] | None = None
    engine: str = "auto"
    memory_bytes: int | None = None
    settings: DecoderSettings = field(default_factory=DecoderSettings)

    def __post_init__(self) -> None:
        if self.method not in ("linear", "conv"):
            msg = f"there is no decoder {self.method!r}; expected linear or conv"
            raise ProblemError(msg)
        if not self.alphas or not self.seeds or len(set(self.alphas)) < len(self.alphas):
            msg = f"alphas {self.alphas} and seeds {self.seeds}; expected at least one of each, each once"
            raise ProblemError(msg)
        for alpha in self.alphas:
            replace(self.settings, alpha=alpha)  # refused where it is none
        if self.method == "linear" and (self.reference or self.alphas != (0.0,)):
            msg = "a linear decoder has neither a reference nor an alpha above 0: both are trained; take --decoder conv"
            raise ProblemError(msg)

    @property
    def needs_network(self) -> bool:
        """Whether a live classifier takes part."""
        return self.reference or self.evaluate or any(alpha > 0 for alpha in self.alphas)


@dataclass(frozen=True, eq=False)
class Network:
    """The live classifier.

    Args:
        classifier: checked and frozen (``by_torch.classifier.Classifier``).
        make: the factory of its architecture.
        identity: JSON, what identifies its weights and arguments.
    """

    classifier: Any
    make: Callable[[], Any]
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Study:
    """Stored rows, and what they are for.

    Args:
        codes: by layer, (rows, *features).
        axes: by layer, what its axes are called.
        examples: pictures, and labels where a target takes part.
        scored: numbers of the rows that are scored; nothing is learned from them or chosen by them.
        split: which split these are.
        groups: (rows,) ints, equal for rows that belong together; None without.
        store, step, target: what scores say of where they are from.
        classes: how many the target has; 0 without.
        provenance: JSON, for the file.
    """

    codes: Mapping[str, RowSource]
    axes: Mapping[str, Sequence[str]]
    examples: Examples
    scored: NDArray[np.int64]
    split: str
    groups: NDArray[np.int64] | None = None
    store: str = ""
    step: int = 0
    target: str = ""
    classes: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One decoder of a study; ``number`` counts from 1 to ``total``; ``doing`` is ``decoder`` or ``evaluation``."""

    layer: str
    role: str
    alpha: float
    seed: int
    number: int = 0
    total: int = 0
    doing: str = "decoder"

    def __str__(self) -> str:
        what = "reference" if self.role == REFERENCE else f"alpha {self.alpha:g}"
        return f"{self.number} of {self.total}: {self.layer}, {what}, seed {self.seed}, {self.doing}"


def jobs_of(study: Study, plan: Plan) -> list[Job]:
    """Return every decoder of a plan, layer by layer and seed by seed."""
    seeds = plan.seeds if plan.method == "conv" or plan.evaluate else plan.seeds[:1]
    jobs = []
    for layer in study.codes:
        for seed in seeds:
            jobs += [Job(layer, LAYER, alpha, seed) for alpha in plan.alphas]
            jobs += [Job(layer, REFERENCE, 0.0, seed)] if plan.reference else []
    return jobs
