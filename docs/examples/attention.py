"""A model of your own: attention over the states of a bidirectional GRU, s = sum_t a_t h_t."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxrnn


class Attending(nnx.Module):
    def __init__(self, in_features, classes, hidden, *, rngs):
        self.stack = jaxrnn.Stack.of("gru", in_features, hidden, bidirectional=True, rngs=rngs)
        self.score, self.out = nnx.Linear(2 * hidden, 1, rngs=rngs), nnx.Linear(2 * hidden, classes, rngs=rngs)

    def initial_carry(self, batch_size):
        return self.stack.initial_carry(batch_size)

    def weights(self, h, lengths=None):  # a = softmax over the steps that there are, (T, B, 1)
        there = True if lengths is None else (jnp.arange(len(h))[:, None] < lengths[None, :])[:, :, None]
        return jax.nn.softmax(jnp.where(there, self.score(h), -jnp.inf), axis=0)

    def __call__(self, xs, carry, *, lengths=None, **options):  # engine and dropout go to the layers
        h, carry = self.stack(xs, carry, lengths=lengths, **options)
        return self.out((self.weights(h, lengths) * h).sum(axis=0, keepdims=True)), carry


rng = np.random.default_rng(0)
sequences = [rng.normal(size=(length, 3)) for length in rng.integers(5, 21, 1000)]
for sequence in sequences:  # the class is the sign of the first feature where the last one is marked
    sequence[:, 2] = np.arange(len(sequence)) == rng.integers(len(sequence))
classes = [int(sequence[sequence[:, 2] == 1, 0][0] > 0) for sequence in sequences]
task = jaxrnn.Arrays.from_sequences(sequences, classes, batch_size=50)
result = jaxrnn.fit(lambda rngs: Attending(3, 2, 16, rngs=rngs), task, optax.adam(1e-2), epochs=10)
print(f"accuracy {result.trainer.evaluate(task)['accuracy']:.3f}")
