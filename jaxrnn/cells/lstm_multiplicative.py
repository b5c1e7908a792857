"""The LSTM whose recurrent weights depend on the input."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import gate_biases
from jaxrnn.cells.inner_product import InnerProduct, inner_matrix
from jaxrnn.cells.lstm import LSTMCarry, LSTMLike


class MultiplicativeLSTMCell(LSTMLike):
    r"""One step of a multiplicative long short-term memory cell.

    With the blocks m, i, f, g, o of p_t = x_t W_x and r_t = h_{t-1} W_h, which has one block:

        m       = p_m * r_t                                   intermediate state, in the place of h_{t-1}
        a       = (p_i, p_f, p_g, p_o) + m W_m + bias         blocks i, f, g, o
        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
        c_t     = f * c_{t-1} + i * tanh(a_g)
        h_t     = tanh(o * c_t)                               o * tanh(c_t) if output_gate is "outside"

    Each symbol has a recurrent matrix of its own, W_h diag(p_m) W_m. The product with W_m needs m, so a step makes two
    products, one after the other. h_{t-1} enters through r_t alone, so dropout of h_{t-1} has no part in the second.

    Args: those of `Cell`, and
      forget_bias: starting value of the bias of f; see `LSTMCell`.
      output_gate: "inside" the last tanh, as in the paper, or "outside" it, as in other LSTMs and most later programs.

    The parameters `W_h`, (H, H), and `W_m`, (H, 4 H), are drawn by `recurrent_init`, else by
    `kernel_init`. `bias`, (4 H), belongs to the gates;
    m has none, so it is not the b of `Cell`.

    Raises:
      ValueError: if output_gate is neither.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = MultiplicativeLSTMCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape, cell.W_x.shape, cell.W_h.shape, cell.W_m.shape
      ((2, 4), (3, 20), (4, 4), (4, 16))

    References: Krause, Lu, Murray and Renals, Multiplicative LSTM for sequence modelling, 2016.
    """

    inner_products = True

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        forget_bias: float = 1.0,
        output_gate: Literal["inside", "outside"] = "inside",
        use_bias: bool = True,
        param_dtype: Any = jnp.float32,
        **options: Any,
    ):
        if output_gate not in ("inside", "outside"):
            raise ValueError(
                f"MultiplicativeLSTMCell expects output_gate to be 'inside' or 'outside', got {output_gate!r}"
            )
        options.update(param_dtype=param_dtype)
        super().__init__(in_features, hidden_features, blocks=5, recurrent_blocks=1, use_bias=False, **options)
        self.output_gate = output_gate
        self.W_m = inner_matrix(hidden_features, 4, **options)
        self.bias = nnx.Param(gate_biases(hidden_features, 4, forget_bias, param_dtype)) if use_bias else None

    def update(
        self, p: jax.Array, r: jax.Array, carry: LSTMCarry, pointwise: Any, t: jax.Array
    ) -> tuple[LSTMCarry, jax.Array]:
        W_m, bias = pointwise
        p_m, p_gates = jnp.split(p, [self.hidden_features], axis=-1)
        a = p_gates + W_m(p_m * r)
        if bias is not None:
            a = a + bias[None, :]
        a_i, a_f, a_g, a_o = jnp.split(a, 4, axis=-1)
        i, f, o = jax.nn.sigmoid(a_i), jax.nn.sigmoid(a_f), jax.nn.sigmoid(a_o)
        c = f * carry.c + i * jnp.tanh(a_g)
        h = jnp.tanh(o * c) if self.output_gate == "inside" else o * jnp.tanh(c)
        return LSTMCarry(c, h), h

    def pointwise(self) -> tuple[InnerProduct, jax.Array | None]:
        return InnerProduct(self.W_m[...]), None if self.bias is None else self.bias[...]
