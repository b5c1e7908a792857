"""The engine `scan`: the default on a CPU.

A scan whose body makes the recurrent product and calls the cell's `update` under a checkpoint policy that keeps the
results of transcendental functions and recomputes the arithmetic around them. That is what hand-written kernels keep
(the gate activations), said once for every cell; `jax.grad` does the rest.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.input_product import gathers_inside, input_products, input_rows, reset_carry

TRANSCENDENTAL = frozenset({"logistic", "tanh", "exp", "exp2", "log", "log1p", "expm1", "sin", "cos", "erf"})


def keep_transcendental(primitive, *_, **__) -> bool:
    """The policy: save what is costly to compute again, and nothing else."""
    return primitive.name in TRANSCENDENTAL


def checkpointed_update(cell: Cell):
    """The cell's `update` under the policy. Inside a scan no barrier against common subexpressions is needed."""
    return jax.checkpoint(cell.update, policy=keep_transcendental, prevent_cse=False)


def unroll_scan(
    cell: Cell, xs: jax.Array, carry: Carry, resets: jax.Array | None = None, scan_unroll: int = 1
) -> tuple[Carry, jax.Array]:
    """Unrolls by `lax.scan`; works for forward and reverse differentiation, jit, vmap and sharding."""
    update = checkpointed_update(cell)
    W_h = cell.W_h[...]
    b_h = None if cell.b_h is None else cell.b_h[...][None, :]
    pointwise = cell.pointwise()
    rows = None
    if gathers_inside(xs):
        rows = input_rows(cell)
    else:
        xs = input_products(cell, xs)
    steps = jnp.arange(xs.shape[0], dtype=jnp.int32)

    def step(carry, inputs):
        x, reset, t = inputs
        if reset is not None:
            carry = reset_carry(carry, reset)
        p = x if rows is None else rows[x]
        r = carry.h @ W_h
        if b_h is not None:
            r = r + b_h
        return update(p, r, carry, pointwise, t)

    return jax.lax.scan(step, carry, (xs, resets, steps), unroll=scan_unroll)
