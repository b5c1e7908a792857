"""The vanilla recurrent cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell


class VanillaCarry(NamedTuple):
    """The state of a vanilla cell: the hidden state h, (B, H)."""

    h: jax.Array


class VanillaCell(Cell):
    r"""One step of a vanilla (Elman) recurrent network.

        h_t = tanh(x_t W_x + h_{t-1} W_h + b)

    Args: those of `Cell`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = VanillaCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape
      (2, 4)

    References: Elman, Finding structure in time, 1990.
    """

    sums_products = True

    def update(
        self, p: jax.Array, r: jax.Array, carry: VanillaCarry, pointwise: Any, t: jax.Array
    ) -> tuple[VanillaCarry, jax.Array]:
        h = jnp.tanh(p + r)
        return VanillaCarry(h), h

    def initial_carry(self, batch_size: int) -> VanillaCarry:
        return VanillaCarry(jnp.zeros((batch_size, self.hidden_features), self.W_h[...].dtype))
