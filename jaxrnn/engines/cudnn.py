"""The engine `cudnn`: NVIDIA's LSTM, by way of `jax.experimental.rnn`, for an `LSTMCell` on a GPU in float32.

The library's weights are one vector, W_x', W_h', b and a second bias, in our order of the gates i, f, g, o. It is built
inside the program, so parameters and checkpoints stay as they are. Reverse mode only, and no `vmap`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental import rnn
from jax.experimental.layout import Layout, with_layout_constraint

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.cells.lstm import LSTMCarry, LSTMCell
from jaxrnn.engines.platforms import members_at_once, platform
from jaxrnn.engines.reference import dense_input
from jaxrnn.engines.window import Window, keep_finished, takes_no


def why_not_cudnn(cell: Cell, window: Window | None, clip_backward: jax.Array | None) -> str | None:
    """Why the library cannot run this here, or None; without a window, what the cell says alone."""
    if platform().name != "gpu":
        return "it needs an NVIDIA GPU"
    if type(cell) is not LSTMCell:
        return f"the library has an LSTM without peepholes, not {type(cell).__name__}"
    if cell.W_h[...].dtype != jnp.float32:
        return f"it is made for float32, not {cell.W_h[...].dtype}"
    if jax.config.values["jax_default_matmul_precision"] == "bfloat16":
        return "its products are of TF32 or float32; the precision asked for is bf16"
    if members_at_once():
        return "the library runs one model, not several members at once"
    if window is None:
        return None
    return takes_no(resets=window.resets, recurrent_mask=window.recurrent_mask, clip_backward=clip_backward)


def unroll_cudnn(
    cell: Cell, window: Window, carry: Carry, fresh: Carry | None = None, clip_backward: jax.Array | None = None
) -> tuple[Carry, jax.Array]:
    """Unrolls by one call of the library, where `why_not_cudnn` has no reason; ids become one-hot rows."""
    W_x, W_h = cell.W_x[...], cell.W_h[...]
    F, H = W_x.shape[0], W_h.shape[0]
    b = jnp.zeros((4 * H,), W_h.dtype) if cell.b is None else cell.b[...]
    weights = jnp.concatenate([W_x.T.reshape(-1), W_h.T.reshape(-1), b, jnp.zeros_like(b)])
    xs = dense_input(cell, window)
    T, B = xs.shape[:2]
    # The library wants a length of 1 at least; what it makes of a row that is all padding is replaced below.
    lengths = jnp.full((B,), T, jnp.int32) if window.valid is None else window.valid.sum(0, dtype=jnp.int32)
    given = map(_row_major, (xs.transpose(1, 0, 2), carry.h[None], carry.c[None]))
    ys, h, c = map(_row_major, rnn.lstm(*given, weights, jnp.maximum(lengths, 1), F, H, 1, 0.0, False))
    last, ys = LSTMCarry(c[0], h[0]), ys.transpose(1, 0, 2)
    if window.valid is None:
        return last, ys
    last, _ = keep_finished(window.valid[0], last, carry, last.h)
    return last, jnp.where(window.valid[:, :, None], ys, 0)


def _row_major(x: jax.Array) -> jax.Array:
    """The array, and its gradient, as the library reads them.

    JAX's call does not say how its arrays lie, and XLA gave it a transposed view of ours: wrong numbers inside `jit`
    (jax 0.11.2, seen on an H200).
    """
    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))
