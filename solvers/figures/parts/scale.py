"""The axis of the values. Its ends and ticks are found here, not by the drawing, so that labels can be placed by it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solvers.errors import FigureError
from solvers.figures.parts.look import Look
from solvers.figures.parts.names import width_of
from solvers.figures.rows import lower_is_better

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solvers.figures.asked import Asked
    from solvers.figures.rows import Shown

__all__ = ["ValueScale", "metric_words", "number", "scale_of", "with_interval"]

_WORDS = {"error": "prediction error", "cross_entropy": "cross-entropy", "roc_auc": "area under the ROC curve"}
_TICKS = 5
_LEAST_SHARE = 1e-9
_HEAD = 0.07


def metric_words(metric: str) -> str:
    """Return a metric as a reader calls it."""
    return _WORDS.get(metric, metric.replace("_", " "))


def number(value: float, unit: str) -> str:
    """Return a value with three figures, a share in percent; with more where a share that is not 1 would be 100%."""
    if not math.isfinite(value):
        return "-"
    if unit != "share":
        return f"{value:.3g}"
    texts = (f"{100 * value:.{figures}g}%" for figures in range(3, 17))
    return next(text for text in texts if text != "100%" or value == 1)


def with_interval(row: Shown) -> str:
    """Return a value and, where there is one, its interval."""
    score = row.score
    text = number(score.value, score.unit)
    if math.isfinite(score.low) and math.isfinite(score.high):
        text += f" [{number(score.low, score.unit)}, {number(score.high, score.unit)}]"
    return text


@dataclass(frozen=True)
class ValueScale:
    """From values to pixels.

    Args:
        metric, unit: what the values are.
        kind: ``linear`` or ``log``.
        low, high: the ends.
        ticks: the values that are written at the axis, in letters of the size ``font``.
    """

    metric: str
    unit: str
    kind: str
    low: float
    high: float
    ticks: tuple[float, ...]
    font: float = 11

    @property
    def _labels(self) -> float:
        """The width of the widest label."""
        return max((width_of(number(tick, self.unit), self.font) for tick in self.ticks), default=0.0)

    @property
    def title(self) -> str:
        """What the axis is called."""
        unit = "" if self.unit in ("share", "") else f" ({self.unit})"
        return f"{metric_words(self.metric)}{unit}{', log scale' if self.kind == 'log' else ''}"

    def encoding(self, field: str, title: str | None = "", upright: bool = True) -> dict[str, Any]:
        """Return the Vega-Lite channel of a field; ``title`` None for none; ``upright`` beside a plot, else below."""
        axis = {
            "values": list(self.ticks),
            "minExtent": self._labels + 8 if upright else self.font * 1.3 + 8,
            "format": "~%" if self.unit == "share" else "~g",
            "title": self.title if title == "" else title,
            "labelOverlap": False,
        }
        scale = {"type": self.kind, "domain": [self.low, self.high], "nice": False, "zero": False}
        return {"field": field, "type": "quantitative", "axis": axis, "scale": scale}

    def pixel(self, value: float, height: float) -> float:
        """Return how far below the top a value lies."""
        ends = (self.low, self.high, value)
        low, high, at = map(math.log, ends) if self.kind == "log" else ends
        return height * (high - at) / (high - low)

    def inside(self, value: float) -> bool:
        """Whether a value lies between the ends."""
        slack = 1e-9 * (self.high - self.low)
        return self.low - slack <= value <= self.high + slack

    def drawn(self, value: float) -> float | None:
        """Return where a value is drawn: on a logarithmic scale what is not positive lies at the low end."""
        if not math.isfinite(value):
            return None
        return max(value, self.low) if self.kind == "log" and value <= 0 else value

    def left(self) -> float:
        """Return the room that labels and title take beside the plot."""
        return self._labels + 10 + 1.7 * self.font


def scale_of(rows: Iterable[Shown], asked: Asked, metric: str, further: Sequence[float] = ()) -> ValueScale:
    """Return the scale that has room for scores, their intervals and ``further`` values (lines across).

    Raises:
        FigureError: no score has a value, or a logarithmic scale is asked for values below 0 or for nothing above 0.
    """
    every = [row.score for row in rows]
    values = [
        value for score in every for value in (score.value, score.low, score.high) if math.isfinite(value)
    ]
    unit = every[0].unit if every else ""
    values += [value for value in further if math.isfinite(value)]
    if not any(math.isfinite(score.value) for score in every):
        msg = f"there is nothing to plot: none of the {len(every):,} scores of {metric} has a value"
        raise FigureError(msg)
    if asked.scale == "log":
        ends = asked.ylim or _log_ends(values, metric)
        ticks = _log_ticks(*ends)
    else:
        low = min([*values, *([0.0] if lower_is_better(metric) or unit == "nats" else [])])
        ends, ticks = _linear(asked.ylim or (low, max(values)), asked.ylim is None)
        if asked.ylim is None and ends[0] < max([*further, ends[0]]) > ends[1] - _HEAD * (ends[1] - ends[0]):
            # A line at the very top leaves no room for its label.
            ends, ticks = _linear((ends[0], ends[1] + _HEAD * (ends[1] - ends[0])), nice=True)
    return ValueScale(metric, unit, asked.scale, *ends, tuple(ticks), Look.of(asked).font)


def _linear(ends: tuple[float, float], nice: bool) -> tuple[tuple[float, float], list[float]]:
    low, high = ends
    if high - low < _LEAST_SHARE * max(1.0, abs(high)):
        low, high = (0.0, high * 1.25) if high > 0 else (low - 0.5, high + 0.5)
    step = _step((high - low) / _TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if nice:
        low, high = first * step, last * step
    ticks = [round(place * step, 12) for place in range(first, last + 1)]
    slack = 1e-9 * (high - low)
    return (low, high), [tick for tick in ticks if low - slack <= tick <= high + slack]


def _step(about: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= about * 0.999)


def _log_ends(values: Sequence[float], metric: str) -> tuple[float, float]:
    positive = [value for value in values if value > 0]
    if not positive or min(values) < 0:
        what = "none of which is above 0" if not positive else "some of which are below 0"
        msg = f"{metric} cannot be drawn on a logarithmic scale: {len(values):,} values, {what}; use --scale linear"
        raise FigureError(msg)
    low, high = min(positive), max(positive)
    room = max((high / low) ** 0.06, 1.1)
    return low / room, high * room


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 2 * _TICKS - 2:
            break
    if len(ticks) > 2 * _TICKS:
        ticks = ticks[:: math.ceil(len(ticks) / (2 * _TICKS))]
    return ticks if len(ticks) > 1 else _linear((low, high), nice=False)[1]
