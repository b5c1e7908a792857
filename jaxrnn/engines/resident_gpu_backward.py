"""The backward kernel of the resident engine of a GPU: the steps of `forward` in reverse; see `resident_gpu.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.engines.blockwise import is_block, traced
from jaxrnn.engines.resident_gpu_program import Program, launched, zeros
from jaxrnn.engines.resident_gpu_settings import ROWS, Setting, Sizes, floats, tiles


def backward(cell: Cell, setting: Setting, ps, kept, weights, carries, d_last, d_ys):
    """The gradients by p or p + r, (T, B, blocks, U), by r likewise or None, and by `first`, all `tiled`.

    Args: those and results of `forward`, but weights: the rows of W_h gate by gate; d_last: like `first`, or None.
    """
    gates = cell.W_h.shape[1] // cell.hidden_features
    sizes = Sizes(cell.hidden_features, gates, setting)
    T, groups, blocks = ps.shape[:3]
    B, U = groups * ROWS, sizes.U
    before, tree = jax.tree.flatten(carries)
    n, at_h, sums = len(before), type(carries)._fields.index("h"), cell.sums_products
    _, pullback, _ = traced(cell, ROWS, setting.math)

    def body(weights_g, *refs):
        (kept_g, *p_g), refs = (refs[: 2 - sums]), refs[2 - sums :]
        befores_g, (dy_g, *last_g), scratch = refs[:n], refs[n : -7 + sums], refs[-4:]
        dr_g, *dp_g, d_first_g = refs[-7 + sums : -4]
        program = Program(sizes, setting, weights_g, *scratch)

        counts = [(ref, blocks) for ref in p_g] + [(kept_g, gates)]

        def inputs(index):
            t = jnp.maximum(T - 1 - index, 0)
            products = [[program.read(ref, t, g) for g in range(count)] for ref, count in counts]
            return products, [[program.read(ref, t)] for ref in befores_g], [program.read(dy_g, t)]

        def early(index, products, state, d_y):
            """The part of the derivative that needs no gradient of the step after."""
            t = jnp.maximum(T - 1 - index, 0)
            return pullback.early(n + 1, *products, jax.tree.unflatten(tree, state), t), d_y

        def step(index, loop):
            d_state, queue, (saved, d_y) = loop
            t = T - 1 - index
            *d_products, d_carry = pullback.finish(saved, jax.tree.unflatten(tree, [[d] for d in d_state]), d_y)
            nothing = zeros()
            d_products = [[nothing if d is None else d for d in blocks] for blocks in d_products]
            d_state = [nothing if d[0] is None else d[0] for d in jax.tree.leaves(d_carry, is_leaf=is_block)]
            program.exchange(index, d_products[-1])

            def meanwhile():
                for ref, values in zip((*dp_g, dr_g), d_products, strict=True):
                    for g, value in enumerate(values):
                        program.write(ref, value, t, g)
                new = inputs(index + 1 + setting.ahead)
                return new, early(index + 1, *queue[0])

            (d_h,), (new_inputs, saved) = program.products(index, [(0, g, g) for g in range(gates)], 1, meanwhile)
            d_state[at_h] = d_state[at_h] + d_h
            return d_state, [*queue[1:], new_inputs], saved

        d_state = [program.read(last_g[0], block=leaf) if last_g else zeros() for leaf in range(n)]
        first, *queue = [inputs(index) for index in range(setting.ahead + 1)]
        d_state, *_ = jax.lax.fori_loop(0, T, step, (d_state, queue, early(0, *first)))
        for leaf, d in enumerate(d_state):
            program.write(d_first_g, d, block=leaf)

    outs = [tiles(T, B, blocks=gates, U=U), *([] if sums else [floats(*ps.shape)]), tiles(B, blocks=n, U=U)]
    given = (weights, kept, *([] if sums else [ps]), *before, d_ys, *([] if d_last is None else [d_last]))
    d_r, *d_p, d_first = launched(body, sizes, setting, groups, gates, outs)(*given)
    return (d_r, None, d_first) if sums else (d_p[0], d_r, d_first)
