"""Any optimizer of Optax: AdamW below a clipped gradient and a cosine schedule, on a text."""

import optax

import jaxrnn

text = jaxrnn.Text("python-reference", bptt_length=64, batch_size=32, validation_fraction=0.05)
updates = 300
optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.adamw(optax.cosine_decay_schedule(5e-3, updates), weight_decay=1e-4),
)


def model(rngs):
    return jaxrnn.LanguageModel(len(text.vocabulary), 64, cell="gru", rngs=rngs)


result = jaxrnn.fit(model, text, optimizer, updates=updates, run="runs/any-optimizer")
print(result.trainer.score([0])[0].line)
