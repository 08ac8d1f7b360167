"""Layer patterns: which layers of a network the user means.

A pattern is an exact name first; else a glob in which ``*`` stops at dots and ``**`` crosses them
(``model.layers.*`` is the residual stream); ``re:`` begins a regular expression that the whole name must match.
A pattern that picks a module picks all its calls (``relu``, ``relu#1``, ...); ``relu#1`` picks one of them.
``input`` and ``output`` (what goes into and comes out of the whole model) are taken by their exact names only, so
that ``**`` does not store them unasked. ``relu:in`` is what goes into ``relu`` (``relu:in#1`` when it is called again):
taken by its name, or by a pattern that itself ends in ``:in``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from actstore.errors import LayerError
from actstore.wording import hint, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from actstore.activations import ModelLayer

_CALL = re.compile(r"#\d+$")
_STARS = re.compile(r"(\*\*|\*)")
_STAR_MEANINGS = {"**": ".*", "*": "[^.]*"}
INTO = ":in"
"""Ends the name of what goes into a layer."""


def select(
    patterns: Sequence[str], layers: Sequence[ModelLayer], exclude: Sequence[str] = ()
) -> list[ModelLayer]:
    """The layers that at least one pattern picks and none of ``exclude`` does, in call order.

    Globs and regular expressions pass over layers that have nothing to store (never called, or returning no
    single array); asked for by its exact name, such a layer is an error that says why.

    Raises:
        LayerError: no pattern at all, a malformed pattern, one that picks nothing (of ``exclude``, too: a typing
            mistake there would store what nobody wants), nothing left, or a layer with nothing to store.
    """
    names = [layer.name for layer in layers]
    if not patterns:
        msg = f"no layers were asked for; name some of {listed([name for name in names if not asks_for_inputs(name)])}"
        raise LayerError(msg)
    left_out = named_by(exclude, layers)
    picked = {layer.name for pattern in patterns for layer in _picked(pattern, layers, names)}
    if picked <= left_out:
        raise none_left(exclude, len(picked))
    return [layer for layer in layers if layer.name in picked - left_out]


def pick_names(patterns: Sequence[str], names: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
    """The names of stored layers that at least one pattern picks and none of ``exclude`` does, in their order.

    Raises:
        LayerError: a pattern that is malformed or picks nothing, or nothing left of what was picked.
    """
    picked, left_out = _names_picked(patterns, names), _names_picked(exclude, names)
    if picked and picked <= left_out:
        raise none_left(exclude, len(picked))
    return [name for name in names if name in picked - left_out]


def _names_picked(patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    picked: set[str] = set()
    for pattern in patterns:
        matches = matcher(pattern, names)
        found = {name for name in names if matches(name)}
        if not found:
            raise unknown(pattern, names)
        picked |= found
    return picked


def none_left(exclude: Sequence[str], picked: int) -> LayerError:
    """The error where ``--exclude-layers`` leaves nothing of what was picked."""
    return LayerError(
        f"no layers are left: --exclude-layers {' '.join(exclude)} takes all {picked:,} that were picked"
    )


def named_by(patterns: Sequence[str], layers: Sequence[ModelLayer]) -> set[str]:
    """The names of the layers that patterns mean, whether they can be stored or not.

    Raises:
        LayerError: a malformed pattern, or one that picks nothing.
    """
    names: set[str] = set()
    for pattern in patterns:
        found = [layer.name for layer, picks in zip(layers, matching(pattern, layers), strict=True) if picks]
        if not found:
            raise unknown(pattern, [layer.name for layer in layers])
        names.update(found)
    return names


def check_patterns(patterns: Iterable[str]) -> None:
    """Refuse, before any layer is known, what is no pattern.

    Raises:
        LayerError: an empty pattern, or a regular expression that is none.
    """
    for pattern in patterns:
        if not pattern.removeprefix("re:"):
            msg = f"layer pattern {pattern!r} is empty; write a layer's name, a glob such as 'conv*', or re:EXPRESSION"
            raise LayerError(msg)
        if pattern.startswith("re:"):
            _compiled(pattern)


def check_axes(entries: Iterable[str]) -> None:
    """Refuse, before any layer is known, an entry of ``--axes`` that is none.

    Raises:
        LayerError: not ``PATTERN=NAME,NAME,...``, or a malformed pattern.
    """
    for entry in entries:
        check_patterns([_axes_entry(entry)[0]])


def check_batch_axes(entries: Iterable[str]) -> None:
    """Refuse, before any layer is known, an entry of ``--batch-axis`` that is none.

    Raises:
        LayerError: not ``PATTERN=N``, or a malformed pattern.
    """
    for entry in entries:
        check_patterns([_batch_axis_entry(entry)[0]])


def batch_axis(entries: Sequence[str], layer: str) -> int:
    """Return which axis of a layer is the rows of the batch, by entries ``PATTERN=N``, of which the last counts; 0."""
    found = 0
    for entry in entries:
        pattern, axis = _batch_axis_entry(entry)
        if matcher(pattern, [layer])(layer):
            found = axis
    return found


def check_batch_axes_pick(entries: Sequence[str], layers: Sequence[ModelLayer]) -> None:
    """LayerError where an entry of ``--batch-axis`` picks no layer."""
    for entry in entries:
        pattern, _ = _batch_axis_entry(entry)
        if not any(matching(pattern, layers)):
            raise unknown(pattern, [layer.name for layer in layers])


def _batch_axis_entry(entry: str) -> tuple[str, int]:
    pattern, _, axis = entry.rpartition("=")
    if not pattern or not (axis.isascii() and axis.isdecimal() and len(axis) < 3):
        msg = (
            f"--batch-axis {entry!r} is not PATTERN=N, where N is the axis that is the rows of the batch, counted from "
            "0 (for example 'encoder.*=1')"
        )
        raise LayerError(msg)
    return pattern, int(axis)


def _picked(pattern: str, layers: Sequence[ModelLayer], names: Sequence[str]) -> list[ModelLayer]:
    meant = [layer for layer, matches in zip(layers, matching(pattern, layers), strict=True) if matches]
    if not meant:
        raise unknown(pattern, names)
    storable = [layer for layer in meant if layer.shape is not None]
    if not storable or (pattern in names and len(storable) < len(meant)):
        layer = next(layer for layer in meant if layer.shape is None)
        msg = f"layer {layer.name!r} cannot be stored: {layer.note}"
        raise LayerError(msg)
    return storable


def by_name(patterns: Sequence[str], layer: str) -> bool:
    """Return whether a pattern is the very name of a layer, or of the module whose call it is."""
    return layer in patterns or module_of(layer) in patterns


def with_axes(entries: Sequence[str], layers: Sequence[ModelLayer]) -> list[ModelLayer]:
    """Return the layers with the names that ``PATTERN=NAME,NAME,...`` gives their axes; of several, the last counts.

    Raises:
        LayerError: an entry that is none, picks no layer, or has another number of names than a layer has axes.
    """
    named = list(layers)
    for entry in entries:
        pattern, axes = _axes_entry(entry)
        matches = matching(pattern, named)
        if not any(matches):
            raise unknown(pattern, [layer.name for layer in named])
        named = [
            _renamed(layer, axes, entry) if picked else layer
            for layer, picked in zip(named, matches, strict=True)
        ]
    return named


def _axes_entry(entry: str) -> tuple[str, tuple[str, ...]]:
    """The pattern and the names of an entry ``PATTERN=NAME,NAME,...``."""
    pattern, _, names = entry.rpartition("=")  # without "=" there is no pattern
    axes = tuple(name.strip() for name in names.split(","))
    if not pattern or not all(axes):
        msg = f"--axes {entry!r} is not PATTERN=NAME,NAME,... (for example 'conv*=channel,height,width')"
        raise LayerError(msg)
    return pattern, axes


def _renamed(layer: ModelLayer, axes: tuple[str, ...], entry: str) -> ModelLayer:
    """A layer with other names for its axes; as it is where it has no shape."""
    if layer.shape is None:
        return layer
    if len(axes) != len(layer.shape):
        msg = (
            f"--axes {entry!r} names {len(axes)} axes, but layer {layer.name!r} has {len(layer.shape)}, "
            f"{layer.shape} per row"
        )
        raise LayerError(msg)
    return replace(layer, axes=axes)


def matching(pattern: str, layers: Sequence[ModelLayer]) -> list[bool]:
    """Of each layer, whether the pattern picks it: those that are ``explicit`` only where it asks for such."""
    names = [layer.name for layer in layers]
    matches = matcher(pattern, names)
    exact, inputs = pattern in names, asks_for_inputs(pattern)
    return [
        matches(layer.name) and (exact or not layer.explicit or (inputs and goes_in(layer))) for layer in layers
    ]


def matcher(pattern: str, names: Collection[str]) -> Callable[[str], bool]:
    """A test of one call's name (``relu``, ``relu#1``) against a pattern, where the known layers are ``names``.

    Raises:
        LayerError: the pattern is malformed.
    """
    if pattern in names or module_of(pattern) in names:
        return lambda name: pattern in (name, module_of(name))
    if pattern.startswith("re:"):
        expression = _compiled(pattern)
    else:
        parts = (_STAR_MEANINGS.get(part) or re.escape(part) for part in _STARS.split(pattern))
        expression = re.compile("".join(parts), re.DOTALL)
    return lambda name: bool(expression.fullmatch(name) or expression.fullmatch(module_of(name)))


def call_name(name: str, index: int) -> str:
    """``relu`` for the first call of a module in a pass, then ``relu#1``, ``relu#2``, ...."""
    return f"{name}#{index}" if index else name


