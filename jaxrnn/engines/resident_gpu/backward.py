"""The backward kernel of the resident engine of a GPU: the steps of `forward` in reverse; see `engine.py`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrnn.cells.base import Cell
from jaxrnn.engines.blockwise import is_block, traced
from jaxrnn.engines.resident_gpu.copies import Array, Coming, Going, plan_of
from jaxrnn.engines.resident_gpu.launch import launched
from jaxrnn.engines.resident_gpu.program import Marks, times, where, zeros
from jaxrnn.engines.resident_gpu.settings import ROWS, Setting, Sizes, floats


def backward(cell: Cell, setting: Setting, ps, kept, weights, carries, d_last, d_ys, marks: Marks, limit):
    """The gradients by p or p + r, (T, B, blocks, U), by r or None, by `first`, and by `fresh` or None.

    Args: those and results of `forward`, but weights: the rows of W_h gate by gate; d_last: like `first`, or None;
      limit: of each entry of the first two gradients, (1, 1, 64), or None.
    """
    gates = cell.W_h.shape[1] // cell.hidden_features
    sizes = Sizes(cell.hidden_features, gates, setting)
    T, B, blocks, U = ps.shape
    before, tree = jax.tree.flatten(carries)
    n, at_h, sums = len(before), type(carries)._fields.index("h"), cell.sums_products
    _, pullback, _ = traced(cell, ROWS, setting.math)
    more, others = jax.tree.flatten((d_last, marks, limit))
    sizes_of_products = [gates] if sums else [blocks, gates]
    numbers = [*sizes_of_products, *[1] * n]  # of blocks of what the derivative takes
    reads = pullback.reads(n + 1)[: len(numbers)]
    read = [number for number, is_read in zip(numbers, reads, strict=True) if is_read]
    plan = plan_of(sizes, setting, gates, [*read, 1], sizes_of_products[::-1])

    def resident_backward(program, copies, *refs):
        given_g, refs = refs[: len(numbers) + 1], refs[len(numbers) + 1 :]
        (last_g, marks_g, limit_g), refs = jax.tree.unflatten(others, refs[: len(more)]), refs[len(more) :]
        products_g, ends_g = refs[: 2 - sums], refs[2 - sums :]
        most = None if limit_g is None else program.read(limit_g)

        def time(index):
            return T - 1 - index

        arrays = [Array(ref, number, time) for ref, number in zip(given_g, [*numbers, 1], strict=True)]
        wanted = [array for array, is_read in zip(arrays, [*reads, True], strict=True) if is_read]
        coming = Coming(program, wanted, T, copies[0])
        pairs = zip(products_g, sizes_of_products[::-1], strict=True)
        going = Going(program, [Array(ref, number, time) for ref, number in pairs], copies[1])

        def marked_at(index):
            return program.read_marks(marks_g, jnp.maximum(time(index), 0), before=True)

        def limited(d):
            return d if most is None else jnp.minimum(jnp.maximum(d, -most), most)

        def parted(keeps, d_state, d_fresh):
            """The gradient by the carry that a step began with, as of the step before and of the fresh start."""
            starts = [f + where(keeps, zeros(), d) for f, d in zip(d_fresh, d_state, strict=False)]
            return [where(keeps, d) for d in d_state], starts

        def early(index, on_its_way):
            """The part of the derivative that needs no gradient of the step after, and the gradient by y."""
            found = coming.read(index, on_its_way)
            *blocks, d_y = found
            given = [blocks.pop(0) if is_read else [zeros()] * m for m, is_read in zip(numbers, reads, strict=True)]
            products, state = given[: 2 - sums], given[2 - sums :]
            saved = pullback.early(n + 1, *products, jax.tree.unflatten(tree, state), time(index))
            return coming.settled((saved, d_y[0]), found)

        def step(index, loop):
            d_state, d_fresh, on_its_way, (saved, d_y), marked = loop
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
            following = jnp.minimum(index + 1, T - 1)  # after the last one that one is read again, and not used

            def meanwhile():
                going.write(index, d_products[::-1])
                return early(following, on_its_way), coming.after(following)

            (d_h,), (soon, on_its_way) = program.products(index, [(0, g, g) for g in range(gates)], 1, meanwhile)
            d_state[at_h] = d_state[at_h] + times(d_h, marked.mask)
            return d_state, d_fresh, on_its_way, soon, marked_at(index + 1)

        d_state, d_fresh = program.read_leaves(last_g, n), [zeros()] * (0 if marks.fresh is None else n)
        first = jnp.int32(0)
        soon, on_its_way = early(first, coming.begin()), coming.after(first)
        d_state, d_fresh, *_ = jax.lax.fori_loop(0, T, step, (d_state, d_fresh, on_its_way, soon, marked_at(first)))
        going.end()
        at_first = program.read_marks(Marks(marks_g.keeps), -1, before=True)
        for ref, d in zip(ends_g, sum(parted(at_first.keeps, d_state, d_fresh), []), strict=True):
            program.write(ref, d)

    ends = [floats(B, 1, U)] * (n if marks.fresh is None else 2 * n)
    outs = [floats(T, B, gates, U), *([] if sums else [floats(*ps.shape)]), *ends]
    given = (weights, *([] if sums else [ps]), kept, *before, d_ys, *more)
    d_r, *rest = launched(resident_backward, sizes, setting, B, gates, outs, plan)(*given)
    d_p, d_r, rest = (d_r, None, rest) if sums else (rest[0], d_r, rest[1:])
    return d_p, d_r, tuple(rest[:n]), tuple(rest[n:]) or None
