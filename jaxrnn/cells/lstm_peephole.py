"""The LSTM whose gates see the cell state, unit by unit."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import DEFAULT_KERNEL_INIT, Initializer
from jaxrnn.cells.lstm import LSTMCarry, LSTMLike


class PeepholeLSTMCell(LSTMLike):
    r"""One step of a long short-term memory cell with diagonal peepholes.

    With the four blocks of a_t = x_t W_x + h_{t-1} W_h + b, in the order i, f, g, o, and one peephole weight a unit
    for each gate, w_i, w_f and w_o:

        i   = sigmoid(a_i + w_i * c_{t-1})
        f   = sigmoid(a_f + w_f * c_{t-1})
        c_t = f * c_{t-1} + i * tanh(a_g)
        o   = sigmoid(a_o + w_o * c_t)            c_{t-1} here if output_sees is "old"
        h_t = o * tanh(c_t)

    Args: those of `Cell`, and
      forget_bias: starting value of b_f; see `LSTMCell`.
      output_sees: which cell state the output gate sees: "new" is c_t, the usual form; "old" is c_{t-1}, as some
        reports print it.

    The parameter `peephole`, (3, H), has the rows w_i, w_f, w_o. It is drawn by `kernel_init`.

    Raises:
      ValueError: if output_sees is neither.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = PeepholeLSTMCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape, cell.peephole.shape
      ((2, 4), (3, 4))

    References: Gers and Schmidhuber, Recurrent nets that time and count, 2000.
    """

    sums_products = True

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        output_sees: Literal["new", "old"] = "new",
        kernel_init: Initializer = DEFAULT_KERNEL_INIT,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        if output_sees not in ("new", "old"):
            raise ValueError(f"PeepholeLSTMCell expects output_sees to be 'new' or 'old', got {output_sees!r}")
        options.update(kernel_init=kernel_init, param_dtype=param_dtype, rngs=rngs)
        super().__init__(in_features, hidden_features, **options)
        self.output_sees = output_sees
        self.peephole = nnx.Param(kernel_init(rngs.params(), (3, hidden_features), param_dtype))

    def update(
        self, p: jax.Array, r: jax.Array, carry: LSTMCarry, pointwise: Any, t: jax.Array
    ) -> tuple[LSTMCarry, jax.Array]:
        a_i, a_f, a_g, a_o = jnp.split(p + r, 4, axis=-1)
        w_i, w_f, w_o = (pointwise[row : row + 1] for row in range(3))
        i = jax.nn.sigmoid(a_i + w_i * carry.c)
        f = jax.nn.sigmoid(a_f + w_f * carry.c)
        c = f * carry.c + i * jnp.tanh(a_g)
        o = jax.nn.sigmoid(a_o + w_o * (c if self.output_sees == "new" else carry.c))
        h = o * jnp.tanh(c)
        return LSTMCarry(c, h), h

    def pointwise(self) -> jax.Array:
        return self.peephole[...]
