"""The long short-term memory cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell


class LSTMCarry(NamedTuple):
    """The state of an LSTM: the cell state c, which stays inside, and the hidden state h; (B, H) each."""

    c: jax.Array
    h: jax.Array


class LSTMLike(Cell):
    """What the LSTMs share: the carry, and the starting value of the forget gate's bias. See `LSTMCell`."""

    def __init__(
        self, in_features: int, hidden_features: int, *, blocks: int = 4, forget_bias: float = 1.0, **options: Any
    ):
        super().__init__(in_features, hidden_features, blocks=blocks, gate_bias=forget_bias, **options)

    def initial_carry(self, batch_size: int) -> LSTMCarry:
        zeros = jnp.zeros((batch_size, self.hidden_features), self.W_h[...].dtype)
        return LSTMCarry(zeros, zeros)


class LSTMCell(LSTMLike):
    r"""One step of a long short-term memory cell without peepholes.

    With the four blocks of a_t = x_t W_x + h_{t-1} W_h + b, in the order i, f, g, o:

        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)     input, forget, output gates
        g       = tanh(a_g)                                    candidate
        c_t     = f * c_{t-1} + i * g
        h_t     = o * tanh(c_t)

    One bias a gate, since two would be added together.

    Args: those of `Cell`, and
      forget_bias: starting value of b_f. 1 lets the cell remember at first (Jozefowicz et al., 2015), as char-rnn and
        torch-rnn do; PyTorch and Flax do not. Without biases there is none to start.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = LSTMCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> carry.c.shape, h.shape
      ((2, 4), (2, 4))

    References: Hochreiter and Schmidhuber, Long short-term memory, 1997; the forget gate: Gers, Schmidhuber and
    Cummins, Learning to forget, 2000.
    """

    sums_products = True

    def update(
        self, p: jax.Array, r: jax.Array, carry: LSTMCarry, pointwise: Any, t: jax.Array
    ) -> tuple[LSTMCarry, jax.Array]:
        new = lstm_step(p + r, carry.c)
        return new, new.h


def lstm_step(a: jax.Array, c: jax.Array) -> LSTMCarry:
    """The new state from what enters the gates, a of shape (B, 4 H), and c_{t-1}."""
    a_i, a_f, a_g, a_o = jnp.split(a, 4, axis=-1)
    i, f, o = jax.nn.sigmoid(a_i), jax.nn.sigmoid(a_f), jax.nn.sigmoid(a_o)
    c = f * c + i * jnp.tanh(a_g)
    return LSTMCarry(c, o * jnp.tanh(c))
