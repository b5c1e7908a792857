"""What a window holds besides the carry, and the two products of a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.platforms import platform
from jaxrnn.engines.products import contract, linear_product, product, with_a_one


class Window(NamedTuple):
    """The inputs of T steps, time-major. None stands for what was not given.

    Attributes:
      features: dense input, (T, B, F).
      ids: symbol ids, (T, B); beside features they are the last columns of the input, one-hot.
      times: the time of each step, (T, B); else a step's time is its index in the window, (T,).
      resets: true where a stream starts afresh, (T, B); nowhere past a sequence's end.
      valid: false past a sequence's end, (T, B): the carry stays as it is and the output is 0.
      input_scale: factor of the one-hot input, (T, B): dropout of ids.
      recurrent_mask: factor of h_{t-1} in the recurrent product, (T, B, H), or (1, B, H) for the whole window.
    """

    features: jax.Array | None
    ids: jax.Array | None
    times: jax.Array
    resets: jax.Array | None = None
    valid: jax.Array | None = None
    input_scale: jax.Array | None = None
    recurrent_mask: jax.Array | None = None


class InputWeights(NamedTuple):
    """The rows of W_x by the kind of input they belong to, and the bias.

    Attributes:
      features: rows of dense input, (F, G).
      table: row k belongs to symbol k, (V, G). Holds the bias already if `b` is None.
      b: (G,).
    """

    features: jax.Array | None
    table: jax.Array | None
    b: jax.Array | None


def is_ids(xs: jax.Array) -> bool:
    """Whether xs holds symbol ids (T, B) and not dense features (T, B, F)."""
    return jnp.issubdtype(xs.dtype, jnp.integer)


def make_window(
    cell: Any,
    xs: jax.Array | tuple[jax.Array, jax.Array],
    carry: Carry,
    times: jax.Array | None,
    resets: jax.Array | None,
    lengths: jax.Array | None,
    input_scale: jax.Array | None,
    recurrent_mask: jax.Array | None,
) -> Window:
    """Sorts the inputs of `unroll` and refuses what does not fit together.

    Raises:
      ValueError: for each misfit, with the shapes expected and given.
    """
    parts = xs if isinstance(xs, tuple) else (xs,)
    given = {"times": times, "resets": resets, "input_scale": input_scale, "lengths": lengths}
    for name, array in [*(("inputs", part) for part in parts), *given.items()]:
        if not hasattr(array, "dtype") and (array is not None or name == "inputs"):
            raise ValueError(f"unroll expects {name} as an array, got a {type(array).__name__}; give jnp.asarray of it")
    features = next((part for part in parts if not is_ids(part)), None)
    ids = next((part for part in parts if is_ids(part)), None)
    if len(parts) != (features is not None) + (ids is not None):
        raise ValueError("unroll expects ids, features, or the pair (features, ids)")
    _check_parts(cell, features, ids)
    steps, batch_size = parts[0].shape[:2]
    _check_carry(cell, carry, batch_size)
    for name, array in given.items():
        shape = (batch_size,) if name == "lengths" else (steps, batch_size)
        if array is not None and array.shape != shape:
            raise ValueError(f"unroll expects {name} of shape {shape}, got {tuple(array.shape)}")
    if recurrent_mask is not None and recurrent_mask.shape[0] not in (1, steps):
        raise ValueError(
            f"unroll expects a recurrent_mask of 1 or {steps} steps, got shape {tuple(recurrent_mask.shape)}"
        )
    index = jnp.arange(steps, dtype=jnp.int32)
    valid = None if lengths is None else index[:, None] < lengths[None, :].astype(jnp.int32)
    if resets is not None and valid is not None:
        resets = resets & valid  # past its end a sequence's carry stays, even where a fresh start was asked for
    return Window(features, ids, index if times is None else times, resets, valid, input_scale, recurrent_mask)


def _check_parts(cell: Any, features: jax.Array | None, ids: jax.Array | None) -> None:
    if ids is not None and ids.ndim != 2:
        raise ValueError(
            f"unroll expects ids of shape (steps, batch), got {tuple(ids.shape)}; add or drop the batch axis"
        )
    if not isinstance(cell, Cell):
        if ids is not None:
            raise ValueError(f"unroll reads ids with jaxrnn cells only; give {type(cell).__name__} features (T, B, F)")
        if features is not None and features.ndim != 3:
            raise ValueError(f"unroll expects features of shape (steps, batch, F), got {tuple(features.shape)}")
    elif features is not None and ids is None:
        cell.check_input(features, batch_axes=2)
    elif features is not None and ids is not None:
        if features.shape[:2] != ids.shape or features.shape[2] >= cell.in_features:
            raise ValueError(
                f"unroll expects features (T, B, F) beside ids (T, B) with F below {cell.in_features}, got "
                f"{tuple(features.shape)} and {tuple(ids.shape)}"
            )


def _check_carry(cell: Any, carry: Carry, batch_size: int) -> None:
    h = getattr(carry, "h", None)
    if isinstance(cell, Cell) and (h is None or h.shape != (batch_size, cell.hidden_features)):
        raise ValueError(
            f"unroll expects a carry of shape ({batch_size}, {cell.hidden_features}), got "
            f"{type(carry).__name__ if h is None else tuple(h.shape)}; make it by cell.initial_carry({batch_size})"
        )


def input_weights(cell: Cell, window: Window) -> InputWeights:
    """Cuts W_x to the kinds of input of a window.

    With ids alone the bias is added to the table once, unless one product makes both gradients.
    """
    W_x = cell.W_x[...]
    b = None if cell.b is None else cell.b[...]
    if window.ids is None:
        return InputWeights(W_x, None, b)
    if window.features is None:
        if window.input_scale is not None or b is None or _makes_both(W_x):
            return InputWeights(None, W_x, b)
        return InputWeights(None, jnp.add(W_x, b[None, :]), None)
    F = window.features.shape[-1]
    return InputWeights(W_x[:F], W_x[F:], b)


@jax.custom_jvp
def rows_of(table: Any, b: jax.Array | None, ids: jax.Array) -> jax.Array:
    """The row of each id, (..., G), of a table (V, G), plus b, (G,)."""
    rows = table[ids]
    return rows if b is None else rows + jnp.expand_dims(b, tuple(range(rows.ndim - 1)))


@rows_of.defjvp
def _rows_of_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (table, b, ids), (d_table, d_b, _) = primals, tangents
    if not is_small(table):
        return rows_of(*primals), rows_of(d_table, d_b, ids)
    if b is None:
        return rows_of(*primals), linear_product(one_hot(table, ids), d_table)
    held = with_a_one(one_hot(table, ids))
    d_rows = jnp.zeros((held.shape[-1], len(d_b)), d_b.dtype).at[: len(table)].set(d_table).at[len(table)].set(d_b)
    return rows_of(*primals), linear_product(held, d_rows)


def rows_gradient(table: Any, ids: jax.Array, d_rows: jax.Array) -> jax.Array:
    """The gradient of `rows_of` by the table, (V, G), for ids (T, B)."""
    if is_small(table):
        return contract("tbv,tbg->vg", one_hot(table, ids), d_rows)
    # Of `zeros.at[ids].add(d_rows)` XLA makes this form, with a copy of d_rows.
    dimensions = jax.lax.ScatterDimensionNumbers((1, 2), (), (0,))
    rows = d_rows.reshape(-1, 1, d_rows.shape[-1])
    return jax.lax.scatter_add(jnp.zeros_like(table), ids.reshape(-1, 1).astype(jnp.int32), rows, dimensions)


def is_small(table: Any) -> bool:
    """Whether the gradient of the rows of a table is a product with one-hot rows, by the platform."""
    return len(table) <= platform().largest_one_hot


def _makes_both(table: Any) -> bool:
    # The gradient of a bias is then a row of a product's result, no reduction of its own.
    return platform().counts_kernels and is_small(table)


def one_hot(table: Any, ids: jax.Array) -> jax.Array:
    """The one-hot rows of ids, (..., V), for a table (V, G)."""
    return jax.nn.one_hot(ids, len(table), dtype=table.dtype)


def input_product(weights: InputWeights, features: Any, ids: Any, scale: Any) -> jax.Array:
    """p = x W_x + b for one step (B, ...) or many (T, B, ...); ids take rows, never a one-hot product."""
    p: Any = None
    b = weights.b
    if ids is not None:
        at_once = b if scale is None and _makes_both(weights.table) else None
        p, b = rows_of(weights.table, at_once, ids), b if at_once is None else None
        if scale is not None:
            p = p * scale[..., None]
    if features is not None:
        assert weights.features is not None
        dense = product(features, weights.features)
        p = dense if p is None else p + dense
    return p if b is None else p + jnp.expand_dims(b, tuple(range(p.ndim - 1)))


def input_product_gradients(
    weights: InputWeights, features: Any, ids: Any, scale: Any, d_p: jax.Array
) -> tuple[InputWeights, jax.Array | None]:
    """Gradients of `input_product` over steps and batch, (T, B, ...): by weights, and by the features."""
    d_features = d_table = d_x = None
    if features is not None:
        assert weights.features is not None
        d_features = contract("tbf,tbg->fg", features, d_p)
        d_x = contract("tbg,fg->tbf", d_p, weights.features)
    if ids is not None:
        d_rows = d_p if scale is None else d_p * scale[:, :, None]
        assert weights.table is not None
        d_table = rows_gradient(weights.table, ids, d_rows)
    return InputWeights(d_features, d_table, None if weights.b is None else d_p.sum((0, 1))), d_x


def recurrent_product(W_h: jax.Array, b_h: jax.Array | None, h: jax.Array, mask: jax.Array | None) -> jax.Array:
    """r = (mask * h) W_h + b_h for one step, (B, ...)."""
    r = product(h if mask is None else h * mask, W_h)
    return r if b_h is None else r + jnp.expand_dims(b_h, tuple(range(r.ndim - 1)))


def recurrent_gradients(h: jax.Array, b_h: Any, d_r: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """Gradients of `recurrent_product` by W_h and b_h over steps and batch, for masked h, (T, B, H)."""
    if b_h is None or not platform().counts_kernels:
        return contract("tbh,tbg->hg", h, d_r), None if b_h is None else d_r.sum((0, 1))
    rows = contract("tbh,tbg->hg", with_a_one(h), d_r)
    return rows[: h.shape[-1]], rows[h.shape[-1]]


def multiplies_first(batch_size: int) -> bool:
    """Whether all input products of a window are made before the loop: by the platform, and always for a batch of 1.

    With a batch of 1 one gather before the loop is faster (vanilla 100, T 25, on 2 CPU cores: 94 against 98 us an
    update).
    """
    return batch_size == 1 or platform().multiplies_first


def reset_carry(carry: Carry, reset: jax.Array, fresh: Carry | None) -> Carry:
    """Puts the fresh start, or zero, into the rows of the carry where reset, (B,), is true."""
    if fresh is None:
        return jax.tree.map(lambda c: jnp.where(reset[:, None], jnp.zeros_like(c), c), carry)
    return jax.tree.map(lambda c, new: jnp.where(reset[:, None], new, c), carry, fresh)


def reset_gradients(d_carry: Carry, d_fresh: Carry, reset: jax.Array, fresh: Carry | None) -> tuple[Carry, Carry]:
    """The transpose of `reset_carry`: where reset is true the carry's gradient goes to the fresh start and ends."""
    if fresh is not None:
        d_fresh = jax.tree.map(lambda s, d: s + jnp.where(reset[:, None], d, 0), d_fresh, d_carry)
    return reset_carry(d_carry, reset, None), d_fresh


def takes_no(**given: jax.Array | None) -> str | None:
    """Says which of these an engine does not take, where any of them is given."""
    named = [name for name, array in given.items() if array is not None]
    return f"it takes no {' and no '.join(named)}" if named else None


def keep_finished(valid: jax.Array, new: Carry, old: Carry, y: jax.Array) -> tuple[Carry, jax.Array]:
    """Past a sequence's end the carry stays and the output is 0; valid is (B,)."""
    carry = jax.tree.map(lambda n, o: jnp.where(valid[:, None], n, o), new, old)
    return carry, jnp.where(valid[:, None], y, jnp.zeros_like(y))
