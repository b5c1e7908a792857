"""A trained model as a function: hidden states, one step after the other, weights for other programs."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxrnn
from jaxrnn.storage import to_leaves

run = jaxrnn.open_run(sys.argv[1])  # a run directory, or a file of `jaxrnn export`
model, vocabulary = run.model(), run.vocabulary
ids = vocabulary.encode("the king ")

logits, carry = model(ids[:, None], model.initial_carry(1))  # time first: ids (T, B), logits (T, B, V)
states, _ = model.stack(ids[:, None], model.initial_carry(1))  # h of the last layer after each symbol, (T, B, H)
print("logits", logits.shape, "states", states.shape, "carry", carry[0]._fields)

structure, parameters = nnx.split(model)


@jax.jit  # without it a step takes some fifty times as long
def step(parameters, symbol, carry):
    logits, carry = nnx.merge(structure, parameters)(symbol[None, None], carry)
    return jax.nn.softmax(logits[0, 0]), carry


carry = model.initial_carry(1)
for symbol in ids:
    probabilities, carry = step(parameters, jnp.asarray(symbol), carry)
for likely in np.argsort(-probabilities)[:3]:
    print(f"{vocabulary.symbols[likely]!r} {probabilities[likely]:.3f}")

np.savez("weights.npz", **to_leaves(run.params()))  # by name: W_y, b_y, stack.layers.0.W_h, ...
