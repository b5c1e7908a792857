"""The backward kernel of the resident engine of a GPU: the steps of `forward` in reverse; see `resident_gpu.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.engines.blockwise import is_block, traced
from jaxrnn.engines.resident_gpu_program import Marks, Program, launched, times, where, zeros
from jaxrnn.engines.resident_gpu_settings import ROWS, Setting, Sizes, floats, tiles


def backward(cell: Cell, setting: Setting, ps, kept, weights, carries, d_last, d_ys, marks: Marks, limit):
    """The gradients by p or p + r, (T, B, blocks, U), by r or None, by `first`, and by `fresh` or None, all `tiled`.

    Args: those and results of `forward`, but weights: the rows of W_h gate by gate; d_last: like `first`, or None;
      limit: of each entry of the first two gradients, (8, 1, 64), or None.
    """
    gates = cell.W_h.shape[1] // cell.hidden_features
    sizes = Sizes(cell.hidden_features, gates, setting)
    T, groups, blocks = ps.shape[:3]
    B, U = groups * ROWS, sizes.U
    before, tree = jax.tree.flatten(carries)
    n, at_h, sums = len(before), type(carries)._fields.index("h"), cell.sums_products
    _, pullback, _ = traced(cell, ROWS, setting.math)
    more, others = jax.tree.flatten((d_last, marks, limit))

    def body(weights_g, *refs):
        (kept_g, *p_g), refs = (refs[: 2 - sums]), refs[2 - sums :]
        befores_g, dy_g, refs = refs[:n], refs[n], refs[n + 1 :]
        (last_g, marks_g, limit_g), refs = jax.tree.unflatten(others, refs[: len(more)]), refs[len(more) :]
        dr_g, *dp_g = refs[: 2 - sums]
        ends_g = refs[2 - sums : -4]
        program = Program(sizes, setting, weights_g, *refs[-4:])
        most = None if limit_g is None else program.read(limit_g, tile=0)

        counts = [(ref, blocks) for ref in p_g] + [(kept_g, gates)]

        def inputs(index):
            t = jnp.maximum(T - 1 - index, 0)
            products = [[program.read(ref, t, g) for g in range(count)] for ref, count in counts]
            states = [[program.read(ref, t)] for ref in befores_g]
            return products, states, program.read(dy_g, t), program.read_marks(marks_g, t, before=True)

        def limited(d):
            return d if most is None else jnp.minimum(jnp.maximum(d, -most), most)

        def parted(keeps, d_state, d_fresh):
            """The gradient by the carry that a step began with, as of the step before and of the fresh start."""
            starts = [f + where(keeps, zeros(), d) for f, d in zip(d_fresh, d_state, strict=False)]
            return [where(keeps, d) for d in d_state], starts

        def early(index, products, state, d_y, marked):
            """The part of the derivative that needs no gradient of the step after."""
            t = jnp.maximum(T - 1 - index, 0)
            return pullback.early(n + 1, *products, jax.tree.unflatten(tree, state), t), d_y, marked

        def step(index, loop):
            d_state, d_fresh, queue, (saved, d_y, marked) = loop
            t = T - 1 - index
            d_after, d_fresh = parted(marked.keeps, d_state, d_fresh)
            d_new = [[where(marked.valid, d)] for d in d_after]
            d_y = [where(marked.valid, d_y)]
            *d_products, d_carry = pullback.finish(saved, jax.tree.unflatten(tree, d_new), d_y)
            nothing = zeros()
            d_products = [[nothing if d is None else limited(d) for d in blocks] for blocks in d_products]
            d_state = [nothing if d[0] is None else d[0] for d in jax.tree.leaves(d_carry, is_leaf=is_block)]
            if marked.valid is not None:  # a finished carry stays
                d_state = [where(marked.valid, d, stays) for d, stays in zip(d_state, d_after, strict=True)]
            program.exchange(index, d_products[-1])

            def meanwhile():
                for ref, values in zip((*dp_g, dr_g), d_products, strict=True):
                    for g, value in enumerate(values):
                        program.write(ref, value, t, g)
                new = inputs(index + 1 + setting.ahead)
                return new, early(index + 1, *queue[0])

            (d_h,), (new_inputs, saved) = program.products(index, [(0, g, g) for g in range(gates)], 1, meanwhile)
            d_state[at_h] = d_state[at_h] + times(d_h, marked.mask)
            return d_state, d_fresh, [*queue[1:], new_inputs], saved

        d_state, d_fresh = program.read_leaves(last_g, n), [zeros()] * (0 if marks.fresh is None else n)
        first, *queue = [inputs(index) for index in range(setting.ahead + 1)]
        d_state, d_fresh, *_ = jax.lax.fori_loop(0, T, step, (d_state, d_fresh, queue, early(0, *first)))
        at_first = program.read_marks(Marks(marks_g.keeps), -1, before=True)
        for ref, leaves in zip(ends_g, parted(at_first.keeps, d_state, d_fresh), strict=False):
            for leaf, d in enumerate(leaves):
                program.write(ref, d, block=leaf)

    outs = [tiles(T, B, blocks=gates, U=U), *([] if sums else [floats(*ps.shape)]), tiles(B, blocks=n, U=U)]
    outs += outs[-1:] if marks.fresh is not None else []
    given = (weights, kept, *([] if sums else [ps]), *before, d_ys, *more)
    d_r, *rest = launched(body, sizes, setting, groups, gates, outs)(*given)
    d_p, d_r, ends = (d_r, None, rest) if sums else (rest[0], d_r, rest[1:])
    return d_p, d_r, ends[0], ends[1] if len(ends) > 1 else None
