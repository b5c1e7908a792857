"""The two kernels of the resident engine of a GPU, in Pallas's Mosaic GPU dialect; see `resident_gpu.py`."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax.experimental import pallas as pl

from jaxrnn.cells.base import Cell
from jaxrnn.engines.blockwise import is_block, traced

UNITS = 64  # rows of a tensor-core product: the units of a warpgroup
SHARED_MEMORY = 232_448  # bytes that a program of an H100 can have
# jax 0.10 wants an index beside the place, later versions none.
_INDEX = ((),) if inspect.signature(plgpu.load).parameters["idx"].default is inspect.Parameter.empty else ()


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the kernels run.

    Attributes:
      dtype: of the products' operands: bfloat16, or float32, of which the tensor cores use the bits of TF32. Sums,
        carries and the update are float32.
      rows: rows of the batch that a program has, a multiple of 8.
      math: "exact"; "close", exp and square root of the hardware, off by 3e-7 of a gate; "fast", its tanh, by 5e-4.
      ahead: steps whose inputs are on their way from device memory while one is computed.
      interpret: parameters of Pallas's interpreter, where there is no GPU.
    """

    dtype: Any = jnp.float32
    rows: int = 8
    math: str = "exact"
    ahead: int = 2
    interpret: Any = None


class Sizes:
    """Sizes of the kernels of a cell with H units and `gates` recurrent blocks.

    Attributes:
      K: H up to a multiple of what a product sums at once.
      U: H up to whole warpgroups. Rows K to U of a gate's block are the next gate's: what they give is never read.
    """

    def __init__(self, H: int, gates: int, setting: Setting):
        item = jnp.dtype(setting.dtype).itemsize
        self.H, self.gates, self.N = H, gates, setting.rows
        self.K, self.U = padded(H, 32 // item), padded(H, UNITS)
        self.warpgroups = self.U // UNITS
        self.swizzle = next(s for s in (128, 64, 32) if self.K * item % s == 0)
        self.rows_of_weights = gates * self.K + self.U - self.K
        self.weights = self.rows_of_weights * self.K * item
        self.block = self.N * self.U * item
        self.fits = self.buffers(gates) > 0 and self.warpgroups <= 4

    def buffers(self, blocks: int) -> int:
        """How many buffers of so many exchanged blocks there is room for: two spare a wait, none is too few."""
        return min(2, (SHARED_MEMORY - self.weights - 2048) // (blocks * self.block))

    def memory(self, dtype: Any, *lead: int, rows: int, columns: int) -> Any:
        tile = (8, self.swizzle // jnp.dtype(dtype).itemsize)
        transforms = plgpu.TilingTransform(tile), plgpu.SwizzleTransform(self.swizzle)
        return plgpu.SMEM((*lead, rows, columns), dtype, transforms=transforms)


def padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def fits(hidden_features: int, recurrent_blocks: int, setting: Setting) -> bool:
    """Whether the weights of a cell and what its programs exchange fit into the shared memory of one program.

    Example:
      >>> fits(128, 4, Setting(jnp.bfloat16)), fits(112, 4, Setting()), fits(128, 4, Setting())
      (True, True, False)
    """
    return Sizes(hidden_features, recurrent_blocks, setting).fits


class _Program:
    """What both kernels do: the place of a program and a warpgroup, the exchange, and the products of a step."""

    def __init__(self, sizes: Sizes, setting: Setting, weights_g, weights, exchanged, arrived, copied):
        self.sizes, self.setting = sizes, setting
        self.weights, self.exchanged, self.arrived = weights, exchanged, arrived
        self.buffers = exchanged.shape[0]
        self.warpgroup = jax.lax.axis_index("warpgroup")
        self.units = pl.ds(self.warpgroup * UNITS, UNITS)
        self.columns = pl.ds(jax.lax.axis_index("tile") * sizes.N, sizes.N)

        @pl.when(self.warpgroup == 0)
        def _():
            plgpu.copy_gmem_to_smem(weights_g, weights, copied)

        plgpu.barrier_wait(copied)

    def place(self, *index):
        """Of a warpgroup's block in an array (..., U, B) or (..., U, T, B)."""
        block, t = (index[:-1], index[-1:]) if index else ((), ())
        return (*block, self.units, *t, self.columns)

    def read(self, ref, *index, whole=False):
        place = (*index, self.units, slice(None)) if whole else self.place(*index)
        return plgpu.load(ref.at[place], *_INDEX, layout=plgpu.Layout.WGMMA, optimized=False)

    def write(self, ref, value, *index):
        ref[self.place(*index)] = value

    def exchange(self, step, blocks):
        """Puts a warpgroup's blocks where the products of all of them read, and waits for the others."""
        buffer = self.buffer(step)
        if self.buffers == 1:
            self.wait()
        for block, value in enumerate(blocks):
            if self.setting.dtype == jnp.float32 and self.setting.interpret is None:
                value = as_tf32(value)
            value = plgpu.layout_cast(value.astype(self.setting.dtype), plgpu.Layout.WGMMA_TRANSPOSED)
            _transposed(self.exchanged.at[buffer, block, :, self.units])[...] = value
        plgpu.commit_smem()
        if self.sizes.warpgroups > 1:
            self.wait()

    def buffer(self, step):
        return jax.lax.rem(step, 2) if self.buffers == 2 else 0

    def wait(self):
        if self.sizes.warpgroups > 1:
            plgpu.barrier_arrive(self.arrived)
            plgpu.barrier_wait(self.arrived)
        else:
            plgpu.commit_smem()  # the four warps wait for each other

    def products(self, step, pairs, sums: int, meanwhile):
        """Products of blocks of the weights with exchanged blocks: (block of the sums, gate, exchanged block) each.

        The call `meanwhile()` is made while the tensor cores work; its result is the second one.
        """
        K, N, buffer = self.sizes.K, self.sizes.N, self.buffer(step)

        def multiply(*totals):
            for total, gate, block in pairs:
                rows = pl.ds(gate * K + self.warpgroup * UNITS, UNITS)
                h = _transposed(self.exchanged.at[buffer, block, :, pl.ds(0, K)])
                plgpu.wgmma(totals[total], self.weights.at[rows], h)
            done = meanwhile()
            return [total[...] for total in totals], done

        return pl.run_scoped(multiply, *[plgpu.ACC((UNITS, N), jnp.float32)] * sums)


def _transposed(ref):
    return ref.transpose((1, 0)) if hasattr(ref, "transpose") else plgpu.transpose_ref(ref, (1, 0))


def as_tf32(x):
    """Rounds to the 10 bits after the point that TF32 has; the tensor cores would cut."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return jax.lax.bitcast_convert_type((bits + 0x1000) & ~0x1FFF, jnp.float32)


def _kernel(body, sizes: Sizes, setting: Setting, tiles: int, exchanged: int, outs):
    scratch = [
        sizes.memory(setting.dtype, rows=sizes.rows_of_weights, columns=sizes.K),
        sizes.memory(setting.dtype, sizes.buffers(exchanged), exchanged, rows=sizes.N, columns=sizes.U),
        plgpu.Barrier(num_arrivals=sizes.warpgroups),
        plgpu.Barrier(),
    ]
    math: dict[str, Any] = {"approx_math": setting.math != "exact", "unsafe_no_auto_barriers": True}
    options: dict[str, Any] = {
        "compiler_params": plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Lane, **math)
    }
    options |= dict(grid=(tiles,), grid_names=("tile",), num_threads=sizes.warpgroups, thread_name="warpgroup")
    if setting.interpret is not None:
        options["interpret"] = setting.interpret
    return plgpu.kernel(body, out_type=outs, scratch_types=scratch, **options)


def _out(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


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
    blocks, U, T, B = ps.shape
    first, tree = jax.tree.flatten(carry)
    n, at_h = len(first), type(carry)._fields.index("h")
    update, _, y_is_h = traced(cell, carry, setting.rows, setting.math)

    def body(weights_g, p_g, *refs):
        b_g, refs = (None, refs) if b_h is None else (refs[0], refs[1:])
        firsts, outs, scratch = refs[:n], refs[n:-4], refs[-4:]
        kept_g, carries_g, y_g = outs[0], outs[1 : n + 1], outs[-1]
        program = _Program(sizes, setting, weights_g, *scratch)
        state = [program.read(ref) for ref in firsts]
        bias = None if b_g is None else [program.read(b_g, g, whole=True) for g in range(gates)]
        for ref, leaf in zip(carries_g, state, strict=True):
            program.write(ref, leaf, 0)
        program.exchange(jnp.int32(0), [state[at_h]])

        def inputs(t):
            return [program.read(p_g, block, jnp.minimum(t, T - 1)) for block in range(blocks)]

        def step(t, loop):
            state, (p, *queue) = loop
            places = [(g, g, 0) for g in range(gates)]
            kept, new_inputs = program.products(t, places, gates, lambda: inputs(t + setting.ahead))
            for addend in [bias] + [p] * cell.sums_products:
                kept = kept if addend is None else [a + b for a, b in zip(kept, addend, strict=True)]
            given = (kept,) if cell.sums_products else (p, kept)
            new, y = update(*given, jax.tree.unflatten(tree, [[leaf] for leaf in state]), t)
            state = [leaf[0] for leaf in jax.tree.leaves(new, is_leaf=is_block)]
            program.exchange(t + 1, [state[at_h]])
            for g, value in enumerate(kept):
                program.write(kept_g, value, g, t)
            for ref, leaf in zip(carries_g, state, strict=True):
                program.write(ref, leaf, t + 1)
            if not y_is_h:
                program.write(y_g, y[0], t)
            return state, [*queue, new_inputs]

        jax.lax.fori_loop(0, T, step, (state, [inputs(t) for t in range(setting.ahead)]))

    outs = [_out(gates, U, T, B), *[_out(U, T + 1, B)] * n, *([] if y_is_h else [_out(U, T, B)])]
    given = (weights, ps, *([] if b_h is None else [b_h]), *first)
    kept, *rest = _kernel(body, sizes, setting, B // sizes.N, 1, outs)(*given)
    carries = jax.tree.unflatten(tree, rest[:n])
    return carries, carries.h[:, 1:] if y_is_h else rest[n], kept


def backward(cell: Cell, setting: Setting, ps, kept, weights, carries, d_last, d_ys):
    """The gradients by p or p + r, (blocks, U, T, B), by r likewise or None, and by the first carry.

    Args: those and results of `forward`, but weights: the rows of W_h gate by gate; d_last: leaves (U, B).
    """
    gates = cell.W_h.shape[1] // cell.hidden_features
    sizes = Sizes(cell.hidden_features, gates, setting)
    blocks, U, T, B = ps.shape
    last, tree = jax.tree.flatten(d_last)
    n, at_h, sums = len(last), type(carries)._fields.index("h"), cell.sums_products
    _, pullback, _ = traced(cell, carries, setting.rows, setting.math)
    before = jax.tree.leaves(carries)

    def body(weights_g, *refs):
        (kept_g, *p_g), refs = (refs[: 2 - sums]), refs[2 - sums :]
        befores_g, dy_g, lasts_g = refs[:n], refs[n], refs[n + 1 : 2 * n + 1]
        outs, scratch = refs[2 * n + 1 : -4], refs[-4:]
        dr_g, dp_g, d_first_g = outs[0], outs[1 : 2 - sums], outs[2 - sums :]
        program = _Program(sizes, setting, weights_g, *scratch)

        def inputs(index):
            t = jnp.maximum(T - 1 - index, 0)
            products = [[program.read(ref, g, t) for g in range(ref.shape[0])] for ref in (*p_g, kept_g)]
            return products, [[program.read(ref, t)] for ref in befores_g], [program.read(dy_g, t)]

        def step(index, loop):
            d_state, ((products, state, d_y), *queue) = loop
            t = T - 1 - index
            d_carry = jax.tree.unflatten(tree, [[d] for d in d_state])
            *d_products, d_carry = pullback(d_carry, d_y, *products, jax.tree.unflatten(tree, state), t)
            zeros = jnp.zeros((UNITS, sizes.N), jnp.float32)
            d_products = [[zeros if d is None else d for d in blocks] for blocks in d_products]
            d_state = [zeros if d[0] is None else d[0] for d in jax.tree.leaves(d_carry, is_leaf=is_block)]
            program.exchange(index, d_products[-1])

            def meanwhile():
                for ref, values in zip((*dp_g, dr_g), d_products, strict=True):
                    for g, value in enumerate(values):
                        program.write(ref, value, g, t)
                return inputs(index + setting.ahead)

            (d_h,), new_inputs = program.products(index, [(0, g, g) for g in range(gates)], 1, meanwhile)
            d_state[at_h] = d_state[at_h] + d_h
            return d_state, [*queue, new_inputs]

        start = [program.read(ref) for ref in lasts_g], [inputs(index) for index in range(setting.ahead)]
        d_state, _ = jax.lax.fori_loop(0, T, step, start)
        for ref, d in zip(d_first_g, d_state, strict=True):
            program.write(ref, d)

    outs = [_out(gates, U, T, B), *([] if sums else [_out(*ps.shape)]), *[_out(U, B)] * n]
    given = (weights, kept, *([] if sums else [ps]), *before, d_ys, *last)
    d_r, *rest = _kernel(body, sizes, setting, B // sizes.N, gates, outs)(*given)
    d_first = jax.tree.unflatten(tree, rest[1 - sums :])
    return (d_r, None, d_first) if sums else (rest[0], d_r, d_first)
