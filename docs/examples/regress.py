"""A regression at every step: the running mean of a noisy signal."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn

rng = np.random.default_rng(0)
inputs = rng.normal(size=(1000, 30, 1))
targets = np.cumsum(inputs, axis=1) / np.arange(1, 31)[None, :, None]
metrics = {"largest_error": lambda outputs, targets: jnp.abs(outputs - targets).max(axis=-1)}

train = jaxrnn.Arrays(inputs[:800], targets[:800], batch_size=50)
held_out = jaxrnn.Arrays(inputs[800:], targets[800:], batch_size=50, metrics=metrics)


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.SequenceClassifier(1, 1, 32, cell="lstm", answers=30, kernel_init=init, rngs=rngs)


result = jaxrnn.fit(model, train, optax.adam(1e-2), epochs=20, validation=held_out, early_stopping="patience")
print(result.trainer.evaluate(held_out))
print(result.trainer.predict(held_out.inputs[:1]).values.shape)
