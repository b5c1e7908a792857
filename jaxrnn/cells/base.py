"""The contract of a cell: two matrix products and a pointwise update."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Carry = Any  # a named tuple of (B, H) arrays with a field `h`


class Cell(nnx.Module, abc.ABC):
    r"""One step of a recurrent network.

    With input x_t and the hidden state h_{t-1} of the carry:

        p_t = x_t W_x + b                                      input product
        r_t = h_{t-1} W_h (+ b_h)                              recurrent product
        carry_t, y_t = update(p_t, r_t, carry_{t-1}, pointwise, t)

    A new cell writes `update` and `initial_carry`, and no gradient: the engines of `jaxrnn.engines` take it from there.
    p and r have G = blocks * H features, one block a gate.

    Args:
      in_features: F, the size of x_t; the number of symbols when the input is ids.
      hidden_features: H, the size of h.
      blocks: how many blocks of H features the two products have.
      recurrent_bias: whether r_t has a bias of its own, b_h. Only cells whose update does more with r_t than add
        it to p_t need one.
      init_std: standard deviation of the normal starting values of W_x and W_h. Biases start at 0.
      param_dtype: dtype of the parameters.
      rngs: keys for the starting values.

    Call: `(carry, x)` with x of shape (B, F) gives `(carry, y)`, y of shape (B, H).

    Raises:
      ValueError: if a size is not positive, or, in a call, the last axis of x is not F.
    """

    # True if `update` uses p and r only as p + r. An engine may then keep one gradient array for both.
    sums_products = False

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        blocks: int = 1,
        recurrent_bias: bool = False,
        init_std: float = 0.01,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if in_features < 1 or hidden_features < 1:
            raise ValueError(
                f"{type(self).__name__} expects positive sizes, got in_features={in_features} and "
                f"hidden_features={hidden_features}"
            )
        self.in_features = in_features
        self.hidden_features = hidden_features
        gates = blocks * hidden_features
        # One draw for both: each draw takes 0.1 to 0.2 s to compile.
        rows = init_std * jax.random.normal(rngs.params(), (in_features + hidden_features, gates), param_dtype)
        self.W_x = nnx.Param(rows[:in_features])
        self.W_h = nnx.Param(rows[in_features:])
        self.b = nnx.Param(jnp.zeros((gates,), param_dtype))
        self.b_h = nnx.Param(jnp.zeros((gates,), param_dtype)) if recurrent_bias else None

    @abc.abstractmethod
    def update(self, p: jax.Array, r: jax.Array, carry: Carry, pointwise: Any, t: jax.Array) -> tuple[Carry, jax.Array]:
        """The elementwise part of a step.

        Pure, without products, and it may read no parameter but those in `pointwise`.

        Args:
          p: input product, (B, G).
          r: recurrent product, (B, G).
          carry: carry_{t-1}.
          pointwise: what `self.pointwise()` returned.
          t: index of the step in the window, a scalar.

        Returns:
          carry_t and the output y_t, (B, H), which the next layer sees.
        """

    @abc.abstractmethod
    def initial_carry(self, batch_size: int) -> Carry:
        """The carry of a fresh start: zeros, (B, H) each, in the dtype of the parameters."""

    def pointwise(self) -> Any:
        """The parameters that `update` uses, as a pytree of arrays."""
        return ()

    def __call__(self, carry: Carry, x: jax.Array, t: jax.Array | int = 0) -> tuple[Carry, jax.Array]:
        self.check_input(x, batch_axes=1)
        p = x @ self.W_x[...] + self.b[...][None, :]
        r = carry.h @ self.W_h[...]
        if self.b_h is not None:
            r = r + self.b_h[...][None, :]
        return self.update(p, r, carry, self.pointwise(), jnp.asarray(t, jnp.int32))

    def check_input(self, x: jax.Array, batch_axes: int) -> None:
        """Refuses dense input whose shape does not fit; shapes are known while tracing, so this is free."""
        if x.ndim != batch_axes + 1 or x.shape[-1] != self.in_features:
            axes = ("steps", "batch")[-batch_axes:]
            expected = ", ".join([*axes, str(self.in_features)])
            raise ValueError(
                f"{type(self).__name__} expects x of shape ({expected}), got {tuple(x.shape)}; "
                "was the one-hot size taken from another vocabulary?"
            )
