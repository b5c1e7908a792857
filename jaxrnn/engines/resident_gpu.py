"""The resident engine of a GPU: one program a tile of the batch, with W_h in its shared memory for all steps.

A step of the other engines launches kernels and reads W_h anew. Here one kernel runs through the window: every program
(CTA) has a few rows of the batch, W_h in shared memory and the carry in registers, and needs no other program.
All is transposed, a_t' = W_h' h', since the tensor cores want 64 rows of the first operand but as few as 8 columns of
the second: gates are rows and the batch is columns, so that a small batch still spreads over many programs. A warpgroup
has 64 units with all their gates: the update needs no exchange, and h goes through shared memory.

The kernels take the update and its derivative from the cell: both are traced and evaluated again block by block, a
block being the (64, rows) numbers of one gate. The forward kernel keeps the carries and r_t, or p_t + r_t; the backward
kernel yields dr_t and dp_t; the gradients of weights are products outside. Mosaic GPU: Hopper or newer.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.products import contract
from jaxrnn.engines.resident_gpu_backward import backward
from jaxrnn.engines.resident_gpu_forward import forward
from jaxrnn.engines.resident_gpu_settings import Setting, Sizes, as_tf32, fits, order_of_columns, padded
from jaxrnn.engines.window import Window, input_product, input_weights, takes_no


def unroll_resident(
    cell: Cell,
    window: Window,
    carry: Carry,
    fresh: Carry | None = None,
    clip_backward: jax.Array | None = None,
    *,
    setting: Setting | None = None,
) -> tuple[Carry, jax.Array]:
    """Unrolls with the recurrent weights resident; reverse mode only.

    Raises:
      ValueError: for what the kernels do not do, by name.
    """
    setting = Setting() if setting is None else setting
    if why := why_not(cell, window, clip_backward, setting):
        raise ValueError(f"the resident engine cannot run this: {why}; use the engine 'scan'")
    ps = input_product(input_weights(cell, window), window.features, window.ids, window.input_scale)
    b_h = None if cell.b_h is None else cell.b_h[...]
    return _Resident(cell, setting).unroll(ps, cell.W_h[...], b_h, carry)


def why_not(cell: Cell, window: Window | None, clip_backward: jax.Array | None, setting: Setting) -> str | None:
    """Why the kernels cannot run this, or None; without a window, what the cell says alone."""
    if cell.inner_products or jax.tree.leaves(cell.pointwise()):
        return f"{type(cell).__name__} has parameters in its update"
    if not fits(cell.hidden_features, cell.W_h.shape[1] // cell.hidden_features, setting):
        return f"W_h of {cell.hidden_features} units does not fit into the shared memory of one program"
    if window is None:
        return None
    times = window.times if window.times.ndim == 2 else None
    given = {"resets": window.resets, "lengths": window.valid, "recurrent_mask": window.recurrent_mask}
    return takes_no(**given, clip_backward=clip_backward, times=times)


class _Resident:
    """`run` is `(ps, W_h, b_h, carry) -> (last carry, ys)`, all arrays with units first."""

    def __init__(self, cell: Cell, setting: Setting):
        self.cell, self.setting = cell, setting
        self.gates = cell.W_h.shape[1] // cell.hidden_features
        self.sizes = Sizes(cell.hidden_features, self.gates, setting)
        run = jax.custom_vjp(lambda *arrays: self._forward(*arrays)[0])
        run.defvjp(self._forward, self._backward)
        self.run = run

    def unroll(self, ps, W_h, b_h, carry):
        H, U, N, (T, B) = self.sizes.H, self.sizes.U, self.sizes.N, ps.shape[:2]
        more = padded(B, N) - B
        carry = jax.tree.map(lambda leaf: jnp.pad(leaf.T, ((0, U - H), (0, more))), carry)
        if self.setting.tiled:
            ps = jnp.pad(ps.reshape(T, B, -1, H), ((0, 0), (0, more), (0, 0), (0, U - H)))
            ps = jnp.moveaxis(ps.reshape(T, -1, N, *ps.shape[2:]), 2, 4)
        else:
            ps = jnp.transpose(ps.reshape(T, B, -1, H), (2, 3, 0, 1))
            ps = jnp.pad(ps, ((0, 0), (0, U - H), (0, 0), (0, more)))
        last, ys = self.run(ps, W_h, b_h, carry)
        last = jax.tree.map(lambda leaf: leaf[:H, :B].T, last)
        if self.setting.tiled:
            return last, jnp.swapaxes(ys, 2, 3).reshape(T, B + more, U)[:, :B, :H]
        return last, jnp.transpose(ys[:H, :, :B], (1, 2, 0))

    def _weights(self, W_h, order):
        H, K, U = self.sizes.H, self.sizes.K, self.sizes.U
        rows = jnp.transpose(W_h.reshape(H, self.gates, H), order)
        rows = jnp.pad(rows, ((0, 0), (0, K - H), (0, K - H))).reshape(self.gates * K, K)
        rows = jnp.pad(rows, ((0, U - K), (0, 0)))
        if self.setting.dtype == jnp.float32 and self.setting.interpret is None:
            rows = as_tf32(rows)
            rows = rows if self.sizes.held is None else order_of_columns(rows)
        return rows.astype(self.setting.dtype)

    def _forward(self, ps, W_h, b_h, carry):
        bias = None
        if b_h is not None:
            b = jnp.pad(b_h.reshape(self.gates, -1, 1), ((0, 0), (0, self.sizes.U - self.sizes.H), (0, 0)))
            bias = jnp.broadcast_to(b, (*b.shape[:2], self.sizes.N))
        carries, ys, kept = forward(self.cell, self.setting, ps, bias, self._weights(W_h, (1, 2, 0)), carry)
        if self.setting.tiled:
            last = jax.tree.map(lambda leaf: jnp.swapaxes(leaf[-1], 0, 1).reshape(self.sizes.U, -1), carries)
        else:
            last = jax.tree.map(lambda leaf: leaf[:, -1], carries)
        return (last, ys), (ps, W_h, b_h, carries, kept)

    def _backward(self, residuals, cotangents):
        ps, W_h, b_h, carries, kept = residuals
        weights = self._weights(W_h, (1, 0, 2))
        d_ps, d_rs, d_first = backward(self.cell, self.setting, ps, kept, weights, carries, *cotangents)
        d_sums = d_ps if d_rs is None else d_rs
        if self.setting.tiled:
            H = self.sizes.H
            d_sums = jnp.moveaxis(d_sums, 4, 2)[..., :H].reshape(-1, self.gates * H)
            h = jnp.swapaxes(carries.h[:-1], 2, 3)[..., :H].reshape(-1, H)
            d_W_h = contract("nh,ng->hg", h, d_sums)
            return d_ps, d_W_h, None if b_h is None else d_sums.sum(0).reshape(b_h.shape), d_first
        d_sums = d_sums[:, : self.sizes.H]
        h = carries.h[: self.sizes.H, :-1]
        d_W_h = contract("htb,gutb->hgu", h, d_sums).reshape(W_h.shape)
        d_b_h = None if b_h is None else d_sums.sum((2, 3)).reshape(b_h.shape)
        return d_ps, d_W_h, d_b_h, d_first
