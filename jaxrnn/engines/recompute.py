"""The engine `recompute`: the forward loop keeps the carries alone, and the backward pass makes everything else again.

On an accelerator a step costs what it launches and what it writes. So the forward loop writes one array a step, the
carries side by side. Before the backward loop one product over all steps makes the recurrent products again, at the
rate of a large product, and what the update itself multiplies or adds up over features: no pointwise work. A backward
step makes the rest of the update again and its pullback in one pass, and one product, dh = dr W_h'. The gradients of
W_h, and of the parameters of `pointwise`, follow after the loop, over all steps at once. Reverse mode only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.cells.inner_product import filled_in
from jaxrnn.engines.joint import all_gradients, inputs_of, sums_of
from jaxrnn.engines.platforms import steps_a_turn
from jaxrnn.engines.products import contract
from jaxrnn.engines.step import is_summed, step_function, with_own_gradient
from jaxrnn.engines.window import Window, input_weights, recurrent_product, reset_carry, reset_gradients


def unroll_recompute(
    cell: Cell, window: Window, carry: Carry, fresh: Carry | None = None, clip_backward: jax.Array | None = None
) -> tuple[Carry, jax.Array]:
    """Unrolls with a gradient of its own, made from the carries; input products are made before the loop."""
    pointwise = cell.pointwise()
    inputs = inputs_of(cell, input_weights(cell, window), window)
    b_h = None if cell.b_h is None else cell.b_h[...]
    arrays = (inputs, cell.W_h[...], b_h, pointwise, carry, fresh, window.recurrent_mask)
    fixed, engine = (window.ids, window.input_scale, window.times, window.resets, window.valid), _Recompute(cell)
    return with_own_gradient(engine._forward, engine._backward)(arrays, fixed, clip_backward)


class _Recompute(NamedTuple):
    cell: Cell

    def _forward(self, arrays: Any, fixed: Any, clip: Any, keep: bool) -> tuple[Any, Any]:
        inputs, W_h, b_h, pointwise, first, fresh, mask = arrays
        ids, scale, times, resets, valid = fixed
        ps = sums_of(inputs, ids, scale)
        apply = step_function(self.cell, None)
        constant_mask = mask is not None and mask.shape[0] == 1

        def step(carry: Carry, now: Any) -> tuple[Carry, Any]:
            p, t, reset, is_valid, step_mask = now
            if reset is not None:
                carry = reset_carry(carry, reset, fresh)
            now_mask = mask[0] if constant_mask else step_mask
            r: Any = recurrent_product(W_h, b_h, carry.h, now_mask)
            if self.cell.sums_products:
                p, r = p + r, None
            new, y = apply(p, r, carry, filled_in(pointwise, now_mask, None), t, is_valid)
            if not keep:
                return new, (None, y)
            return new, (packed(new), None if y is new.h else y)

        steps = (ps, times, resets, valid, None if constant_mask else mask)
        last, (kept, ys) = jax.lax.scan(step, first, steps, unroll=steps_a_turn(len(ps)))
        ys = unpacked(kept, first).h if ys is None else ys
        return (last, ys), (arrays, fixed, clip, kept)

    def _backward(self, saved: Any, cotangents: Any) -> tuple[Any, None, None]:
        arrays, (ids, scale, times, resets, valid), clip, kept = saved
        inputs, W_h, b_h, pointwise, first, fresh, mask = arrays
        ps = sums_of(inputs, ids, scale)
        d_last, d_ys = cotangents
        before = unpacked(jnp.concatenate([packed(first)[None], kept[:-1]]), first)
        if resets is not None:
            start = jax.tree.map(jnp.zeros_like, first) if fresh is None else fresh
            before = jax.tree.map(lambda b, s: jnp.where(resets[:, :, None], s[None], b), before, start)
        masked = before.h if mask is None else before.h * mask
        rs = recurrent_product(W_h, b_h, masked, None)
        p_and_r = (ps + rs, None) if self.cell.sums_products else (ps, rs)
        apply = step_function(self.cell, clip, is_summed)
        constant_mask = mask is not None and mask.shape[0] == 1

        def update(p_and_r: Any, before: Carry, t: Any, is_valid: Any, weights: Any, now_mask: Any) -> Any:
            return apply(*p_and_r, before, filled_in(weights, now_mask, clip), t, is_valid)

        def pullback(p_and_r: Any, before: Carry, t: Any, is_valid: Any, step_mask: Any) -> Any:
            others = t, is_valid, pointwise, mask[0] if constant_mask else step_mask
            return jax.vjp(lambda p_and_r, before: update(p_and_r, before, *others), p_and_r, before)[1]

        step_masks = None if constant_mask else mask
        pullbacks, pullback_of = mapped(pullback, p_and_r, before, times, valid, step_masks)
        # The gradients of parameters of the update need the carry's alone, and give those of p and r beside them.
        has_weights = bool(jax.tree.leaves(pointwise))

        def step(state: Any, now: Any) -> tuple[Any, Any]:
            d_carry, d_fresh = state
            kept, d_y, reset, step_mask = now
            (d_p, d_r), d_before = pullback_of(kept)((d_carry, d_y))
            d_h = contract("bg,hg->bh", d_p if d_r is None else d_r, W_h)
            d_h = d_h if mask is None else d_h * (mask[0] if constant_mask else step_mask)
            d_before = d_before._replace(h=d_before.h + d_h)
            if reset is not None:
                d_before, d_fresh = reset_gradients(d_before, d_fresh, reset, fresh)
            return (d_before, d_fresh), packed(d_carry) if has_weights else (d_p, d_r)

        state = (d_last, jax.tree.map(jnp.zeros_like, fresh))
        now = (pullbacks, d_ys, resets, step_masks)
        (d_first, d_fresh), found = jax.lax.scan(step, state, now, reverse=True, unroll=steps_a_turn(len(ps)))
        d_pointwise, d_inner_mask = pointwise, mask
        if has_weights:
            all_steps = jax.vmap(update, (0, 0, 0, 0, None, None if constant_mask else 0))
            given = (p_and_r, pointwise, mask[0] if constant_mask else mask)
            pull = jax.vjp(lambda p_and_r, *others: all_steps(p_and_r, before, times, valid, *others), *given)[1]
            found, d_pointwise, d_inner_mask = pull((unpacked(found, first), d_ys))
        d_ps, d_rs = found
        d_inputs, d_W_h, d_b_h = all_gradients(inputs, ids, scale, masked, b_h, d_ps, d_rs)
        d_mask = None
        if mask is not None:
            d_mask = before.h * contract("tbg,hg->tbh", d_ps if d_rs is None else d_rs, W_h)
            d_mask = d_mask.sum(0)[None] if constant_mask else d_mask
            if has_weights:  # products of the update have masks too
                d_mask = d_mask + (d_inner_mask[None] if constant_mask else d_inner_mask)
        return (d_inputs, d_W_h, d_b_h, d_pointwise, d_first, d_fresh, d_mask), None, None


def mapped(function: Callable[..., Any], *stacked: Any) -> tuple[list[jax.Array], Callable[[list[jax.Array]], Any]]:
    """What a function gives for each entry of the first axis: its leaves that differ, stacked, and how to join them.

    Of what is the same for all, such as a matrix, `jax.vmap` would write one for each.
    """
    same: dict[int, Any] = {}
    trees: list[Any] = []

    @jax.custom_batching.custom_vmap
    def look(leaves: Any) -> Any:
        return leaves

    @look.def_vmap
    def _(_: int, is_stacked: Any, leaves: Any) -> Any:
        same.update({n: leaf for n, leaf in enumerate(leaves) if not is_stacked[0][n]})
        return leaves, is_stacked[0]

    def run(*of: Any) -> list[jax.Array]:
        leaves, tree = jax.tree.flatten(function(*of))
        trees.append(tree)
        leaves = look(leaves)
        return [leaf for n, leaf in enumerate(leaves) if n not in same]

    def joined(differing: list[jax.Array]) -> Any:
        rest = iter(differing)
        return jax.tree.unflatten(trees[0], [same[n] if n in same else next(rest) for n in range(trees[0].num_leaves)])

    return jax.vmap(run)(*stacked), joined


def packed(carry: Carry) -> jax.Array:
    """The leaves of a carry side by side, (..., n)."""
    leaves = jax.tree.leaves(carry)
    return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves, axis=-1)


def unpacked(rows: jax.Array, like: Carry) -> Carry:
    """The carries of rows that `packed` made; `like` says how wide each leaf is."""
    leaves, tree = jax.tree.flatten(like)
    widths = [leaf.shape[-1] for leaf in leaves]
    ends = [sum(widths[: i + 1]) for i in range(len(widths) - 1)]
    parts = jnp.split(rows, ends, axis=-1)
    return jax.tree.unflatten(tree, [part.astype(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)])
