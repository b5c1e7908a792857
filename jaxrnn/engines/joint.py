"""One product for all weight gradients of a layer, where every kernel counts.

With p_t = x_t W_x + b and r_t = h_{t-1} W_h + b_h, and an update that takes their sum alone, all have one gradient d_t:

    [dW_h; dW_x; db] = sum_t [h_{t-1}, x_t, 1]' d_t

An engine that makes it is given the weights and the inputs in place of p_t.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.engines.platforms import platform
from jaxrnn.engines.products import contract, with_a_one
from jaxrnn.engines.window import (
    InputWeights,
    Window,
    input_product,
    is_small,
    one_hot,
    recurrent_gradients,
)


class Inputs(NamedTuple):
    """What p_t is made of, and has a gradient.

    Attributes:
      weights: of the input products.
      features: dense input, (T, B, F), or None.
    """

    weights: InputWeights
    features: jax.Array | None


def inputs_of(cell: Cell, weights: InputWeights, window: Window) -> Inputs | jax.Array:
    """The inputs, where one product makes all gradients; else p_t of all steps, (T, B, G), which has its own."""
    joins = platform().counts_kernels and cell.sums_products and (window.ids is None or is_small(weights.table))
    if joins:
        return Inputs(weights, window.features)
    return input_product(weights, window.features, window.ids, window.input_scale)


def sums_of(inputs: Inputs | jax.Array, ids: Any, scale: Any) -> jax.Array:
    """p_t of all steps, of what `inputs_of` gave; ids and scale are those of the window."""
    return input_product(*inputs, ids, scale) if isinstance(inputs, Inputs) else inputs


def all_gradients(
    inputs: Inputs | jax.Array, ids: Any, scale: Any, h: jax.Array, b_h: Any, d_ps: jax.Array, d_rs: jax.Array | None
) -> tuple[Any, jax.Array, jax.Array | None]:
    """The gradients by `inputs`, W_h and b_h over steps and batch.

    Args:
      inputs, ids, scale: as for `sums_of`.
      h: masked h_{t-1}, (T, B, H).
      b_h: the recurrent bias, or None.
      d_ps: the gradients of p_t, (T, B, G).
      d_rs: those of r_t; None where they are the same.
    """
    if not isinstance(inputs, Inputs):
        return d_ps, *recurrent_gradients(h, b_h, d_ps if d_rs is None else d_rs)
    weights, features = inputs
    rows = [h] if features is None else [h, features]
    if ids is not None:
        of_ids = one_hot(weights.table, ids)
        rows.append(of_ids if scale is None else of_ids * scale[..., None])
    widths = [part.shape[-1] for part in rows]
    side_by_side = jnp.concatenate(rows, axis=-1)
    has_bias = weights.b is not None or b_h is not None
    found = contract("tbk,tbg->kg", with_a_one(side_by_side) if has_bias else side_by_side, d_ps)
    parts = iter(jnp.split(found[: sum(widths)], [sum(widths[: i + 1]) for i in range(len(widths) - 1)]))
    d_W_h, d_b = next(parts), found[sum(widths)] if has_bias else None
    d_weights = InputWeights(
        None if features is None else next(parts),
        None if ids is None else next(parts),
        None if weights.b is None else d_b,
    )
    d_features = None
    if features is not None:
        assert weights.features is not None
        d_features = contract("tbg,fg->tbf", d_ps, weights.features)
    return Inputs(d_weights, d_features), d_W_h, None if b_h is None else d_b
