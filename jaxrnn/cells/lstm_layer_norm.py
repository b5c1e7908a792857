"""The LSTM with layer normalization."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import gate_biases
from jaxrnn.cells.lstm import LSTMCarry, LSTMLike

# Added to the variance, so that a vector of equal entries, such as the first r_t, is divided by something.
VARIANCE_FLOOR = 1e-5


@jax.custom_jvp
def normalize(x: jax.Array) -> jax.Array:
    """Subtracts the mean over the last axis and divides by the standard deviation.

    Its derivative is n' = (x' - n mean(n x') - mean(x')) / std, for the result n. Of the formula JAX makes one whose
    mean over x' is of what another mean gave, which XLA's compilers for accelerators do not fuse into one kernel.
    """
    return _normalized(x)[0]


@normalize.defjvp
def _normalize_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (n, scale), (d,) = _normalized(*primals), tangents
    d = d - n * _mean(n * d)
    return n, scale * (d - _mean(d))


def _normalized(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    centred = x - _mean(x)
    scale = jax.lax.rsqrt(_mean(centred * centred) + VARIANCE_FLOOR)
    return centred * scale, scale


def _mean(x: jax.Array) -> jax.Array:
    return x.mean(axis=-1, keepdims=True)


class LayerNormLSTMCell(LSTMLike):
    r"""One step of a long short-term memory cell with layer normalization.

    N(v) = (v - mean(v)) / sqrt(var(v) + 1e-5), over the features of one stream. With p_t = x_t W_x and
    r_t = h_{t-1} W_h, of 4 H features each, normalized as a whole, and the blocks i, f, g, o of

        a_t     = gain_x * N(p_t) + gain_h * N(r_t) + bias

        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
        c_t     = f * c_{t-1} + i * tanh(a_g)
        h_t     = o * tanh(gain_c * N(c_t) + bias_c)

    The carry keeps c_t as it is, not normalized. Some programs normalize each gate by itself; the paper does not.

    Args: those of `Cell`, and
      forget_bias: starting value of the bias of f; see `LSTMCell`.
      use_bias: whether the gates have `bias`; bias_c belongs to the normalization and stays.

    The parameters `gain_x` and `gain_h`, (4 H), and `gain_c`, (H), start at 1; `bias`, (4 H), and `bias_c`, (H), at 0
    but for the forget bias. `bias` comes after the normalization, so it is not the b of `Cell`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = LayerNormLSTMCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape
      (2, 4)

    References: Ba, Kiros and Hinton, Layer normalization, 2016.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        forget_bias: float = 1.0,
        use_bias: bool = True,
        param_dtype: Any = jnp.float32,
        **options: Any,
    ):
        options.update(param_dtype=param_dtype, use_bias=False)
        super().__init__(in_features, hidden_features, **options)
        gates = 4 * hidden_features
        self.gain_x = nnx.Param(jnp.ones((gates,), param_dtype))
        self.gain_h = nnx.Param(jnp.ones((gates,), param_dtype))
        self.gain_c = nnx.Param(jnp.ones((hidden_features,), param_dtype))
        self.bias_c = nnx.Param(jnp.zeros((hidden_features,), param_dtype))
        self.bias = nnx.Param(gate_biases(hidden_features, 4, forget_bias, param_dtype)) if use_bias else None

    def update(
        self, p: jax.Array, r: jax.Array, carry: LSTMCarry, pointwise: Any, t: jax.Array
    ) -> tuple[LSTMCarry, jax.Array]:
        gain_x, gain_h, gain_c, bias_c = (row[None, :] for row in pointwise[:4])
        a = gain_x * normalize(p) + gain_h * normalize(r)
        if pointwise[4] is not None:
            a = a + pointwise[4][None, :]
        a_i, a_f, a_g, a_o = jnp.split(a, 4, axis=-1)
        i, f, o = jax.nn.sigmoid(a_i), jax.nn.sigmoid(a_f), jax.nn.sigmoid(a_o)
        c = f * carry.c + i * jnp.tanh(a_g)
        h = o * jnp.tanh(gain_c * normalize(c) + bias_c)
        return LSTMCarry(c, h), h

    def pointwise(self) -> tuple:
        bias = None if self.bias is None else self.bias[...]
        return self.gain_x[...], self.gain_h[...], self.gain_c[...], self.bias_c[...], bias
