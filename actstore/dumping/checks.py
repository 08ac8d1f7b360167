"""What is checked of a dump besides its data: before the first row, of every batch, and after the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from actstore.adapters.moves import POSITION
from actstore.dumping.first_look import blaming_model, extremes, try_last_sizes
from actstore.dumping.looking import Looks, Spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actstore.adapters.base import Prepared, RunRows
    from actstore.dumping.plan import DumpPlan
    from actstore.rows.ids import RowIds

CheckBatch: TypeAlias = "Callable[[Prepared, Sequence[str]], None]"
"""Checks a batch, of examples with these ids, before it runs."""


@dataclass(frozen=True)
class Checks:
    """The checks of a plan."""

    plan: DumpPlan

    def before(self, ids: RowIds) -> None:
        """Check the model, the padding and the size of the last batch before the first row is stored.

        Raises:
            DumpError, LayerError: see ``Padded.refuse``, ``try_last_sizes``, ``SelfCheck.run``.
        """
        plan, first_ids = self.plan, self.plan.selfcheck.subject.ids
        hardest = extremes(plan, ids) if plan.padded.positions or plan.settings.selfcheck else None
        if plan.padded.positions:
            with blaming_model("the first batch", first_ids):
                plan.padded.refuse(plan.adapter.prepare(plan.first.inputs).inputs)
            if hardest is not None:
                with blaming_model("the shortest and the longest text", hardest.ids):
                    plan.padded.refuse(plan.adapter.prepare(hardest.inputs).inputs)
        try_last_sizes(plan)
        if plan.settings.selfcheck:
            with blaming_model("the self-check before the first row", first_ids):
                plan.selfcheck.run(hardest)

    def within(self, run: RunRows) -> CheckBatch:
        """Return what is called with every batch: it refuses padding, and checks rows whose lengths are new."""
        plan, unit = self.plan, self.plan.settings.unit
        axes = {layer.name: layer.axes for layer in plan.reductions.layers}
        if not unit.whole:
            axes = {name: (POSITION, *names) for name, names in axes.items()}
        looks, spread = Looks(run, axes, None if unit.whole else unit.name), Spread()

        def check(prepared: Prepared, ids: Sequence[str]) -> None:
            plan.padded.refuse(prepared.inputs)
            if plan.settings.selfcheck and spread.is_new(prepared.inputs):
                with plan.reductions.uncounted():
                    plan.selfcheck.repeat(looks, prepared, ids)

        return check

    def after(self) -> None:
        """Run the first rows once more.

        Raises:
            DumpError: see ``SelfCheck.end``.
        """
        with blaming_model("the self-check after the last batch", self.plan.selfcheck.subject.ids):
            self.plan.selfcheck.end()
