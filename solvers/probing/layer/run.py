"""One call over all that it fits: layers, steps and draws, one after another, what ends early kept."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from solvers.fitting.result import FitInterrupted
from solvers.probing.layer.fit_layer import Question, fit_layer, fit_layer_at
from solvers.probing.layer.one_strength import at_one_strength, one_strength
from solvers.workers.threads import at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from solvers.fitting.result import FitProgress
    from solvers.probing.finished.parts import Parts
    from solvers.probing.layer.slices import FitLayer
    from solvers.probing.layer.warm_starts import Start
    from solvers.probing.probes import Probes

__all__ = ["LayerProgress", "Run"]


@dataclass(frozen=True)
class LayerProgress:
    """Reported as a layer is begun, and again within it: ``done`` of ``total`` layers lie behind.

    ``fit`` says how far the layer is; None as it is begun.
    """

    layer: str
    done: int
    total: int
    fit: FitProgress | None = None


@dataclass(frozen=True)
class Run:
    """What every layer of one call is asked and told."""

    question: Question
    starts: Mapping[str, Mapping[str, Start]]
    progress: Callable[[LayerProgress], None] | None

    def over(self, kept: Parts) -> Probes:
        """Fit the layers that are not finished; what ends it early keeps those that are."""

        def work(layer: FitLayer) -> None:
            with self._guarded(kept, layer):
                within = self._begin(kept, layer)
                starts = _of_step_before(kept, layer) or self.starts.get(layer.name, {})
                kept.keep(layer, fit_layer(layer, self.question, starts, within))

        with self._waiting(kept), at_most(self.question.settings.threads):
            kept.each(
                work, ready=lambda layer: all(other.number in kept.finished for other in _earlier(kept, layer))
            )
            if self.question.settings.one_C and kept.published is None:
                self._at_one_strength(kept)
        return kept.joined()

    def _at_one_strength(self, kept: Parts) -> None:
        """Take the probes to one C for each target; a layer that is there already is left as it is."""
        every = [probe for part in kept.finished.values() for probe in part.values()]
        metric = self.question.settings.select_by
        strengths = {
            target: one_strength(every, target, metric) for target in {probe.target for probe in every}
        }

        def whole(probes: Probes) -> bool:
            return all(
                strengths[probe.target] == probe.C and "one_C" in probe.proof.chosen
                for probe in probes.values()
            )

        def work(layer: FitLayer) -> None:
            with self._guarded(kept, layer, "; they are not all at one C yet"):
                within = self._begin(kept, layer)
                found = fit_layer_at(layer, self.question, kept.finished[layer.number], strengths, within)
                kept.keep(layer, found.changed(lambda probe: at_one_strength(probe, every)))

        kept.each(work, whole)

    @contextmanager
    def _guarded(self, kept: Parts, layer: FitLayer, more: str = "") -> Iterator[None]:
        """Say how far it was where work on a layer ends early, and what is kept."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            kept.abandon()
            raise FitInterrupted(_how_far(kept, layer.called) + more, kept.joined) from interrupt
        except BaseException as error:
            kept.explain(error)
            raise

    @contextmanager
    def _waiting(self, kept: Parts) -> Iterator[None]:
        """Say how far it was where it ends between two layers, as where a rank waits for others."""
        try:
            yield
        except FitInterrupted:
            raise
        except KeyboardInterrupt as interrupt:
            kept.abandon()
            where = "while other ranks fit the last layers" if kept.shared else "between two layers"
            raise FitInterrupted(f"interrupted {where}, with {_finished(kept)}", kept.joined) from interrupt

    def _begin(self, kept: Parts, layer: FitLayer) -> Callable[[FitProgress], None] | None:
        """Report that a layer is begun; gives what reports how far it is."""
        report, total = self.progress, len(kept.layers)
        if report is None:
            return None
        done = min(len(kept.finished), total - 1) if kept.shared else layer.number
        report(LayerProgress(layer.called, done, total))
        return lambda fit: report(LayerProgress(layer.called, done, total, fit))


def _of_step_before(kept: Parts, layer: FitLayer) -> dict[str, Start]:
    """Where a layer starts from: its own probes at the step before, of the same draw; none at the first step."""
    found: dict[str, Start] = {}
    for other in _earlier(kept, layer):
        found |= {probe.target: probe.map for probe in kept.finished[other.number].values()}
    return found


def _earlier(kept: Parts, layer: FitLayer) -> list[FitLayer]:
    """The same layer, of the same draw, at the steps before."""
    return [
        other
        for other in kept.layers
        if (other.name, other.seed) == (layer.name, layer.seed) and other.step < layer.step
    ]


def _how_far(parts: Parts, layer: str) -> str:
    return f"interrupted at layer {layer!r}, with {_finished(parts)}"


def _finished(parts: Parts) -> str:
    done, total = len(parts.finished), len(parts.layers)
    kept = f", kept in {parts.folder}; the same command goes on from there" if done and parts.folder else ""
    return f"{done} of {total} layers fitted{kept}"
