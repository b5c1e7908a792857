"""The resident engine of a GPU: one program a tile of the batch, with W_h on the chip for all steps.

A step of the other engines launches kernels and reads W_h anew. Here one kernel runs through the window: every program
(CTA) has a few rows of the batch, W_h in its registers and shared memory and the carry in registers, and needs no other
program; a layer too large for that is shared by the programs of a cluster, each of which has some of the units and
writes its part of h into the shared memory of all.
All is transposed, a_t' = W_h' h', since the tensor cores want 64 rows of the first operand (16 a warp) but as few as 8
columns of the second: gates are rows and the batch is columns, so that a small batch still spreads over many programs.
A warpgroup has 64 units with all their gates: the update needs no exchange, and h goes through shared memory.

The kernels take the update and its derivative from the cell: both are traced and evaluated again block by block, a
block being the (64, rows) numbers of one gate. The forward kernel keeps the carries and r_t, or p_t + r_t; the backward
kernel yields dr_t and dp_t; the gradients of weights are products outside. What only some windows have, resets and
lengths and the like, comes as blocks of marks, read a step as p_t is. Mosaic GPU: Hopper or newer.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxrnn.cells.base import Carry, Cell
from jaxrnn.engines.joint import all_gradients, inputs_of, sums_of
from jaxrnn.engines.products import contract
from jaxrnn.engines.resident_gpu.backward import backward
from jaxrnn.engines.resident_gpu.forward import forward
from jaxrnn.engines.resident_gpu.program import Marks
from jaxrnn.engines.resident_gpu.settings import (
    ROWS,
    UNITS,
    Setting,
    Sizes,
    as_tf32,
    best_setting,
    fits,
    order_of_columns,
    order_of_units,
    padded,
    rounds,
    spread,
)
from jaxrnn.engines.window import InputWeights, Window, input_weights, takes_no


def unroll_resident(
    cell: Cell,
    window: Window,
    carry: Carry,
    fresh: Carry | None = None,
    clip_backward: jax.Array | None = None,
    *,
    setting: Setting | None = None,
) -> tuple[Carry, jax.Array]:
    """Unrolls with the recurrent weights resident, by the best setting if none is given; reverse mode only.

    Raises:
      ValueError: for what the kernels do not do, by name.
    """
    if why := why_not(cell, window, setting):
        raise ValueError(f"the resident engine cannot run this: {why}; use the engine 'scan'")
    setting = _best(cell) if setting is None else setting
    assert setting is not None
    return _Resident(cell, setting).unroll(window, carry, fresh, clip_backward)


def why_not(cell: Cell, window: Window | None, setting: Setting | None = None) -> str | None:
    """Why the kernels cannot run this, or None; without a window, what the cell says alone."""
    if cell.inner_products or jax.tree.leaves(cell.pointwise()):
        return f"{type(cell).__name__} has parameters in its update"
    setting = _best(cell) if setting is None else setting
    if setting is None or not fits(cell.hidden_features, _gates(cell), setting):
        return f"W_h of {cell.hidden_features} units does not fit into the registers and shared memory of its programs"
    if window is None:
        return None
    return takes_no(times=window.times if window.times.ndim == 2 else None)


def pays(cell: Cell, batch_size: int) -> bool:
    """Whether the kernels are expected to be no slower than a launch a step, whatever the rows of a launch.

    With one round of programs an update takes at most two thirds of the time; with two it was not measured.
    """
    setting = _best(cell)
    return setting is not None and rounds(batch_size, setting) <= 2


def _best(cell: Cell) -> Setting | None:
    bf16 = jax.config.values["jax_default_matmul_precision"] == "bfloat16"
    return best_setting(cell.hidden_features, _gates(cell), jnp.bfloat16 if bf16 else jnp.float32)


def _gates(cell: Cell) -> int:
    return cell.W_h.shape[1] // cell.hidden_features


class _Resident:
    """`run` is `(arrays, fixed) -> (last, ys)`; the gradient goes to `arrays` only, which have blocks of U units.

    They are (..., B, blocks, U); of carries each leaf is an array with one block.
    """

    def __init__(self, cell: Cell, setting: Setting):
        self.cell, self.setting, self.gates = cell, setting, _gates(cell)
        self.sizes = Sizes(cell.hidden_features, self.gates, setting)
        run = jax.custom_vjp(lambda arrays, fixed: self._forward(arrays, fixed)[0])
        run.defvjp(self._of_primals, self._backward, symbolic_zeros=True)
        self.run = run

    def unroll(self, window: Window, carry: Carry, fresh: Carry | None, limit: Any) -> tuple[Carry, jax.Array]:
        H, U, B = self.sizes.H, self.sizes.U, carry.h.shape[0]
        more = 0 if self.setting.interpret is None else padded(B, ROWS) - B  # the interpreter has whole programs

        def more_rows(x, axis):
            return x if x is None or not more else jnp.pad(x, [(0, more * (a == axis)) for a in range(x.ndim)])

        def as_blocks(leaves):
            return tuple(more_rows(spread(leaf, H, U), 0)[:, None] for leaf in leaves)

        weights = InputWeights(*[w if w is None else spread(w, H, U) for w in input_weights(self.cell, window)])
        given = {name: more_rows(getattr(window, name), 1) for name in ("features", "ids", "input_scale")}
        inputs = inputs_of(self.cell, weights, window._replace(**given))
        b_h = None if self.cell.b_h is None else self.cell.b_h[...]
        leaves, tree = jax.tree.flatten(carry)
        mask = None if window.recurrent_mask is None else more_rows(spread(window.recurrent_mask, H, U), 1)
        fresh = None if window.resets is None else as_blocks(jax.tree.leaves(fresh)) or None
        marks = more_rows(window.resets, 1), more_rows(window.valid, 1)
        fixed = given["ids"], given["input_scale"], *marks, limit
        arrays = inputs, self.cell.W_h[...], b_h, as_blocks(leaves), fresh, mask
        last, ys = self.run(arrays, fixed)
        return jax.tree.unflatten(tree, [leaf[:B, 0, :H] for leaf in last]), ys[:, :B, 0, :H]

    def _weights(self, W_h, order):
        H, K, U = self.sizes.H, self.sizes.K, self.sizes.U
        rows = jnp.transpose(W_h.reshape(H, self.gates, H), order)
        rows = jnp.pad(rows, ((0, 0), (0, K - H), (0, K - H)))
        rows = order_of_units(rows, 1)
        rows = (order_of_units(rows, 2) if self.sizes.held is None else rows).reshape(self.gates * K, K)
        rows = jnp.pad(rows, ((0, U - K), (0, 0)))
        if self.setting.dtype == jnp.float32 and self.setting.interpret is None:
            rows = as_tf32(rows)
            rows = rows if self.sizes.held is None else order_of_columns(rows)
        return rows.astype(self.setting.dtype)

    def _of_primals(self, *given):
        return self._forward(*jax.tree.map(lambda x: x.value, given, is_leaf=lambda x: hasattr(x, "perturbed")))

    def _forward(self, arrays, fixed):
        inputs, W_h, b_h, first, fresh, mask = arrays
        ids, scale, *marks, limit = fixed
        ps = sums_of(inputs, ids, scale)
        ps = ps.reshape(*ps.shape[:2], -1, self.sizes.U)
        bias = None if b_h is None else spread(b_h, self.sizes.H, self.sizes.U).reshape(1, self.gates, -1)
        marks = _marks(len(ps), fresh, mask, *marks)
        weights = self._weights(W_h, (1, 2, 0))
        carries, ys, kept = forward(self.cell, self.setting, ps, bias, weights, first, marks)
        last = [leaf[-1] for leaf in jax.tree.leaves(carries)]
        return (last, ys), (inputs, ids, scale, ps, W_h, b_h, carries, kept, marks, mask, limit)

    def _backward(self, residuals, cotangents):
        inputs, ids, scale, ps, W_h, b_h, carries, kept, marks, mask, limit = residuals
        weights, H = self._weights(W_h, (1, 0, 2)), self.sizes.H
        # Training drops the last carry: its gradient is no array then, where the kernel begins with zeros.
        d_last, d_ys = cotangents
        d_last = [None if isinstance(d, SymbolicZero) else d for d in d_last]
        d_ys = jnp.zeros(d_ys.shape) if isinstance(d_ys, SymbolicZero) else d_ys
        limit = None if limit is None else jnp.full((1, 1, UNITS), limit)
        given = ps, kept, weights, carries, d_last, d_ys, marks, limit
        d_ps, d_rs, d_first, d_fresh = backward(self.cell, self.setting, *given)
        d_ps = d_ps.reshape(*d_ps.shape[:2], -1)
        d_rs = None if d_rs is None else d_rs.reshape(*d_rs.shape[:2], -1)
        d_sums, h, d_mask = d_ps if d_rs is None else d_rs, carries.h[:-1, :, 0], None
        if mask is not None:
            d_mask = h[..., :H] * contract("tbg,hg->tbh", self._without_zeros(d_sums), W_h)
            d_mask = spread(d_mask.sum(0)[None] if len(mask) == 1 else d_mask, H, self.sizes.U)
            h = h * mask
        d_inputs, *d_recurrent = all_gradients(inputs, ids, scale, h[..., :H], b_h, d_ps, d_rs)
        d_W_h, d_b_h = jax.tree.map(self._without_zeros, d_recurrent)
        return (d_inputs, d_W_h, d_b_h, d_first, d_fresh, d_mask), None

    def _without_zeros(self, spread_gates):
        gates = spread_gates.reshape(*spread_gates.shape[:-1], self.gates, self.sizes.U)
        return gates[..., : self.sizes.H].reshape(*spread_gates.shape[:-1], -1)


def _marks(steps: int, fresh: Any, mask: Any, resets: Any, valid: Any) -> Marks:
    def of_rows(marks):
        return jnp.broadcast_to(marks[:, :, None, None], (*marks.shape, 1, UNITS)).astype(jnp.float32)

    def and_after(x):
        return jnp.pad(x, [(0, 1), *[(0, 0)] * (x.ndim - 1)], constant_values=1)

    if mask is not None:
        mask = and_after(jnp.broadcast_to(mask, (steps, *mask.shape[1:])))[:, :, None]
    keeps, valid = None if resets is None else of_rows(and_after(~resets)), None if valid is None else of_rows(valid)
    return Marks(keeps, valid, mask, fresh)
