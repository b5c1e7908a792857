"""The engine `reference`: the cell called step by step, with JAX's own gradient. The oracle of all the others."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.input_product import is_ids, reset_carry


def unroll_reference(
    cell, xs: jax.Array, carry: Carry, resets: jax.Array | None = None, scan_unroll: int = 1
) -> tuple[Carry, jax.Array]:
    """A plain scan of `cell(carry, x, t)`; ids are fed as one-hot vectors, as the formula says."""
    if not isinstance(cell, Cell):
        return _unroll_foreign(cell, xs, carry, resets, scan_unroll)
    if is_ids(xs):
        xs = jax.nn.one_hot(xs, cell.in_features, dtype=cell.W_x[...].dtype)
    steps = jnp.arange(xs.shape[0], dtype=jnp.int32)

    def step(carry, inputs):
        x, reset, t = inputs
        if reset is not None:
            carry = reset_carry(carry, reset)
        return cell(carry, x, t)

    return jax.lax.scan(step, carry, (xs, resets, steps), unroll=scan_unroll)


def _unroll_foreign(
    cell, xs: jax.Array, carry: Carry, resets: jax.Array | None, scan_unroll: int
) -> tuple[Carry, jax.Array]:
    # A cell that is not ours, such as Flax's: it knows neither ids nor the step's number.
    def step(carry, inputs):
        x, reset = inputs
        if reset is not None:
            carry = reset_carry(carry, reset)
        return cell(carry, x)

    return jax.lax.scan(step, carry, (xs, resets), unroll=scan_unroll)
