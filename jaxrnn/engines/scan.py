"""The engine `scan`: a scan whose body makes the products and calls the cell's `update`; `jax.grad` does the rest.

The update runs under a checkpoint policy (see `step.py`) that keeps the results of transcendental functions. That is
what hand-written kernels keep (the gate activations), said once for every cell.
"""

from __future__ import annotations

from typing import Any

import jax

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.cells.inner_product import filled_in
from jaxrnn.engines.platforms import steps_a_turn
from jaxrnn.engines.step import step_function
from jaxrnn.engines.window import (
    Window,
    input_product,
    input_weights,
    multiplies_first,
    recurrent_product,
    reset_carry,
)


def unroll_scan(
    cell: Cell, window: Window, carry: Carry, fresh: Carry | None = None, clip_backward: jax.Array | None = None
) -> tuple[Carry, jax.Array]:
    """Unrolls by `lax.scan`; works for forward and reverse differentiation, jit, vmap and sharding."""
    apply = step_function(cell, clip_backward)
    W_h, b_h = cell.W_h[...], None if cell.b_h is None else cell.b_h[...]
    pointwise = cell.pointwise()
    weights = input_weights(cell, window)
    inputs = (window.features, window.ids, window.input_scale)
    ps = None
    if multiplies_first(carry.h.shape[0]):
        ps, inputs = input_product(weights, *inputs), (None, None, None)
    mask = window.recurrent_mask
    constant_mask = mask is not None and mask.shape[0] == 1

    def step(carry, now):
        p, inputs, t, reset, valid, step_mask = now
        if reset is not None:
            carry = reset_carry(carry, reset, fresh)
        if p is None:
            p = input_product(weights, *inputs)
        now_mask = mask[0] if mask is not None and constant_mask else step_mask
        r: Any = recurrent_product(W_h, b_h, carry.h, now_mask)
        if cell.sums_products:
            p, r = p + r, None
        return apply(p, r, carry, filled_in(pointwise, now_mask, clip_backward), t, valid)

    steps = (ps, inputs, window.times, window.resets, window.valid, None if constant_mask else mask)
    return jax.lax.scan(step, carry, steps, unroll=steps_a_turn(window.times.shape[0]))
