"""The backward kernel of the resident engine of a GPU: the steps of `forward` in reverse; see `resident_gpu.py`.

With `tiled`, `early` or `held` it was compiled for an H100 and never run on one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.engines.blockwise import is_block, traced
from jaxrnn.engines.resident_gpu_program import Program, launched
from jaxrnn.engines.resident_gpu_settings import UNITS, Setting, Sizes, array, axes_of, floats


def backward(cell: Cell, setting: Setting, ps, kept, weights, carries, d_last, d_ys):
    """The gradients by p or p + r, (blocks, U, T, B), by r likewise or None, and by the first carry.

    Args: those and results of `forward`, but weights: the rows of W_h gate by gate; d_last: leaves (U, B).
    """
    gates = cell.W_h.shape[1] // cell.hidden_features
    sizes = Sizes(cell.hidden_features, gates, setting)
    blocks, U, T, B = axes_of(setting, ps)
    last, tree = jax.tree.flatten(d_last)
    n, at_h, sums = len(last), type(carries)._fields.index("h"), cell.sums_products
    _, pullback, _ = traced(cell, carries, setting.rows, setting.math)
    before = jax.tree.leaves(carries)

    def body(weights_g, *refs):
        (kept_g, *p_g), refs = (refs[: 2 - sums]), refs[2 - sums :]
        befores_g, dy_g, lasts_g = refs[:n], refs[n], refs[n + 1 : 2 * n + 1]
        outs, scratch = refs[2 * n + 1 : -4], refs[-4:]
        dr_g, dp_g, d_first_g = outs[0], outs[1 : 2 - sums], outs[2 - sums :]
        program = Program(sizes, setting, weights_g, *scratch)

        counts = [(ref, blocks) for ref in p_g] + [(kept_g, gates)]

        def inputs(index):
            t = jnp.maximum(T - 1 - index, 0)
            products = [[program.read(ref, g, t) for g in range(count)] for ref, count in counts]
            return products, [[program.read(ref, t)] for ref in befores_g], [program.read(dy_g, t)]

        def early(index, products, state, d_y):
            t = jnp.maximum(T - 1 - index, 0)
            return pullback.early(n + 1, *products, jax.tree.unflatten(tree, state), t), d_y

        def step(index, loop):
            d_state, ((products, state, d_y), *queue), saved = loop
            t = T - 1 - index
            d_carry = jax.tree.unflatten(tree, [[d] for d in d_state])
            if setting.early:
                queue = [(products, state, d_y), *queue]
                *d_products, d_carry = pullback.finish(saved[0], d_carry, saved[1])
            else:
                *d_products, d_carry = pullback(d_carry, d_y, *products, jax.tree.unflatten(tree, state), t)
            zeros = jnp.zeros((UNITS, sizes.N), jnp.float32)
            d_products = [[zeros if d is None else d for d in blocks] for blocks in d_products]
            d_state = [zeros if d[0] is None else d[0] for d in jax.tree.leaves(d_carry, is_leaf=is_block)]
            program.exchange(index, d_products[-1])

            def meanwhile():
                for ref, values in zip((*dp_g, dr_g), d_products, strict=True):
                    for g, value in enumerate(values):
                        program.write(ref, value, g, t)
                if setting.early:
                    new = inputs(index + 1 + setting.ahead)
                    return new, early(index + 1, *queue[0])
                return inputs(index + setting.ahead), ()

            (d_h,), (new_inputs, saved) = program.products(index, [(0, g, g) for g in range(gates)], 1, meanwhile)
            d_state[at_h] = d_state[at_h] + d_h
            return d_state, [*queue[setting.early :], new_inputs], saved

        d_state = [program.read(ref) for ref in lasts_g]
        queue = [inputs(index) for index in range(setting.ahead + setting.early)]
        saved = early(0, *queue[0]) if setting.early else ()
        d_state, *_ = jax.lax.fori_loop(0, T, step, (d_state, queue[setting.early :], saved))
        for ref, d in zip(d_first_g, d_state, strict=True):
            program.write(ref, d)

    outs = [array(setting, U, T, B, gates), *([] if sums else [floats(*ps.shape)]), *[floats(U, B)] * n]
    given = (weights, kept, *([] if sums else [ps]), *before, d_ys, *last)
    d_r, *rest = launched(body, sizes, setting, B // sizes.N, gates, outs)(*given)
    d_first = jax.tree.unflatten(tree, rest[1 - sums :])
    return (d_r, None, d_first) if sums else (rest[0], d_r, d_first)
