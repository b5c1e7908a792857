"""The minimal gated unit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.cells.gru import GRUCarry


class MinimalGatedCell(Cell):
    r"""One step of a minimal gated unit, whose one gate both resets and updates, after the recurrent product.

    With the blocks f, n of p_t = x_t W_x + b and of r_t = h_{t-1} W_h:

        f   = sigmoid(p_f + r_f)
        h_t = (1 - f) * h_{t-1} + f * tanh(p_n + f * r_n)

    Args: those of `Cell`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = MinimalGatedCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape
      (2, 4)

    References: Zhou, Wu, Zhang and Zhou, Minimal gated unit for recurrent neural networks, 2016.
    """

    def __init__(self, in_features: int, hidden_features: int, **options: Any):
        super().__init__(in_features, hidden_features, blocks=2, **options)

    def update(
        self, p: jax.Array, r: jax.Array, carry: GRUCarry, pointwise: Any, t: jax.Array
    ) -> tuple[GRUCarry, jax.Array]:
        (p_f, p_n), (r_f, r_n) = jnp.split(p, 2, axis=-1), jnp.split(r, 2, axis=-1)
        f = jax.nn.sigmoid(p_f + r_f)
        h = (1 - f) * carry.h + f * jnp.tanh(p_n + f * r_n)
        return GRUCarry(h), h

    def initial_carry(self, batch_size: int) -> GRUCarry:
        return GRUCarry(jnp.zeros((batch_size, self.hidden_features), self.W_h[...].dtype))
