"""The gated recurrent unit, reset before the product."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.cells.gru import GRUCarry
from jaxrnn.cells.inner_product import InnerProduct, inner_matrix


class ResetBeforeGRUCell(Cell):
    r"""One step of a gated recurrent unit that resets the hidden state before the recurrent product.

    With the blocks r, z, n of p_t = x_t W_x + b and the blocks r, z of r_t = h_{t-1} W_h:

        r   = sigmoid(p_r + r_r)                        reset gate
        z   = sigmoid(p_z + r_z)                        update gate: 1 takes the NEW state
        n   = tanh(p_n + (r * h_{t-1}) W_hn)            candidate
        h_t = (1 - z) * h_{t-1} + z * n

    Here z means the opposite of z in `GRUCell`, PyTorch and Flax; char-rnn has this form. The second product needs
    the gate r, so a step makes two products, one after the other, and is slower than one of `GRUCell`.
    Dropout of h_{t-1} acts in both products; the last line sees h_{t-1} as it is.

    Args: those of `Cell`, some reports have no bias: `use_bias=False`; and
      update_bias: b_z starts at its negative, so that a positive one keeps the state at first, as in `GRUCell`.

    The parameters `W_h`, (H, 2 H), and `W_hn`, (H, H), are drawn by `recurrent_init`, else by `kernel_init`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = ResetBeforeGRUCell(3, 4, use_bias=False, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape, cell.W_h.shape, cell.W_hn.shape
      ((2, 4), (4, 8), (4, 4))

    References: Chung et al., Empirical evaluation of gated recurrent neural networks on sequence modeling, 2014.
    """

    inner_products = True

    def __init__(self, in_features: int, hidden_features: int, *, update_bias: float = 0.0, **options: Any):
        super().__init__(in_features, hidden_features, blocks=3, recurrent_blocks=2, gate_bias=-update_bias, **options)
        self.W_hn = inner_matrix(hidden_features, 1, **options)

    def update(
        self, p: jax.Array, r: jax.Array, carry: GRUCarry, pointwise: InnerProduct, t: jax.Array
    ) -> tuple[GRUCarry, jax.Array]:
        (p_r, p_z, p_n), (r_r, r_z) = jnp.split(p, 3, axis=-1), jnp.split(r, 2, axis=-1)
        reset, z = jax.nn.sigmoid(p_r + r_r), jax.nn.sigmoid(p_z + r_z)
        n = jnp.tanh(p_n + pointwise.of_hidden(reset * carry.h))
        h = (1 - z) * carry.h + z * n
        return GRUCarry(h), h

    def pointwise(self) -> InnerProduct:
        return InnerProduct(self.W_hn[...])

    def initial_carry(self, batch_size: int) -> GRUCarry:
        return GRUCarry(jnp.zeros((batch_size, self.hidden_features), self.W_h[...].dtype))
