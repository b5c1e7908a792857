"""The LSTM whose gates see the cell state of all units, through full matrices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cells.inner_product import InnerProduct, inner_matrix
from jaxrnn.cells.lstm import LSTMCarry, LSTMLike


class FullPeepholeLSTMCell(LSTMLike):
    r"""One step of a long short-term memory cell with full peephole matrices.

    With the four blocks of a_t = x_t W_x + h_{t-1} W_h + b, in the order i, f, g, o:

        i   = sigmoid(a_i + c_{t-1} W_ci)
        f   = sigmoid(a_f + c_{t-1} W_cf)
        o   = sigmoid(a_o + c_{t-1} W_co)
        c_t = f * c_{t-1} + i * tanh(a_g)
        h_t = o * tanh(c_t)

    All three gates see the old cell state, so that one product serves them. This is how peepholes look where a report
    prints W c without calling W diagonal; programs nearly always have `PeepholeLSTMCell`, which has 3 H peephole
    weights in place of 3 H^2.

    Args: those of `Cell`, and
      forget_bias: starting value of b_f; see `LSTMCell`.

    The parameter `W_c`, (H, 3 H), holds W_ci, W_cf and W_co side by side. It is drawn by
    `recurrent_init`, else by `kernel_init`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = FullPeepholeLSTMCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape, cell.W_c.shape
      ((2, 4), (4, 12))

    References: the peepholes of Gers and Schmidhuber, Recurrent nets that time and count, 2000, without their
    restriction to a unit's own cell state; printed so in Graves, Mohamed and Hinton, Speech recognition with deep
    recurrent neural networks, 2013, where the text adds that the matrices are diagonal and o sees c_t.
    """

    sums_products = True
    inner_products = True

    def __init__(self, in_features: int, hidden_features: int, **options: Any):
        super().__init__(in_features, hidden_features, **options)
        self.W_c = inner_matrix(hidden_features, 3, **options)

    def update(
        self, p: jax.Array, r: jax.Array, carry: LSTMCarry, pointwise: InnerProduct, t: jax.Array
    ) -> tuple[LSTMCarry, jax.Array]:
        a_i, a_f, a_g, a_o = jnp.split(p + r, 4, axis=-1)
        s_i, s_f, s_o = jnp.split(pointwise(carry.c), 3, axis=-1)
        i, f, o = jax.nn.sigmoid(a_i + s_i), jax.nn.sigmoid(a_f + s_f), jax.nn.sigmoid(a_o + s_o)
        c = f * carry.c + i * jnp.tanh(a_g)
        h = o * jnp.tanh(c)
        return LSTMCarry(c, h), h

    def pointwise(self) -> InnerProduct:
        return InnerProduct(self.W_c[...])
