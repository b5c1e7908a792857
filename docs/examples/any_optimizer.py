"""Any optimizer of Optax: AdamW on a schedule, behind a clipped gradient, for a text that every machine has."""

import jax
import optax

import jaxrnn

UPDATES = 200
text = jaxrnn.Text("python-reference", bptt_length=32, batch_size=16, validation_fraction=0.02)
rate = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 20, UPDATES)
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=1e-4))


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.LanguageModel(len(text.vocabulary), 64, cell="gru", kernel_init=init, rngs=rngs)


result = jaxrnn.fit(model, text, optimizer, updates=UPDATES, run="runs/any-optimizer")
score = result.trainer.score([0])[0]
print(f"held out: {score.loss:.3f} nats a character, accuracy {score.accuracy:.3f}")
