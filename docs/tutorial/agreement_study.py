"""The study of docs/tutorial.md in Python, from the network to the figure; run it in the folder of agreement.py."""

import actstore
import solvers

stores = {}
for name, split in (("prompts", {"split_by": "split"}), ("attractors", {"split": "test"})):
    targets = {word: f"{name}.jsonl:{word}" for word in ("plural", "between")}
    given = {"layers": ["embed_tokens", "layers.*"], "pool": "last", "targets": targets, "group_by": "pair"}
    stores[name] = actstore.dump(
        actstore.load_model("hf:lm"), f"{name}.jsonl:text", f"study-{name}.acts", **given, **split
    )
store, other = stores["prompts"], stores["attractors"]
labels = {name: store.targets[name] for name in ("plural", "between")}
probes = solvers.fit_layers(store.layers, labels, splits=store.splits, groups=store.groups, C=0.01)
print(probes)
scores = probes.scores(["cross_entropy", "roc_auc"], splits=["val", "test"])
plural = [score for score in scores if (score.target, score.metric) == ("plural", "cross_entropy")]
best = min(
    (score for score in plural if score.split == "val" and score.kind == "task"), key=lambda score: score.value
)
print("best by val:", best.layer)
print(next(score for score in plural if (score.split, score.layer) == ("test", best.layer)))
print(probes[best.layer, "plural"].direction(space="scaled")[:3])
transfer = {name: other.targets[name] for name in labels}
for score in probes.evaluate(
    other.layers, transfer, splits=other.splits, groups=other.groups, metrics=["error"]
):
    if score.kind == "task":
        print(
            f"{score.layer} {score.target}: {score.value:.3f} [{score.low:.3f}, {score.high:.3f}] {score.role}"
        )
probes.plot(metric="cross_entropy").save("study.svg")
