"""The input product p_t = x_t W_x + b, for ids and for dense input, and the reset of a carry."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell


def is_ids(xs: jax.Array) -> bool:
    """Whether xs holds symbol ids (T, B) and not dense features (T, B, F)."""
    return jnp.issubdtype(xs.dtype, jnp.integer)


def check_window(cell: Any, xs: jax.Array, carry: Carry, resets: jax.Array | None) -> None:
    """Refuses inputs whose shapes do not fit together.

    Raises:
      ValueError: if xs is neither (T, B) ids nor (T, B, F) features, or if the batch of the carry or of the
        resets is another one.
    """
    if is_ids(xs):
        if xs.ndim != 2:
            raise ValueError(
                f"unroll expects ids of shape (steps, batch), got {tuple(xs.shape)}; add or drop the batch axis"
            )
        if not isinstance(cell, Cell):
            raise ValueError(f"unroll reads ids with jaxrnn cells only; give {type(cell).__name__} features (T, B, F)")
    elif isinstance(cell, Cell):
        cell.check_input(xs, batch_axes=2)
    elif xs.ndim != 3:
        raise ValueError(f"unroll expects features of shape (steps, batch, F), got {tuple(xs.shape)}")
    batch_size = xs.shape[1]
    if resets is not None and resets.shape != xs.shape[:2]:
        raise ValueError(f"unroll expects resets of shape {tuple(xs.shape[:2])}, got {tuple(resets.shape)}")
    if not isinstance(cell, Cell):
        return
    if carry.h.shape != (batch_size, cell.hidden_features):
        raise ValueError(
            f"unroll expects a carry of shape ({batch_size}, {cell.hidden_features}), got {tuple(carry.h.shape)}; "
            f"make it by cell.initial_carry({batch_size})"
        )


def gathers_inside(xs: jax.Array) -> bool:
    """Whether the rows of W_x are gathered step by step inside the loop.

    For a batch that avoids an array of T B G numbers, which paid on a CPU in a prototype (an LSTM of 128 units, batch
    100). With batch 1 one gather before the loop is faster (vanilla 100, T 25: 94 against 98 us an update with
    `hoisted`, 124 against 132 with `scan`, on 2 CPU cores).
    """
    return is_ids(xs) and xs.shape[1] > 1


def input_products(cell: Cell, xs: jax.Array) -> jax.Array:
    """All input products of a window at once, (T, B, G): a gather of rows for ids, one large product for features."""
    if is_ids(xs):
        return input_rows(cell)[xs]
    return xs @ cell.W_x[...] + cell.b[...][None, None, :]


def input_rows(cell: Cell) -> jax.Array:
    """Row k is the input product of symbol k, (V, G)."""
    return jnp.add(cell.W_x[...], cell.b[...][None, :])


def reset_carry(carry: Carry, reset: jax.Array) -> Carry:
    """Zeroes the rows of the carry where reset, (B,), is true: those streams start afresh."""
    return jax.tree.map(lambda c: jnp.where(reset[:, None], jnp.zeros_like(c), c), carry)
