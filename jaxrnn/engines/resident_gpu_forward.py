"""The forward kernel of the resident engine of a GPU: all steps of a tile of the batch; see `resident_gpu.py`.

With `tiled`, `early` or `held` it was compiled for an H100 and never run on one.
"""

from __future__ import annotations

import functools

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.engines.blockwise import is_block, traced
from jaxrnn.engines.resident_gpu_program import Program, launched
from jaxrnn.engines.resident_gpu_settings import UNITS, Setting, Sizes, array, axes_of


def forward(cell: Cell, setting: Setting, ps, b_h, weights, carry):
    """The carries before and after each step, (U, T + 1, B), ys, (U, T, B), and r or p + r, (gates, U, T, B).

    Args:
      ps: input products, (blocks, U, T, B).
      b_h: (gates, U, rows), or None.
      weights: the rows of W_h' gate by gate, (gates K + U - K, K).
      carry: leaves (U, B).
    """
    gates = cell.W_h.shape[1] // cell.hidden_features
    sizes = Sizes(cell.hidden_features, gates, setting)
    blocks, U, T, B = axes_of(setting, ps)
    first, tree = jax.tree.flatten(carry)
    n, at_h = len(first), type(carry)._fields.index("h")
    update, _, y_is_h = traced(cell, carry, setting.rows, setting.math)

    def body(weights_g, p_g, *refs):
        b_g, refs = (None, refs) if b_h is None else (refs[0], refs[1:])
        firsts, outs, scratch = refs[:n], refs[n:-4], refs[-4:]
        kept_g, carries_g, y_g = outs[0], outs[1 : n + 1], outs[-1]
        program = Program(sizes, setting, weights_g, *scratch)
        state = [program.read(ref) for ref in firsts]
        bias = None if b_g is None else [program.read(b_g, g, whole=True) for g in range(gates)]
        if not setting.early:
            for ref, leaf in zip(carries_g, state, strict=True):
                program.write(ref, leaf, 0)
        program.exchange(jnp.int32(0), [state[at_h]])
        zeros = [plgpu.layout_cast(jnp.zeros((UNITS, sizes.N), jnp.float32), plgpu.Layout.WGMMA)]

        def inputs(t):
            return [program.read(p_g, block, jnp.minimum(t, T - 1)) for block in range(blocks)]

        def write(t, state, kept, y):
            """Of step t, with the carry after it; t = -1 is the first carry (kept and y are written anew)."""
            now = jnp.maximum(t, 0)
            for g, value in enumerate(kept):
                program.write(kept_g, value, g, now)
            for ref, leaf in zip(carries_g, state, strict=True):
                program.write(ref, leaf, t + 1)
            if not y_is_h:
                program.write(y_g, y[0], now)

        def step(t, loop):
            state, (p, *queue), pending = loop

            def meanwhile():
                if setting.early:
                    write(t - 1, state, *pending)
                return inputs(t + setting.ahead)

            kept, new_inputs = program.products(t, [(g, g, 0) for g in range(gates)], gates, meanwhile)
            for addend in [bias] + [p] * cell.sums_products:
                kept = kept if addend is None else [a + b for a, b in zip(kept, addend, strict=True)]
            given = (kept,) if cell.sums_products else (p, kept)
            new, y = update(*given, jax.tree.unflatten(tree, [[leaf] for leaf in state]), t)
            state = [leaf[0] for leaf in jax.tree.leaves(new, is_leaf=is_block)]
            program.exchange(t + 1, [state[at_h]])
            if not setting.early:
                write(t, state, kept, y)
            return state, [*queue, new_inputs], (kept, [] if y_is_h else y) if setting.early else ()

        pending = (zeros * gates, [] if y_is_h else zeros) if setting.early else ()
        state, _, pending = jax.lax.fori_loop(0, T, step, (state, [inputs(t) for t in range(setting.ahead)], pending))
        if setting.early:
            write(T - 1, state, *pending)

    of = functools.partial(array, setting, U)
    outs = [of(T, B, gates), *[of(T + 1, B)] * n, *([] if y_is_h else [of(T, B)])]
    given = (weights, ps, *([] if b_h is None else [b_h]), *first)
    kept, *rest = launched(body, sizes, setting, B // sizes.N, 1, outs)(*given)
    carries = jax.tree.unflatten(tree, rest[:n])
    ys = rest[n] if not y_is_h else carries.h[1:] if setting.tiled else carries.h[:, 1:]
    return carries, ys, kept
