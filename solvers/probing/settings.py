"""What every layer of one call is fitted with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LayerSettings"]


@dataclass(frozen=True)
class LayerSettings:
    """What every layer of one call is fitted with; the words are those of ``fit_layers``."""

    C: tuple[float, ...]
    scale: bool
    engine: str
    gap_nats: float
    seed: int
    random_features: int | None
    full_path: bool
    class_weight: Mapping[Any, float] | str | None
    memory_bytes: int | None
    device: str | None
    step: int
    fingerprint: str
    command: str

    def check(self) -> None:
        """Refuse, before anything is read, settings that no layer can be fitted with."""
        if not self.C:
            msg = "C is an empty list; give one penalty or several, or leave it out for 1e-4 to 1e4"
            raise ProblemError(msg)
        if self.seed < 0:
            msg = f"seed is {self.seed}; expected an int of 0 or more"
            raise ProblemError(msg)
        if self.random_features is not None and self.random_features < 1:
            msg = f"random_features is {self.random_features}; expected a number of columns, 1 or more"
            raise ProblemError(msg)

    def options(self) -> dict[str, Any]:
        """What ``solvers.fit`` takes of them as it is."""
        names = ("scale", "engine", "gap_nats", "seed", "class_weight", "memory_bytes", "device")
        options = {name: getattr(self, name) for name in names}
        return options | {"full_path": self.full_path} if len(self.C) > 1 else options
