"""Scores made by hand, of every kind that a figure shows."""

import math
from dataclasses import replace

from solvers.figures.rows import Shown
from solvers.scoring.score import Score

NOTHING = float("nan")
ONE = Score(
    store="xxh3_128:3f2a91bc3f2a91bc3f2a91bc3f2a91bc",
    layer="fc",
    step=0,
    target="digit",
    kind="task",
    method="logistic",
    part="",
    C=0.01,
    seed=0,
    fold=None,
    split="test",
    role="held_out",
    metric="error",
    unit="share",
    value=0.2,
    low=0.15,
    high=0.26,
    interval="wilson",
    rows=360,
    groups=None,
    status="converged",
    features=64,
)
PLAIN = {"low": NOTHING, "high": NOTHING, "interval": ""}


def score(**given):
    """A score like `ONE` but for what is given; an interval around its value unless that is given, too."""
    if "value" in given and "low" not in given:
        given |= {"low": given["value"] * 0.8, "high": given["value"] * 1.2}
    return replace(ONE, **given)


def by_depth(names, steps=(0,), target="digit", file="probes"):
    """Train and test error of each layer, with `majority`."""
    found = []
    for step in steps:
        for place, layer in enumerate(names):
            value = 0.7 * math.exp(-3 * place / len(names) - step / 1000) + 0.02
            where = {"layer": layer, "step": step, "target": target}
            found.append(score(**where, value=value * 0.6, split="train", role="fit", rows=1000, **PLAIN))
            found.append(score(**where, value=value))
            found.append(score(**where, value=0.9, kind="majority", **PLAIN))
    return [Shown(each, file) for each in found]


def along_c(names, penalties=(0.001, 0.01, 0.1, 1.0)):
    """The path of each layer; 0.01 is the chosen one."""
    found = []
    for layer in names:
        for place, penalty in enumerate(penalties):
            for split, role in (("train", "fit"), ("val", "select")):
                kind = "task" if penalty == 0.01 else "path"
                value = 0.5 / (1 + place) + (0.05 * place if split == "val" else 0)
                where = {"layer": layer, "C": penalty, "kind": kind, "split": split, "role": role}
                found.append(score(**where, value=value, metric="cross_entropy", unit="nats", **PLAIN))
    return [Shown(each, "probes") for each in found]


def by_class(names, classes):
    """The error of each class and the confusion of all of them."""
    found = []
    for layer in names:
        for at, name in enumerate(classes):
            found.append(score(layer=layer, part=name, value=(at + 1) / (2 * len(classes)), rows=36))
            for other, predicted in enumerate(classes):
                value = 0.7 if other == at else 0.3 / max(len(classes) - 1, 1)
                found.append(
                    score(
                        layer=layer,
                        part=f"{name}>{predicted}",
                        metric="confusion",
                        value=value,
                        rows=36,
                        **PLAIN,
                    )
                )
    return [Shown(each, "probes") for each in found]


def by_bin(names):
    """The accuracy in bins of the top probability."""
    found = []
    for layer in names:
        for at in range(3, 15):
            part = f"{at / 15:.3f}-{(at + 1) / 15:.3f}"
            value = (at + 0.3) / 15
            found.append(
                score(
                    layer=layer,
                    part=part,
                    metric="ece_15",
                    value=value,
                    low=value - 0.05,
                    high=value + 0.05,
                    rows=10 * at,
                )
            )
    return [Shown(each, "probes") for each in found]


def by_width(names, widths=(16, 64, 256)):
    """Fits on fewer columns, a file each."""
    return [
        Shown(score(layer=layer, value=0.5 / (place + 1) / width**0.2, features=width), f"width{width}")
        for width in widths
        for place, layer in enumerate(names)
    ]


def learned_from(rows, names=("fc",), target="digit", file="probes"):
    """Train and test error of probes that were fitted on so many rows."""
    found = []
    for layer in names:
        where = {"layer": layer, "target": target}
        found += [
            score(**where, value=0.5 - 1 / rows, split="test", rows=360),
            score(**where, value=rows / 1e4, split="train", role="fit", rows=rows, **PLAIN),
            score(**where, value=0.1, kind="path", C=9.0, split="train", role="fit", rows=rows, **PLAIN),
        ]
    return [Shown(each, file) for each in found]


def everything(names, classes=("0", "1", "2")):
    """Scores for each kind of figure, by kind."""
    depth = by_depth(names)
    return {
        "depth": depth,
        "steps": by_depth(names, (0, 100, 200)),
        "width": by_width(names),
        "rows": [row for rows in (100, 2000) for row in learned_from(rows, names, file=f"of-{rows}")],
        "path": along_c(names),
        "classes": by_class(names, classes),
        "confusion": by_class(names, classes),
        "calibration": by_bin(names),
        "compare": depth + by_depth(names, file="others"),
        "graph": depth,
    }


def texts_of(description):
    """Title and subtitle of a figure as one text."""
    title = description["title"]
    return " ".join([*title["text"], *title["subtitle"]])


def found_in(value, key):
    """Every value under a key, however deep."""
    if isinstance(value, dict):
        own = [value[key]] if key in value else []
        return own + [each for inner in value.values() for each in found_in(inner, key)]
    if isinstance(value, list | tuple):
        return [each for inner in value for each in found_in(inner, key)]
    return []


def records_of(description):
    """Every record that is drawn."""
    return [
        record for values in found_in(description, "values") for record in values if isinstance(record, dict)
    ]


REAL_NAMES = [
    "bert.embeddings.LayerNorm",
    *(
        f"bert.encoder.layer.{number}.{part}"
        for number in range(16)
        for part in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "attention.output.LayerNorm",
            "intermediate.dense",
            "output.dense",
            "output.LayerNorm",
        )
    ),
]
"""129 names as networks have them."""
HOSTILE = [
    "</script><script>window.ran = true</script>",
    "<img src=x onerror='window.ran = true'>",
    "\x1b[31mred\x1b[0m\x07",
    "two\nlines\r\nand\u2028more",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "quotes \" ' ` \\ ${1} {{2}} \\u003c",
    "x" * 300,
    "x" * 299 + "y",
    "emoji \U0001f9ea\U0001f468\u200d\U0001f469\u200d\U0001f467 \u6a21\u578b",
    "\ud800 alone",
    "",
    " ",
    "a&b;<&lt;]]>",
    "datum.value == 1",
    "1",
    "null",
]
"""Names that somebody's file may hold."""
