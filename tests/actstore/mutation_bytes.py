"""Seeded damage to the bytes of a store: what disks, copies and people do to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

Files = dict[str, bytes]  # by their place in the store's folder

BLOCKS = (64, 4096, 65536)


def mutate(files: Mapping[str, bytes], rng: np.random.Generator) -> tuple[str, Files]:
    """A kind of damage, and the files that it changes; never a file of the same bytes."""
    while True:
        kind = str(rng.choice(list(KINDS)))
        changed = {name: data for name, data in KINDS[kind](files, rng).items() if data != files[name]}
        if changed:
            return kind, changed


def _pick(files: Mapping[str, bytes], rng: np.random.Generator) -> str:
    """A file, by one draw in two by its size, so that neither small nor large ones are spared."""
    names = sorted(files)
    sizes = [len(files[name]) for name in names]
    return str(rng.choice(names, p=[size / sum(sizes) for size in sizes] if rng.random() < 0.5 else None))


def _patched(files: Mapping[str, bytes], name: str, start: int, patch: bytes) -> Files:
    data = files[name]
    return {name: data[:start] + patch + data[start + len(patch) :]}


def _flip_bit(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    name = _pick(files, rng)
    place = int(rng.integers(len(files[name])))
    return _patched(files, name, place, bytes([files[name][place] ^ 1 << int(rng.integers(8))]))


def _flip_byte(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    name = _pick(files, rng)
    place = int(rng.integers(len(files[name])))
    return _patched(files, name, place, rng.bytes(1))


def _zero(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    name = _pick(files, rng)
    start = int(rng.integers(len(files[name])))
    length = int(rng.integers(1, 4097) if rng.random() < 0.5 else rng.integers(1, 9))
    return _patched(files, name, start, bytes(min(length, len(files[name]) - start)))


def _swap_blocks(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    """Two blocks of one file, on the borders of blocks as a disk would, or two of different files."""
    size = int(rng.choice(BLOCKS))
    one, other = _pick(files, rng), _pick(files, rng)
    size = min(size, len(files[one]) // 2, len(files[other]) // 2)
    if size == 0:
        return {}
    first, second = (size * int(rng.integers(len(files[name]) // size)) for name in (one, other))
    a, b = files[one][first : first + size], files[other][second : second + size]
    if one != other:
        return _patched(files, one, first, b) | _patched(files, other, second, a)
    data = bytearray(files[one])
    data[first : first + size], data[second : second + size] = b, a
    return {one: bytes(data)}


def _swap_files(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    """Two files of one size, such as the shards of two ranks or steps."""
    one = _pick(files, rng)
    equal = [name for name in sorted(files) if len(files[name]) == len(files[one])]
    other = str(rng.choice(equal))
    return {one: files[other], other: files[one]}


def _swap_journals(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    journals = sorted(name for name in files if name.endswith("journal"))
    if not journals:
        return {}
    one, other = (str(rng.choice(journals)) for _ in range(2))
    return {one: files[other], other: files[one]}


def _copy_over(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    """A file over another of its kind."""
    one = _pick(files, rng)
    alike = [name for name in sorted(files) if name.rpartition(".")[2] == one.rpartition(".")[2]]
    return {one: files[str(rng.choice(alike))]}


def _truncate(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    name = _pick(files, rng)
    length = len(files[name])
    return {name: files[name][: int(rng.choice([0, length - 1, rng.integers(length)]))]}


def _append(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    name = _pick(files, rng)
    return {name: files[name] + (rng.bytes(int(rng.integers(1, 100))) if rng.random() < 0.5 else b"\n")}


def _records(files: Mapping[str, bytes], rng: np.random.Generator) -> tuple[str, list[bytes]]:
    journals = sorted(name for name in files if name.endswith("journal"))
    name = str(rng.choice(journals)) if journals else ""
    return name, files[name].splitlines(keepends=True) if name else []


def _duplicate_record(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    name, lines = _records(files, rng)
    if not lines:
        return {}
    place = int(rng.integers(len(lines)))
    return {name: b"".join([*lines[: place + 1], *lines[place:]])}


def _drop_last_record(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    name, lines = _records(files, rng)
    return {name: b"".join(lines[:-1])} if lines else {}


def _drop_record(files: Mapping[str, bytes], rng: np.random.Generator) -> Files:
    name, lines = _records(files, rng)
    return (
        {name: b"".join(lines[: (gone := int(rng.integers(len(lines))))] + lines[gone + 1 :])} if lines else {}
    )


KINDS: dict[str, Callable[[Mapping[str, bytes], np.random.Generator], Files]] = {
    "flip a bit": _flip_bit,
    "flip a byte": _flip_byte,
    "zero bytes": _zero,
    "swap blocks": _swap_blocks,
    "swap files": _swap_files,
    "swap journals": _swap_journals,
    "copy a file over": _copy_over,
    "truncate": _truncate,
    "append": _append,
    "repeat a record": _duplicate_record,
    "lose a record": _drop_record,
    "lose the last record": _drop_last_record,
}
