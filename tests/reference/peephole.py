"""A cell as a user would add it: an LSTM that uses all of the contract, and the same in plain NumPy.

Peepholes are pointwise parameters, r_t has a bias of its own and is not only added to p_t, and the step index counts.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.cells import Cell

NORMAL = jax.nn.initializers.normal(0.4)


class PeepholeCarry(NamedTuple):
    c: jax.Array
    h: jax.Array


class PeepholeCell(Cell):
    def __init__(self, in_features, hidden_features, *, kernel_init=NORMAL, param_dtype=jnp.float32, rngs):
        options = dict(blocks=4, recurrent_bias=True, kernel_init=kernel_init, param_dtype=param_dtype)
        super().__init__(in_features, hidden_features, **options, rngs=rngs)
        self.peephole = nnx.Param(kernel_init(rngs.params(), (3, hidden_features), param_dtype))

    def update(self, p, r, carry, pointwise, t):
        (p_i, p_f, p_g, p_o), (r_i, r_f, r_g, r_o) = jnp.split(p, 4, axis=-1), jnp.split(r, 4, axis=-1)
        w_i, w_f, w_o = (row[None, :] for row in pointwise)
        i = jax.nn.sigmoid(p_i + r_i + w_i * carry.c)
        f = jax.nn.sigmoid(p_f + r_f + w_f * carry.c)
        c = f * carry.c + i * jnp.tanh(p_g + i * r_g)
        o = jax.nn.sigmoid(p_o + r_o + w_o * c)
        h = o * jnp.tanh(c) / (1.0 + 0.1 * t.astype(p.dtype))
        return PeepholeCarry(c, h), self.output(c, h)

    def output(self, c, h):
        return h

    def pointwise(self):
        return tuple(self.peephole[...])

    def initial_carry(self, batch_size):
        zeros = jnp.zeros((batch_size, self.hidden_features), self.W_h[...].dtype)
        return PeepholeCarry(zeros, zeros)


class OtherOutputCell(PeepholeCell):
    """Here the output is not h, so an engine has to keep both."""

    def output(self, c, h):
        return h - 0.5 * c


def unroll_peephole(weights, xs, carry, resets=None):
    """c and h of each step, (T, B, H) each; xs are ids (T, B) or features (T, B, F)."""
    c, h = carry
    cs, hs = [], []
    for t in range(len(xs)):
        if resets is not None:
            c, h = (np.where(resets[t][:, None], 0.0, state) for state in (c, h))
        p = (weights["W_x"][xs[t]] if xs.ndim == 2 else xs[t] @ weights["W_x"]) + weights["b"]
        r = h @ weights["W_h"] + weights["b_h"]
        (p_i, p_f, p_g, p_o), (r_i, r_f, r_g, r_o) = np.split(p, 4, axis=1), np.split(r, 4, axis=1)
        i = 1 / (1 + np.exp(-(p_i + r_i + weights["peephole"][0] * c)))
        f = 1 / (1 + np.exp(-(p_f + r_f + weights["peephole"][1] * c)))
        c = f * c + i * np.tanh(p_g + i * r_g)
        o = 1 / (1 + np.exp(-(p_o + r_o + weights["peephole"][2] * c)))
        h = o * np.tanh(c) / (1 + 0.1 * t)
        cs.append(c)
        hs.append(h)
    return np.stack(cs), np.stack(hs)
