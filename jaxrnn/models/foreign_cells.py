"""What a stack asks of a cell that is not jaxrnn's, such as Flax's, and what it does for it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.checks import check_call
from jaxrnn.engines.window import is_ids

FLAX_CELLS = (nnx.SimpleCell, nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell)


def check_cell(cell: Any, which: str) -> None:
    """Refuses what is no cell, and takes from a cell of Flax's the keys that `keep_rngs` left in it.

    They draw its first carry and nothing else, see `fresh_carry`; without them a stack holds parameters alone.

    Raises:
      ValueError: with what it lacks.
    """
    lacks = [name for name in ("in_features", "hidden_features", "__call__") if not hasattr(cell, name)]
    if not hasattr(cell, "initial_carry") and not hasattr(cell, "initialize_carry"):
        lacks.append("initial_carry or initialize_carry")
    if lacks:
        raise ValueError(f"Stack expects cells with {', '.join(lacks)}; {which}, a {type(cell).__name__}, has not")
    check_call(which, cell.__call__, "carry", "x")
    if hasattr(cell, "initial_carry"):
        check_call(f"the initial_carry of {which}", cell.initial_carry, "batch_size")
    if isinstance(cell, Cell):
        check_call(f"the update of {which}", cell.update, "p", "r", "carry", "pointwise", "t")
    if isinstance(cell, FLAX_CELLS):
        cell.rngs = nnx.data(None)


def fresh_carry(layer: Any, batch_size: int) -> Carry:
    """The carry of a fresh start, by the layer's `initial_carry(batch_size)` or Flax's `initialize_carry(shape, rngs)`.

    What the latter draws is one row, always the same, for the whole batch: a start belongs to the model, and no row's
    depends on how many there are or on which device it lies.
    """
    if hasattr(layer, "initial_carry"):
        return layer.initial_carry(batch_size)
    row = layer.initialize_carry((1, layer.in_features), nnx.Rngs(0))
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch_size, *leaf.shape[1:])), row)


def one_hot(xs: Any, symbols: int, scale: jax.Array | None, dtype: Any) -> jax.Array:
    """The input of `unroll` as features alone, (T, B, F): its ids, scaled, as the last `symbols` of them."""
    *features, ids = xs if isinstance(xs, tuple) else (xs,)
    if not is_ids(ids):
        return xs
    x = jax.nn.one_hot(ids, symbols, dtype=dtype)
    return jnp.concatenate([*features, x if scale is None else x * scale[:, :, None]], axis=-1)


def refuse_inside(cell: Any, recurrent_mask: jax.Array | None, clip_backward: jax.Array | None) -> None:
    """Refuses what acts inside a step.

    Raises:
      ValueError: with the name of what does.
    """
    for name, value in (("recurrent dropout", recurrent_mask), ("clip_backward", clip_backward)):
        if value is not None:
            raise ValueError(
                f"{name} acts inside a step, which {type(cell).__name__} does not show; leave it out, or use a Cell"
            )
