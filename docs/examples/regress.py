"""A regression at every step: an LSTM says the mean of what it has read so far."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn

rng = np.random.default_rng(0)
inputs = rng.normal(size=(1000, 30, 1))
targets = np.cumsum(inputs[:, :, 0], axis=1) / np.arange(1, 31)
metrics = {"absolute_error": lambda outputs, targets: jnp.abs(outputs[..., 0] - targets)}

train = jaxrnn.Arrays(inputs[:800], targets[:800], batch_size=50)
held_out = jaxrnn.Arrays(inputs[800:], targets[800:], batch_size=50, metrics=metrics)


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.SequenceClassifier(1, 1, 32, cell="lstm", answers=30, kernel_init=init, rngs=rngs)


result = jaxrnn.fit(
    model, train, optax.adam(1e-2), epochs=20, validation=held_out, early_stopping="patience", patience=5
)
for name, value in result.trainer.evaluate(held_out).items():
    print(f"{name} {value:.4f}")
print(result.trainer.predict(held_out.inputs[:1]).values.shape)