def module_of(name: str) -> str:
    """The module behind a call's name: ``relu`` for ``relu#1``."""
    return _CALL.sub("", name)


def asks_for_inputs(pattern: str) -> bool:
    """Whether a pattern asks for what goes into layers: it ends in ``:in``, or names one call of such."""
    return module_of(pattern).endswith(INTO)


def goes_in(layer: ModelLayer) -> bool:
    """Whether a layer is what goes into another, ``NAME:in``."""
    return layer.explicit and asks_for_inputs(layer.name)


def unknown(pattern: str, names: Sequence[str]) -> LayerError:
    """The error for a pattern that picks no layer; it names the nearest ones."""
    alike = [name for name in names if asks_for_inputs(name) == asks_for_inputs(pattern)]
    if not alike and asks_for_inputs(pattern):
        return LayerError(
            f"no layer matches {pattern!r}: none of the layers here is what goes into a module (of those inside torch "
            "models they are there for the asking); name the layer before it, or 'input' for what goes into the model"
        )
    names = alike or names
    return LayerError(
        f"no layer matches {pattern!r}; {hint(pattern.removeprefix('re:').replace('*', ''), names)}"
    )


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern.removeprefix("re:"))
    except re.error as error:
        msg = f"layer pattern {pattern!r} is not a regular expression: {error}"
        raise LayerError(msg) from error
