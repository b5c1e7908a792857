"""Six at once, three learning rates with two seeds each, as one compiled program; each is a run of its own."""

import jaxrnn

text = jaxrnn.Text("python-reference", bptt_length=32, batch_size=32, validation_fraction=0.05)
members = [{"learning_rate": rate, "seed": seed} for rate in (1e-3, 3e-3, 1e-2) for seed in (0, 1)]


def model(rngs):
    return jaxrnn.LanguageModel(len(text.vocabulary), 32, cell="gru", rngs=rngs)


adam = jaxrnn.named_optimizer("adam", learning_rate=1e-3, clip_global_norm=1.0)
result = jaxrnn.fit(model, text, adam, members=members, updates=200, validation_every=100, run="runs/sweep")
scores = result.trainer.score(range(len(members)))
for member, score in sorted(zip(members, scores, strict=True), key=lambda row: row[1].loss):
    print(f"{score.loss:.3f} nats  {member}")
