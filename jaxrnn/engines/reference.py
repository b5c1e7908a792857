"""The engine `reference`: the cell called step by step, with JAX's own gradient. The oracle of all the others."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.cells.inner_product import clip_cotangent, filled_in
from jaxrnn.engines.window import Window, keep_finished, reset_carry


def unroll_reference(
    cell: Any, window: Window, carry: Carry, fresh: Carry | None = None, clip_backward: jax.Array | None = None
) -> tuple[Carry, jax.Array]:
    """A plain scan; ids are fed as one-hot vectors, as the formula says."""
    mask = window.recurrent_mask
    if mask is not None:
        mask = jnp.broadcast_to(mask, (window.times.shape[0], *mask.shape[1:]))

    def step(carry, now):
        x, t, reset, valid, step_mask = now
        if reset is not None:
            carry = reset_carry(carry, reset, fresh)
        if not isinstance(cell, Cell):  # such as Flax's: it knows neither masks nor the step's number
            new, y = cell(carry, x)
        else:
            p, r = cell.products(carry if step_mask is None else carry._replace(h=carry.h * step_mask), x)
            if clip_backward is not None:
                p, r = clip_cotangent(p, clip_backward), clip_cotangent(r, clip_backward)
            new, y = cell.update(p, r, carry, filled_in(cell.pointwise(), step_mask, clip_backward), t)
        return (new, y) if valid is None else keep_finished(valid, new, carry, y)

    steps = (dense_input(cell, window), window.times, window.resets, window.valid, mask)
    return jax.lax.scan(step, carry, steps)


def dense_input(cell: Any, window: Window) -> Any:
    """The input as features alone, (T, B, F): ids as one-hot rows, scaled, behind the features that come with them."""
    if window.ids is None:
        return window.features
    symbols = cell.in_features - (0 if window.features is None else window.features.shape[-1])
    x = jax.nn.one_hot(window.ids, symbols, dtype=cell.W_x[...].dtype)
    if window.input_scale is not None:
        x = x * window.input_scale[:, :, None]
    return x if window.features is None else jnp.concatenate([window.features, x], axis=-1)
