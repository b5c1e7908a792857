"""A cell of your own on a text of your own: `python own_cell.py book.txt`."""

import sys

import jax
import jax.numpy as jnp
import optax

import jaxrnn


class MinimalGatedCell(jaxrnn.Cell):
    """f = sigmoid(p_f + r_f),  h <- f h + (1 - f) tanh(p_n + f r_n)      (Zhou et al., 2016)"""

    def __init__(self, in_features, hidden_features, **options):
        super().__init__(in_features, hidden_features, blocks=2, **options)

    def update(self, p, r, carry, pointwise, t):
        (p_f, p_n), (r_f, r_n) = jnp.split(p, 2, axis=-1), jnp.split(r, 2, axis=-1)
        f = jax.nn.sigmoid(p_f + r_f)
        h = f * carry.h + (1 - f) * jnp.tanh(p_n + f * r_n)
        return jaxrnn.VanillaCarry(h), h

    def initial_carry(self, batch_size):
        return jaxrnn.VanillaCarry(jnp.zeros((batch_size, self.hidden_features)))


text = jaxrnn.Text(sys.argv[1], bptt_length=32, batch_size=16, validation_fraction=0.1)
V = len(text.vocabulary)


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    stack = jaxrnn.Stack([MinimalGatedCell(V, 64, kernel_init=init, rngs=rngs)])
    return jaxrnn.LanguageModel(V, stack, kernel_init=init, rngs=rngs)


result = jaxrnn.fit(model, text, optax.adam(5e-3), epochs=3, run="runs/own-cell")
print(result.trainer.write(0, length=200, temperature=0.7))
