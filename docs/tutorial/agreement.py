"""The network of docs/tutorial.md: a small language model that learns which verb goes with which noun.

``python agreement.py FOLDER`` trains it on sentences made here, a few minutes on a CPU, and writes the model with its
tokenizer as a Hugging Face folder, ``FOLDER/lm``, and prompts that end before the verb: ``FOLDER/prompts.jsonl`` in
pairs that differ in the number of the subject alone, and ``FOLDER/attractors.jsonl``, where the other nouns of the
sentence are of the other number.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

NOUNS = [
    "dog",
    "cat",
    "teacher",
    "pilot",
    "farmer",
    "doctor",
    "singer",
    "author",
    "lawyer",
    "robot",
    "painter",
    "king",
]
PLACES = ["car", "house", "river", "tree", "table", "door", "bridge", "train"]
ADJECTIVES = ["old", "young", "tall", "clever", "quiet", "angry", "famous", "tired"]
VERBS = [
    ("runs", "run"),
    ("sleeps", "sleep"),
    ("sings", "sing"),
    ("waits", "wait"),
    ("smiles", "smile"),
    ("falls", "fall"),
]
ADVERBS = ["today", "often", "again", "slowly", "here", "alone"]
PREPOSITIONS = ["near", "behind", "beside"]


def nouns(noun: str, plural: bool) -> str:
    """Return a noun in its number."""
    return noun + "s" if plural else noun


def phrase(draw: random.Random, plural: bool) -> list[str]:
    """Return a place, in its number: ``near the rivers``."""
    return [draw.choice(PREPOSITIONS), "the", nouns(draw.choice(PLACES), plural)]


def subject(draw: random.Random, plural: bool, front: bool | None, between: bool | None) -> str:
    """Return what stands before the verb: ``near the rivers , the old dog behind the car``.

    ``front`` and ``between`` are the numbers of the nouns before and behind the subject, None for none.
    """
    words = [] if front is None else [*phrase(draw, front), ","]
    words += [
        "the",
        *([draw.choice(ADJECTIVES)] if draw.random() < 0.5 else []),
        nouns(draw.choice(NOUNS), plural),
    ]
    return " ".join(words + ([] if between is None else phrase(draw, between)))


def number(draw: random.Random, share: float) -> bool | None:
    """Return the number of a noun that is there with this probability."""
    return draw.random() < 0.5 if draw.random() < share else None


def sentence(draw: random.Random) -> str:
    """Return a sentence to train on; half have a noun before the subject, half one behind it."""
    plural = draw.random() < 0.5
    before = subject(draw, plural, number(draw, 0.5), number(draw, 0.5))
    return f"{before} {draw.choice(VERBS)[plural]} {draw.choice(ADVERBS)} ."


def pairs(draw: random.Random, count: int, *, against: bool) -> list[dict[str, object]]:
    """Return pairs of prompts that differ in the number of the subject alone, with a split for each pair.

    ``plural`` is the number of the subject, ``between`` that of the noun behind it, null where there is none.
    ``against``: the other two nouns are there, and of the other number.
    """
    rows = []
    for pair in range(count):
        split = ("test", "train", "val", "train", "train")[pair % 5]
        front, between, seed = number(draw, 0.5), number(draw, 0.5), draw.randrange(10**9)
        for plural in (False, True):
            others = (not plural, not plural) if against else (front, between)
            text = subject(random.Random(seed), plural, *others)
            row = {"text": text, "plural": plural, "between": others[1], "split": split, "pair": f"pair{pair}"}
            rows.append(row)
    return rows


def tokenizer_of(texts: list[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for every word."""
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: code for code, word in enumerate(["<pad>", "<bos>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>"
    )


def train(texts: list[str], tokenizer: PreTrainedTokenizerFast, steps: int) -> LlamaForCausalLM:
    """Return a small Llama, trained to say the next word."""
    torch.manual_seed(0)
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=16, pad_token_id=0, bos_token_id=1, **size
    )
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        batch = tokenizer(random.Random(step).sample(texts, 32), return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 99:
            print(f"step {step + 1}: {loss.item():.3f} nats a word", flush=True)
    return model.eval()


def agreement(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, object]]
) -> float:
    """Return how often the model gives the verbs of the right number more probability than those of the other."""
    codes = [[tokenizer.convert_tokens_to_ids(verb[plural]) for verb in VERBS] for plural in (False, True)]
    right = 0
    for row in rows:
        with torch.no_grad():
            logits = model(
                **tokenizer(str(row["text"]), return_tensors="pt", return_token_type_ids=False)
            ).logits[0, -1]
        right += bool((logits[codes[1]].logsumexp(0) > logits[codes[0]].logsumexp(0)).item() == row["plural"])
    return right / len(rows)


def main(folder: Path, steps: int = 500) -> None:
    """Train the model and write everything that the tutorial needs."""
    draw = random.Random(0)
    texts = [sentence(draw) for _ in range(20_000)]
    tokenizer = tokenizer_of(texts)
    model = train(texts, tokenizer, steps)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder / "lm")
    tokenizer.save_pretrained(folder / "lm")
    for name, against, count in (("prompts", False, 1000), ("attractors", True, 300)):
        rows = pairs(draw, count, against=against)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        print(
            f"{name}: {len(rows)} prompts; the right verb is likelier in {agreement(model, tokenizer, rows):.1%}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
