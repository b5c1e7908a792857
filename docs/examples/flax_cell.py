"""Flax's own LSTM cell, trained with everything that the cells of this library have."""

import optax
from flax import nnx

import jaxrnn

task = jaxrnn.Sequences("adding", 20, batch_size=64)


def model(rngs):
    stack = jaxrnn.Stack([nnx.LSTMCell(2, 32, rngs=rngs)])
    return jaxrnn.SequenceClassifier(2, 1, stack, rngs=rngs)


result = jaxrnn.fit(model, task, optax.adam(5e-3), updates=500, validation_every=250, run="runs/flax-cell")
print(result.trainer.score([0])[0].line)
