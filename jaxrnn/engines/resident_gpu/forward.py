"""The forward kernel of the resident engine of a GPU: all steps of a tile of the batch; see `resident_gpu.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.engines.blockwise import is_block, traced
from jaxrnn.engines.resident_gpu_program import Marks, Program, launched, times, where, zeros
from jaxrnn.engines.resident_gpu_settings import ROWS, Setting, Sizes, tiles


def forward(cell: Cell, setting: Setting, ps, b_h, weights, first, marks: Marks):
    """The carries before and after each step, (T + 1, B, 1, U), ys, (T, B, 1, U), and r or p + r, (T, B, gates, U).

    All of them and the arguments, but the weights, are `tiled`. Where a stream starts afresh its carry is the new one.

    Args:
      ps: input products, (T, B, blocks, U).
      b_h: (8, gates, U), or None.
      weights: the rows of W_h' gate by gate, (gates K + U - K, K), units in the order of a warp's rows.
      first: the leaves of the carry as blocks, (B, leaves, U).
      marks: of the window.
    """
    gates = cell.W_h.shape[1] // cell.hidden_features
    sizes = Sizes(cell.hidden_features, gates, setting)
    T, groups, blocks = ps.shape[:3]
    B, U = groups * ROWS, sizes.U
    like = jax.eval_shape(lambda: cell.initial_carry(ROWS))
    tree, at_h = jax.tree.structure(like), type(like)._fields.index("h")
    n = len(jax.tree.leaves(like))
    update, _, y_is_h = traced(cell, ROWS, setting.math)
    more, kinds = jax.tree.flatten(marks)
    y_is_h = y_is_h and marks.keeps is None and marks.valid is None  # else y_t is not the h that the next step reads

    def body(weights_g, p_g, *refs):
        b_g, refs = (None, refs) if b_h is None else (refs[0], refs[1:])
        first_g, refs = refs[0], refs[1:]
        marks_g, outs, scratch = jax.tree.unflatten(kinds, refs[: len(more)]), refs[len(more) : -4], refs[-4:]
        kept_g, carries_g, y_g = outs[0], outs[1 : n + 1], outs[-1]
        program = Program(sizes, setting, weights_g, *scratch)
        before = program.read_marks(marks_g._replace(valid=None), -1, before=False)
        fresh = program.read_leaves(marks_g.fresh, n)

        def or_fresh(keeps, leaves):
            return [where(keeps, leaf, new) for leaf, new in zip(leaves, fresh, strict=True)]

        state = or_fresh(before.keeps, program.read_leaves(first_g, n))
        bias = None if b_g is None else [program.read(b_g, block=g, tile=0) for g in range(gates)]
        program.exchange(jnp.int32(0), [times(state[at_h], before.mask)])

        def inputs(t):
            t = jnp.minimum(t, T - 1)
            return [program.read(p_g, t, block) for block in range(blocks)], program.read_marks(
                marks_g, t, before=False
            )

        def write(t, state, kept, y):
            """Of step t, with the carry after it; t = -1 is the first carry (kept and y are written anew)."""
            now = jnp.maximum(t, 0)
            for g, value in enumerate(kept):
                program.write(kept_g, value, now, g)
            for ref, leaf in zip(carries_g, state, strict=True):
                program.write(ref, leaf, t + 1)
            if not y_is_h:
                program.write(y_g, y[0], now)

        def step(t, loop):
            state, ((p, marked), *queue), pending = loop

            def meanwhile():
                write(t - 1, state, *pending)
                return inputs(t + setting.ahead)

            kept, new_inputs = program.products(t, [(g, g, 0) for g in range(gates)], gates, meanwhile)
            for addend in [bias] + [p] * cell.sums_products:
                kept = kept if addend is None else [a + b for a, b in zip(kept, addend, strict=True)]
            given = (kept,) if cell.sums_products else (p, kept)
            new, y = update(*given, jax.tree.unflatten(tree, [[leaf] for leaf in state]), t)
            new = [leaf[0] for leaf in jax.tree.leaves(new, is_leaf=is_block)]
            new = [where(marked.valid, leaf, old) for leaf, old in zip(new, state, strict=True)]
            state = or_fresh(marked.keeps, new)
            program.exchange(t + 1, [times(state[at_h], marked.mask)])
            return state, [*queue, new_inputs], (kept, [] if y_is_h else [where(marked.valid, y[0])])

        nothing = [zeros()]
        pending = nothing * gates, [] if y_is_h else nothing
        queue = [inputs(t) for t in range(setting.ahead)]
        state, _, pending = jax.lax.fori_loop(0, T, step, (state, queue, pending))
        program.end()
        write(T - 1, state, *pending)

    outs = [tiles(T, B, blocks=gates, U=U), *[tiles(T + 1, B, U=U)] * n, *([] if y_is_h else [tiles(T, B, U=U)])]
    given = (weights, ps, *([] if b_h is None else [b_h]), first, *more)
    kept, *rest = launched(body, sizes, setting, groups, 1, outs)(*given)
    carries = jax.tree.unflatten(tree, rest[:n])
    return carries, carries.h[1:] if y_is_h else rest[n], kept
