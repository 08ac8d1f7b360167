"""What `probe decode` prints: scores, proofs, and verdicts on what the paper claims."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.result import Failure, Result, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from solvers.decoders.decoder import Decoders
    from solvers.scoring.score import Score

_COLUMNS = {
    "squared_error_image": "error/image",
    "squared_error": "error/value",
    "cross_entropy": "CE",
    "accuracy": "accuracy",
    "agreement": "agreement",
    "evaluation_accuracy": "evaluation",
}


def _shortfalls(made: Decoders) -> list[str]:
    """Return a line for each linear decoder that is not proven."""
    return [
        f"the decoder of {each.layer!r} has a residual of {each.training['residual']:.1e}; expected 1e-10 or less: "
        "take a stronger --penalty"
        for each in made
        if each.training.get("status") == "residual_missed"
    ]


def decoders_result(output: str, made: Decoders) -> Result:
    """Return what was decoded as the result of the command."""
    from solvers.decoders.claims import untrained, verdicts

    found = verdicts(made.all_scores())
    notes = [
        f"note: {layer}, {part}, seed {seed} is no nearer to the pictures than their mean: it has not learned them, "
        "and comparing with it says nothing; try more --epochs"
        for layer, part, seed in untrained(made.all_scores())
    ]
    data = {
        "output": output,
        "decoders": [_entry(each) for each in made],
        "scores": [asdict(score) for score in made.all_scores()],
        "claims": [asdict(each) for each in found],
    }
    missed = _shortfalls(made)
    return Result(
        data, list(_text(output, made, found)), notes, failure=Failure("not-proven", missed) if missed else None
    )


def _text(output: str, made: Decoders, found: Sequence[Any]) -> Iterator[str | Table]:
    count = f"{len(made)} decoder{'s' * (len(made) != 1)}"
    yield f"{output}: {count}, scored on {len(made.rows):,} rows of {made.split}"
    if made.provenance.get("roles"):
        yield made.provenance["roles"]
    yield from _scores_text(made)
    yield from _proof_lines(made)
    if found:
        least = min(each.alpha for each in made)
        found = [each for each in found if each.part == f"alpha={least:g}"]
        yield f"what the paper claims, decoder of alpha {least:g} less reference (the others: --json):"
        yield Table(
            ["claim", "layer", "difference", "95% interval", "verdict"],
            [[each.claim, each.layer, f"{each.value:.4g}", _interval(each), each.verdict] for each in found],
            left=(0, 1, 4),
        )


def _entry(decoder: Any) -> dict[str, Any]:
    plain = {name: getattr(decoder, name) for name in ("layer", "step", "method", "role", "alpha", "seed")}
    return plain | {"architecture": dict(decoder.architecture), "training": dict(decoder.training)}


def _scores_text(made: Decoders) -> Iterator[str | Table]:
    """Yield a row for each decoder, over seeds where there are several: means, with intervals of 95%."""
    from solvers.decoders.scoring import ALL_SEEDS

    scores = [score for score in made.all_scores() if score.kind in ("decoder", "reference")]
    several = any(score.seed == ALL_SEEDS for score in scores)
    shown = [score for score in scores if not several or score.seed == ALL_SEEDS]
    metrics = [name for name in _COLUMNS if any(score.metric == name for score in shown)]
    rows: dict[tuple[str, str], dict[str, Score]] = {}
    for score in shown:
        rows.setdefault((score.layer, score.part), {})[score.metric] = score
    yield Table(
        ["layer", "decoder", *(_COLUMNS[name] for name in metrics)],
        [
            [
                layer,
                part if made.decoders[0].method == "conv" else "linear",
                *(_cell(found.get(name)) for name in metrics),
            ]
            for (layer, part), found in rows.items()
        ],
        left=(0, 1),
    )
    seeds = len({each.seed for each in made})
    over = f"t over {seeds} seeds of the training" if several else "of one fit, on new rows like these"
    yield (f"intervals of 95%: {over}; error/image is the squared error summed over the values of an image")
    of_input = next((s for s in made.scores if s.kind == "input" and s.metric == "accuracy"), None)
    if of_input is not None:
        yield (f"the classifier's accuracy on the true pictures: {_cell(of_input)}")


def _proof_lines(made: Decoders) -> Iterator[str]:
    for each in made:
        if each.method == "linear":
            training = each.training
            tried = [penalty for penalty, _ in training["path"]]
            ends = len(tried) > 1 and training["penalty"] in (min(tried), max(tried))
            grid = f", chosen of {len(tried)}" if len(tried) > 1 else ""
            end = "; at the end of the grid, so try further" if ends else ""
            yield (
                f"{each.layer}: penalty {training['penalty']:.3g}{grid}{end}; the normal equations' relative "
                f"residual is {training['residual']:.1e}"
            )


def _cell(score: Score | None) -> str:
    return "-" if score is None else f"{score.value:.4g} {_interval(score)}".strip()


def _interval(score: Any) -> str:
    return f"[{score.low:.4g}, {score.high:.4g}]" if score.low <= score.high else ""
