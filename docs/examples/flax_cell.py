"""Flax's own LSTM cell, with everything that a cell of this library has: here on the adding problem."""

import optax
from flax import nnx

import jaxrnn

task = jaxrnn.Sequences("adding", 10, batch_size=64)


def model(rngs):
    stack = jaxrnn.Stack([nnx.LSTMCell(2, 32, rngs=rngs)])
    return jaxrnn.SequenceClassifier(2, 1, stack, rngs=rngs)


result = jaxrnn.fit(model, task, optax.adam(1e-2), updates=400, validation_every=200, run="runs/flax-cell")
print(f"squared error {result.trainer.score([0])[0].loss:.4f}")
