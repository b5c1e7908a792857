"""The next value of a series at every step, and then many more, each value read in its turn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn

rng = np.random.default_rng(0)
series = np.sin(0.3 * np.arange(60) + rng.uniform(0, 6, (400, 1)))[:, :, None].astype(np.float32)  # (N, T, F)
train = jaxrnn.Arrays(series[:350, :-1], series[:350, 1:, 0], batch_size=50)


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.SequenceClassifier(1, 1, 32, cell="gru", answers=59, kernel_init=init, rngs=rngs)


trained = jaxrnn.fit(model, train, optax.adam(1e-2), epochs=15).trainer.model()


@jax.jit
def read(xs, carry):  # (T, B, F): the number after the last of them, and the state there
    h, carry = trained.stack(xs, carry)
    return h[-1:] @ trained.W_y[...] + trained.b_y[...][None, None, :], carry


value, carry = read(jnp.asarray(series[350:, :40]).swapaxes(0, 1), trained.initial_carry(50))
forecast = []
for _ in range(20):
    forecast.append(value[0])
    value, carry = read(value, carry)
error = np.abs(np.stack(forecast, axis=1) - series[350:, 40:]).mean()  # of 20 values that were not seen
print(f"mean error {error:.4f}")
