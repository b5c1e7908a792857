"""The gated recurrent unit, reset after the product."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell


class GRUCarry(NamedTuple):
    """The state of a gated recurrent unit: the hidden state h, (B, H)."""

    h: jax.Array


class GRUCell(Cell):
    r"""One step of a gated recurrent unit that resets after the recurrent product.

    With the blocks of p_t = x_t W_x + b and of r_t = h_{t-1} W_h + b_h, both in the order r, z, n:

        r   = sigmoid(p_r + r_r)           reset gate
        z   = sigmoid(p_z + r_z)           update gate: 1 keeps the old state
        n   = tanh(p_n + r * r_n)          candidate
        h_t = (1 - z) * n + z * h_{t-1}

    The reset gate acts on the product, so the only recurrent product is the one of the contract. `ResetBeforeGRUCell`
    has the other order, and turns z round too. The two are different models.

    Args: those of `Cell`, and
      use_bias: whether there are biases at all.
      recurrent_bias: whether r_t has the bias b_h, as in PyTorch and cuDNN. `flax.nnx`'s GRU has none, `flax.linen`'s
        has it in the n block alone, and only there it adds to what b can do.
      update_bias: starting value of b_z. From 1 on a unit keeps most of its state at first, for 1 + exp(b_z) steps or
        so (Tallec and Ollivier, 2018); PyTorch, Keras and Flax start at 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = GRUCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape
      (2, 4)

    References: Cho et al., Learning phrase representations using RNN encoder-decoder, 2014, in its first version; the
    later ones reset before the product. Tallec and Ollivier, Can recurrent neural networks warp time?, 2018.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        use_bias: bool = True,
        recurrent_bias: bool = True,
        update_bias: float = 0.0,
        **options: Any,
    ):
        options.update(use_bias=use_bias, recurrent_bias=use_bias and recurrent_bias)
        super().__init__(in_features, hidden_features, blocks=3, gate_bias=update_bias, **options)

    def update(
        self, p: jax.Array, r: jax.Array, carry: GRUCarry, pointwise: Any, t: jax.Array
    ) -> tuple[GRUCarry, jax.Array]:
        (p_r, p_z, p_n), (r_r, r_z, r_n) = jnp.split(p, 3, axis=-1), jnp.split(r, 3, axis=-1)
        reset, z = jax.nn.sigmoid(p_r + r_r), jax.nn.sigmoid(p_z + r_z)
        n = jnp.tanh(p_n + reset * r_n)
        h = (1 - z) * n + z * carry.h
        return GRUCarry(h), h

    def initial_carry(self, batch_size: int) -> GRUCarry:
        return GRUCarry(jnp.zeros((batch_size, self.hidden_features), self.W_h[...].dtype))
