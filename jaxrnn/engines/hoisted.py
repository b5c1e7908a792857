"""The engine `hoisted`: weight gradients as few large products.

JAX's transposition of a scan adds the gradient of each weight up inside the loop, one small product a step. Here the
forward scan keeps each step's pullback; the reverse scan applies it and yields only dp_t and dr_t; and

    dW_h = sum_t h_{t-1}' dr_t          dW_x = sum_t x_t' dp_t

follow block by block: after every few steps of the reverse loop one product over them and the batch, while dp and dr
are still in the cache. What the forward scan kept is read where it lies, a step at a time, and dp and dr are written
over those of the block before: scans in a scan would copy each block of the one and fill each of the other with zeros.
The other product of a step, dh = dr W_h', reads a transposed copy of W_h made once. Reverse mode only.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.platforms import platform, tracing_for  # noqa: F401 - for the example
from jaxrnn.engines.products import contract, product
from jaxrnn.engines.step import pointwise_of, step_function, with_own_gradient
from jaxrnn.engines.window import (
    Window,
    input_product,
    input_product_gradients,
    input_weights,
    multiplies_first,
    recurrent_product,
    reset_carry,
    reset_gradients,
)


def block_length(steps: int, batch_size: int) -> int:
    """How many steps share one product for the weight gradients.

    The whole window with a batch of 1, where dp and dr are small, and where the platform says so. Else the largest
    divisor of T up to the platform's `largest_block`; a window without a divisor from 4 on is one block.

    Example:
      >>> with tracing_for("cpu"):
      ...     block_length(100, batch_size=100), block_length(97, batch_size=100), block_length(25, batch_size=1)
      (10, 97, 25)
    """
    limit = platform().largest_block
    if batch_size == 1 or limit is None:
        return steps
    largest = max(length for length in range(1, limit + 1) if steps % length == 0)
    return largest if largest >= 4 else steps


def unroll_hoisted(
    cell: Cell, window: Window, carry: Carry, fresh: Carry | None = None, clip_backward: jax.Array | None = None
) -> tuple[Carry, jax.Array]:
    """Unrolls with a gradient of its own, built from each step's pullback."""
    pointwise = pointwise_of(cell)
    weights: Any = input_weights(cell, window)
    ps = None
    if multiplies_first(carry.h.shape[0]):
        ps, weights = input_product(weights, window.features, window.ids, window.input_scale), None
        window = window._replace(features=None, ids=None, input_scale=None)
    b_h = None if cell.b_h is None else cell.b_h[...]
    arrays = (weights, cell.W_h[...], b_h, pointwise, carry, fresh, ps, window.features, window.recurrent_mask)
    fixed = (window.ids, window.input_scale, window.times, window.resets, window.valid)
    engine = _Hoisted(cell)
    return with_own_gradient(engine._scan, engine._backward)(arrays, fixed, clip_backward)


