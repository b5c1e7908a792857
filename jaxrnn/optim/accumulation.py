"""Gradient accumulation: several windows, one change of the parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Accumulation(NamedTuple):
    """State of `accumulated`.

    Attributes:
      windows: gradients in the sum.
      total: their sum.
      inner: state of the optimizer that gets their mean.
    """

    windows: jax.Array
    total: Any
    inner: Any


def accumulated(optimizer: optax.GradientTransformation, windows: int) -> optax.GradientTransformation:
    """Gives the optimizer the mean gradient of every `windows` calls; the calls between change nothing.

    The sum keeps the dtype of the gradients, and no step is multiplied by 0 (`optax.MultiSteps` sums in float32 and
    makes NaN of zero times infinity). A caller that goes back to the old state, because a gradient was not finite,
    leaves that window out: the mean is then taken over the next finite ones.

    Args:
      optimizer: what gets the mean.
      windows: k, at least 1.

    Example:
      >>> optimizer = accumulated(optax.scale(-1.0), 2)
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for gradient in (1.0, 4.0, 2.0):
      ...     step, state = optimizer.update(jnp.full(1, gradient), state)
      ...     print(step)
      [0.]
      [-2.5]
      [0.]
    """

    def init(params: Any) -> Accumulation:
        return Accumulation(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), optimizer.init(params))

    def update(gradients: Any, state: Accumulation, params: Any = None) -> tuple[Any, Accumulation]:
        total = jax.tree.map(jnp.add, state.total, gradients)
        zeros = jax.tree.map(jnp.zeros_like, gradients)

        def step() -> tuple[Any, Accumulation]:
            mean = jax.tree.map(lambda g: g / windows, total)
            steps, inner = optimizer.update(mean, state.inner, params)
            return steps, Accumulation(jnp.zeros_like(state.windows), zeros, inner)

        def wait() -> tuple[Any, Accumulation]:
            return zeros, Accumulation(state.windows + 1, total, state.inner)

        return jax.lax.cond(state.windows + 1 == windows, step, wait)

    return optax.GradientTransformation(init, update)
