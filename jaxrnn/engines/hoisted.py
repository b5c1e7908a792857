"""The engine `hoisted`: weight gradients as one product after the loop.

JAX's transposition of a scan adds the gradient of W_h up inside the loop, one small product a step. Here the forward
scan keeps each step's pullback, the reverse scan applies it and yields only dp_t and dr_t, and

    dW_h = sum_t h_{t-1}' dr_t          one product over all T and B
    db_h = sum_t dr_t

follow after it. Pays where the products in the loop are large, or where each launch costs. Reverse mode only.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.input_product import gathers_inside, input_products, input_rows, reset_carry
from jaxrnn.engines.scan import checkpointed_update


def unroll_hoisted(
    cell: Cell, xs: jax.Array, carry: Carry, resets: jax.Array | None = None, scan_unroll: int = 1
) -> tuple[Carry, jax.Array]:
    """Unrolls with a gradient of its own, built from each step's pullback."""
    gather = gathers_inside(xs)
    rows, ids = (input_rows(cell), xs) if gather else (input_products(cell, xs), None)
    b_h = None if cell.b_h is None else cell.b_h[...]
    run = _with_hoisted_gradient(cell, scan_unroll)
    return run(rows, cell.W_h[...], b_h, cell.pointwise(), carry, ids, resets)


def _with_hoisted_gradient(cell: Cell, scan_unroll: int):
    # `rows` is the table (V, G) when ids are given, else the input products (T, B, G) themselves.
    update = checkpointed_update(cell)
    one_array = cell.sums_products

    def apply(p, r, carry, pointwise, t):
        if one_array:
            return update(p + r, jnp.zeros_like(r), carry, pointwise, t)
        return update(p, r, carry, pointwise, t)

    def inputs_of(rows, ids, resets):
        xs = rows if ids is None else ids
        return xs, resets, jnp.arange(xs.shape[0], dtype=jnp.int32)

    def enter(rows, W_h, b_h, carry, ids, x, reset):
        if reset is not None:
            carry = reset_carry(carry, reset)
        r = carry.h @ W_h
        return x if ids is None else rows[x], r if b_h is None else r + b_h[None, :], carry

    @jax.custom_vjp
    def run(rows, W_h, b_h, pointwise, carry, ids, resets):
        def step(carry, inputs):
            x, reset, t = inputs
            p, r, carry = enter(rows, W_h, b_h, carry, ids, x, reset)
            return apply(p, r, carry, pointwise, t)

        return jax.lax.scan(step, carry, inputs_of(rows, ids, resets), unroll=scan_unroll)

    def forward(rows, W_h, b_h, pointwise, carry, ids, resets):
        def step(carry, inputs):
            x, reset, t = inputs
            p, r, carry = enter(rows, W_h, b_h, carry, ids, x, reset)
            (new, y), pullback = jax.vjp(lambda p, r, c, w: apply(p, r, c, w, t), p, r, carry, pointwise)
            # For most cells y_t is h_t: then y is kept once and serves as both.
            return new, (y, None if y is new.h else new.h, pullback)

        first = carry
        carry, (ys, hs, pullbacks) = jax.lax.scan(step, carry, inputs_of(rows, ids, resets), unroll=scan_unroll)
        return (carry, ys), (rows, W_h, b_h, pointwise, first, ids, resets, ys if hs is None else hs, pullbacks)

    def backward(residuals, cotangents):
        rows, W_h, b_h, pointwise, first, ids, resets, hs, pullbacks = residuals
        d_last, d_ys = cotangents

        def step(state, inputs):
            d_carry, d_pointwise = state
            d_y, pullback, reset = inputs
            d_p, d_r, d_carry, d_w = pullback((d_carry, d_y))
            if one_array:
                d_r = d_p
            d_h = d_carry.h + jnp.einsum("bg,hg->bh", d_r, W_h)
            d_carry = d_carry._replace(h=d_h)
            if reset is not None:
                d_carry = reset_carry(d_carry, reset)
            return (d_carry, jax.tree.map(jnp.add, d_pointwise, d_w)), (d_p, None if one_array else d_r)

        zeros = jax.tree.map(jnp.zeros_like, pointwise)
        (d_first, d_pointwise), (d_p, d_r) = jax.lax.scan(
            step, (d_last, zeros), (d_ys, pullbacks, resets), reverse=True, unroll=scan_unroll
        )
        d_r = d_p if d_r is None else d_r
        h_before = jnp.concatenate([first.h[None], hs[:-1]])
        if resets is not None:
            h_before = jnp.where(resets[:, :, None], jnp.zeros_like(h_before), h_before)
        d_W_h = jnp.einsum("tbh,tbg->hg", h_before, d_r)
        d_b_h = None if b_h is None else d_r.sum((0, 1))
        d_rows = d_p if ids is None else jnp.zeros_like(rows).at[ids].add(d_p)
        return d_rows, d_W_h, d_b_h, d_pointwise, d_first, None, None

    run.defvjp(forward, backward)
    return run