class _Hoisted(NamedTuple):
    cell: Cell

    def _scan(self, arrays, fixed, clip, keep: bool):
        weights, W_h, b_h, pointwise, first, fresh, ps, features, mask = arrays
        ids, scale, times, resets, valid = fixed
        apply = step_function(self.cell, clip)
        constant_mask = mask is not None and mask.shape[0] == 1

        def step(carry, now):
            p, x, i, s, t, reset, is_valid, step_mask = now
            if reset is not None:
                carry = reset_carry(carry, reset, fresh)
            if p is None:
                p = input_product(weights, x, i, s)
            r: Any = recurrent_product(W_h, b_h, carry.h, mask[0] if constant_mask else step_mask)
            if self.cell.sums_products:
                p, r = p + r, None
            if not keep:
                return apply(p, r, carry, pointwise, t, is_valid)
            (new, y), pullback = jax.vjp(lambda p, r, c, w: apply(p, r, c, w, t, is_valid), p, r, carry, pointwise)
            # For most cells y_t is h_t: then y is kept once and serves as both.
            return new, (y, None if y is new.h else new.h, pullback)

        steps = (ps, features, ids, scale, times, resets, valid, None if constant_mask else mask)
        last, kept = jax.lax.scan(step, first, steps)
        if not keep:
            return (last, kept), None
        ys, hs, pullbacks = kept
        return (last, ys), (arrays, fixed, ys if hs is None else hs, pullbacks)

    def _backward(self, kept, cotangents):
        arrays, fixed, hs, pullbacks = kept
        weights, W_h, b_h, pointwise, first, fresh, ps, features, mask = arrays
        ids, scale, times, resets, valid = fixed
        d_last, d_ys = cotangents
        T, B = hs.shape[:2]
        length = block_length(T, B)
        constant_mask = mask is not None and mask.shape[0] == 1
        step_masks = None if constant_mask else mask
        # A transposed copy pays for itself over T products, but not those of a single row.
        W_h_T = jax.lax.optimization_barrier(W_h.T) if B > 1 else None

        def step(start, index, loop):
            (d_carry, d_pointwise, d_fresh), rows = loop
            d_y, pullback, reset, step_mask = _at((d_ys, pullbacks, resets, step_masks), start + index)
            d_p, d_r, d_carry, d_w = pullback((d_carry, d_y))
            d_sum = d_p if d_r is None else d_r
            d_h = product(d_sum, W_h_T) if W_h_T is not None else contract("bg,hg->bh", d_sum, W_h)
            if mask is not None:
                d_h = d_h * (mask[0] if constant_mask else step_mask)
            d_carry = d_carry._replace(h=d_carry.h + d_h)
            if reset is not None:
                d_carry, d_fresh = reset_gradients(d_carry, d_fresh, reset, fresh)
            rows = jax.tree.map(functools.partial(_put, index), rows, (d_p, d_r))
            return (d_carry, jax.tree.map(jnp.add, d_pointwise, d_w), d_fresh), rows

        def block(state, start):
            state, rows, d_weights, d_W_h, d_b_h, d_constant_mask = state
            state, rows = jax.lax.fori_loop(0, length, lambda n, loop: step(start, length - 1 - n, loop), (state, rows))
            d_p, d_r = rows
            d_sum = d_p if d_r is None else d_r
            x, i, s, h, reset, step_mask = jax.tree.map(
                lambda of: jax.lax.dynamic_slice_in_dim(of, start, length),
                (features, ids, scale, hs, resets, step_masks),
            )
            h_before = jnp.where(start == 0, first.h, _at(hs, start - 1))
            h = jnp.concatenate([h_before[None], h[:-1]])
            if reset is not None:
                begun = jnp.zeros_like(h) if fresh is None else fresh.h[None]
                h = jnp.where(reset[:, :, None], begun, h)
            d_step_mask, masked = None, h
            if mask is not None:
                masked = h * (mask if constant_mask else step_mask)
                d_mask = h * contract("tbg,hg->tbh", d_sum, W_h)
                d_step_mask = None if constant_mask else d_mask
                d_constant_mask = d_constant_mask + d_mask.sum(0)[None] if constant_mask else None
            d_x = None
            if ps is None:
                d_new, d_x = input_product_gradients(weights, x, i, s, d_p)
                d_weights = jax.tree.map(jnp.add, d_weights, d_new)
            d_W_h = d_W_h + contract("tbh,tbg->hg", masked, d_sum)
            d_b_h = None if b_h is None else d_b_h + d_sum.sum((0, 1))
            state = (state, rows, d_weights, d_W_h, d_b_h, d_constant_mask)
            return state, (d_p if ps is not None else None, d_x, d_step_mask)

        zeros = jax.tree.map(jnp.zeros_like, (pointwise, fresh, weights, W_h, b_h, mask if constant_mask else None))
        d_p, d_r = [jnp.zeros((length, B, W.shape[1]), W.dtype) for W in (self.cell.W_x[...], W_h)]
        state = ((d_last, *zeros[:2]), (d_p, None if self.cell.sums_products else d_r), *zeros[2:])
        state, (d_ps, d_features, d_mask) = jax.lax.scan(block, state, jnp.arange(0, T, length), reverse=True)
        (d_first, d_pointwise, d_fresh), _, d_weights, d_W_h, d_b_h, d_constant_mask = state
        d_ps, d_features, d_mask = jax.tree.map(lambda a: a.reshape(T, *a.shape[2:]), (d_ps, d_features, d_mask))
        d_mask = d_constant_mask if constant_mask else d_mask
        d_arrays = d_weights, d_W_h, d_b_h, d_pointwise, d_first, d_fresh, d_ps, d_features, d_mask
        return d_arrays, None, None


def _at(tree, t):
    return jax.tree.map(lambda of: jax.lax.dynamic_index_in_dim(of, t, keepdims=False), tree)


def _put(t, of, new):
    return jax.lax.dynamic_update_index_in_dim(of, new, t, 0)
