"""The forward kernel of the resident engine of a GPU: all steps of a tile of the batch; see `engine.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.engines.blockwise import is_block, traced
from jaxrnn.engines.resident_gpu.copies import Array, Coming, Going, plan_of
from jaxrnn.engines.resident_gpu.launch import launched
from jaxrnn.engines.resident_gpu.program import Marks, times, where, zeros
from jaxrnn.engines.resident_gpu.settings import ROWS, Setting, Sizes, floats


def forward(cell: Cell, setting: Setting, ps, b_h, weights, first, marks: Marks):
    """The carries before and after each step, (T + 1, B, 1, U), ys, (T, B, 1, U), and r or p + r, (T, B, gates, U).

    Where a stream starts afresh its carry is the new one.

    Args:
      ps: input products, (T, B, blocks, U).
      b_h: (1, gates, U), or None.
      weights: the rows of W_h' gate by gate, (gates K + U - K, K), units in the order of a warp's rows.
      first: the leaves of the carry, (B, 1, U) each.
      marks: of the window.
    """
    gates = cell.W_h.shape[1] // cell.hidden_features
    sizes = Sizes(cell.hidden_features, gates, setting)
    T, B, blocks, U = ps.shape
    like = jax.eval_shape(lambda: cell.initial_carry(ROWS))
    tree, at_h = jax.tree.structure(like), type(like)._fields.index("h")
    n = len(jax.tree.leaves(like))
    update, _, y_is_h = traced(cell, ROWS, setting.math)
    more, kinds = jax.tree.flatten(marks)
    y_is_h = y_is_h and marks.keeps is None and marks.valid is None  # else y_t is not the h that the next step reads

    ys = 0 if y_is_h else 1
    plan = plan_of(sizes, setting, 1, [blocks], [gates, *[1] * (n + ys)])

    def resident_forward(program, copies, p_g, *refs):
        b_g, refs = (None, refs) if b_h is None else (refs[0], refs[1:])
        first_g, refs = refs[:n], refs[n:]
        marks_g, (kept_g, *outs) = jax.tree.unflatten(kinds, refs[: len(more)]), refs[len(more) :]
        carries_g = outs[:n]
        coming = Coming(program, [Array(p_g, blocks, lambda t: t)], T, copies[0])
        written = [Array(kept_g, gates, lambda t: t), *[Array(ref, 1, lambda t: t + 1) for ref in carries_g]]
        going = Going(program, written + [Array(ref, 1, lambda t: t) for ref in outs[n:]], copies[1])
        before = program.read_marks(marks_g._replace(valid=None), -1, before=False)
        fresh = program.read_leaves(marks_g.fresh, n)

        def or_fresh(keeps, leaves):
            return [where(keeps, leaf, new) for leaf, new in zip(leaves, fresh, strict=True)]

        state = or_fresh(before.keeps, program.read_leaves(first_g, n))
        for ref, leaf in zip(carries_g, state, strict=True):
            program.write(ref, leaf, 0)
        bias = None if b_g is None else [program.read(b_g, block=g) for g in range(gates)]
        program.exchange(jnp.int32(0), [times(state[at_h], before.mask)])

        def marked_at(t):
            return program.read_marks(marks_g, jnp.minimum(t, T - 1), before=False)

        def step(t, loop):
            state, on_its_way, marked, pending = loop

            def meanwhile():
                # Those of the step before; before the first one nothing is, or else what the first one overwrites.
                going.write(jnp.maximum(t - 1, 0), pending, t > 0)
                return coming.read(t, on_its_way)

            kept, (p,) = program.products(t, [(g, g, 0) for g in range(gates)], gates, meanwhile)
            for addend in [bias] + [p] * cell.sums_products:
                kept = kept if addend is None else [a + b for a, b in zip(kept, addend, strict=True)]
            # As soon as p is used: registers that are read into have a whole step for it then.
            following = coming.after(t) if cell.sums_products else None
            given = (kept,) if cell.sums_products else (p, kept)
            new, y = update(*given, jax.tree.unflatten(tree, [[leaf] for leaf in state]), t)
            following = coming.after(t) if following is None else following
            new = [leaf[0] for leaf in jax.tree.leaves(new, is_leaf=is_block)]
            new = [where(marked.valid, leaf, old) for leaf, old in zip(new, state, strict=True)]
            state = or_fresh(marked.keeps, new)
            program.exchange(t + 1, [times(state[at_h], marked.mask)])
            pending = [kept, *[[leaf] for leaf in state], *[[where(marked.valid, y[0])]] * ys]
            return state, following, marked_at(t + 1), pending

        nothing = [[zeros()] * array.blocks for array in going.arrays]
        loop = state, coming.begin(), marked_at(0), nothing
        *_, pending = jax.lax.fori_loop(0, T, step, loop)
        program.received_all(jnp.int32(T))
        going.write(jnp.int32(T - 1), pending)
        going.end()

    outs = [floats(T, B, gates, U), *[floats(T + 1, B, 1, U)] * n, *[floats(T, B, 1, U)] * ys]
    given = (weights, ps, *([] if b_h is None else [b_h]), *first, *more)
    kept, *rest = launched(resident_forward, sizes, setting, B, 1, outs, plan)(*given)
    carries = jax.tree.unflatten(tree, rest[:n])
    return carries, carries.h[1:] if y_is_h else rest[n], kept
