"""What both kernels of the resident engine of a GPU do: the exchange, the products of a step, and the launch.

In Pallas's Mosaic GPU dialect; see `resident_gpu.py`.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax.experimental import pallas as pl

from jaxrnn.engines.resident_gpu_settings import ROWS, RUN, UNITS, Setting, Sizes, as_tf32

# jax 0.10 wants an index beside the place, 0.11 takes one, 0.12 takes none.
_OF_LOAD = inspect.signature(plgpu.load).parameters.get("idx")
_INDEX = () if _OF_LOAD is None or _OF_LOAD.default is not inspect.Parameter.empty else ((),)
# A thread has four adjacent units of a row, as they lie in memory; what the tensor cores give has two rows of a unit.
LAYOUT, OF_PRODUCTS = plgpu.Layout.WGMMA_TRANSPOSED, plgpu.Layout.WGMMA


class Marks(NamedTuple):
    """What some windows have beside their inputs, `tiled`; None where this one has it not.

    Attributes:
      keeps: 0 where a stream starts afresh, else 1, (T + 1, B, 1, 64); after the last step nothing does.
      valid: 0 past a sequence's end, else 1, (T, B, 1, 64).
      mask: factor of h_{t-1} in the recurrent products, (T + 1, B, 1, U); after the last step there is none.
      fresh: the carry of a fresh start, its leaves as blocks, (B, leaves, U); None is zeros.
    """

    keeps: Any = None
    valid: Any = None
    mask: Any = None
    fresh: Any = None


def where(mark, block, other=None):
    """A block where a mark is 1 or there is none; else the other one, or 0."""
    if mark is None:
        return block
    return jnp.where(mark > 0, block, zeros() if other is None else other)


def times(block, mask):
    """A block by its factors, if there are any."""
    return block if mask is None else block * mask


class Program:
    """What both kernels do: the place of a program and a warpgroup, the exchange, and the products of a step."""

    def __init__(self, sizes: Sizes, setting: Setting, weights_g, weights, exchanged, arrived, copied):
        self.sizes, self.setting = sizes, setting
        self.weights, self.exchanged, self.arrived = weights, exchanged, arrived
        self.buffers = exchanged.shape[0]
        if setting.interpret is None:
            from jaxrnn.engines import resident_gpu_mma

            self.mma = resident_gpu_mma
        self.warpgroup = jax.lax.axis_index("warpgroup")
        number, self.tile = self.warpgroup, jax.lax.axis_index("tile")
        if sizes.programs > 1:
            number = number + jax.lax.axis_index("program") * sizes.warpgroups
        self.units, self.runs = pl.ds(number * UNITS, UNITS), pl.ds(number * (UNITS // RUN), UNITS // RUN)

        if sizes.held is None:

            @pl.when(self.warpgroup == 0)
            def _():
                plgpu.copy_gmem_to_smem(weights_g, weights, copied)

            plgpu.barrier_wait(copied)
            return
        self.held = {}
        for g in range(sizes.gates):
            rows = weights_g.at[pl.ds(g * sizes.K + number * UNITS, UNITS), :]
            block = plgpu.load(rows, *_INDEX, layout=OF_PRODUCTS, optimized=False)
            if g < sizes.held:
                self.held[g] = block
            else:
                self.mma.store(block, g - sizes.held, weights)
        if sizes.programs > 1:
            self.wait()  # until all of the cluster are there to be written to

    def place(self, ref, t, block, tile=None):
        """A warpgroup's block in a tiled array (B, blocks, U), or (T, B, blocks, U) at step t: (4, 8, 16).

        Where an array has the units of one warpgroup, all read those.
        """
        runs = pl.ds(0, UNITS // RUN) if ref.shape[-3] == UNITS // RUN else self.runs
        return ref.at[(*([] if t is None else [t]), self.tile if tile is None else tile, block, runs)]

    def read(self, ref, t=None, block=0, tile=None):
        place = self.place(ref, t, block, tile)
        return _as_rows_of_warps(place[...]) if self.setting.interpret is not None else self.mma.read(place)

    def write(self, ref, value, t=None, block=0):
        place = self.place(ref, t, block)
        if self.setting.interpret is not None:
            place[...] = _from_rows_of_warps(value)
        else:
            self.mma.write(value, place)

    def read_marks(self, marks, t, before):
        """The blocks of the marks of step t; the factor of h is that before or after it."""
        places = {"keeps": t + 1, "valid": t, "mask": t if before else t + 1}
        given = {name: ref for name in places if (ref := getattr(marks, name)) is not None}
        return Marks(**{name: self.read(ref, places[name]) for name, ref in given.items()})

    def read_leaves(self, ref, number):
        """The blocks of so many leaves of a carry, or zeros if there is no array."""
        return [zeros() if ref is None else self.read(ref, block=leaf) for leaf in range(number)]

    def exchange(self, step, blocks):
        """Puts a warpgroup's blocks where the products of all of them read, and waits for the others.

        In a cluster the products wait.
        """
        buffer = self.buffer(step)
        if self.buffers == 1:
            self.wait()
        for block, value in enumerate(blocks):
            if self.setting.dtype == jnp.float32 and self.setting.interpret is None:
                value = as_tf32(value)
            value, place = value.astype(self.setting.dtype), self.exchanged.at[buffer, block]
            if self.sizes.programs > 1:
                self.mma.send(value, place, self.sizes.warpgroups, self.sizes.programs)
            else:
                _transposed(place.at[:, self.units])[...] = value
        if self.sizes.programs > 1:
            self.mma.arrive()
        elif self.setting.interpret is None:
            self.mma.all_warps_wait(for_wgmma=self.sizes.held is None)
        else:
            plgpu.commit_smem()
            if self.sizes.warpgroups > 1:
                self.wait()

    def end(self):
        """To be called after an exchange that no product follows: none of a cluster ends while others write to it."""
        if self.sizes.programs > 1:
            self.mma.all_programs_wait()

    def buffer(self, step):
        return jax.lax.rem(step, 2) if self.buffers == 2 else 0

    def wait(self):
        if self.sizes.programs > 1:
            self.mma.arrive()
            self.mma.all_programs_wait()
        elif self.sizes.warpgroups > 1:
            plgpu.barrier_arrive(self.arrived)
            plgpu.barrier_wait(self.arrived)
        else:
            plgpu.commit_smem()  # the four warps wait for each other

    def products(self, step, pairs, sums: int, meanwhile):
        """Products of blocks of the weights with exchanged blocks: (block of the sums, gate, exchanged block) each.

        The call `meanwhile()` is made while the tensor cores work, or the others of a cluster; its result is the second
        one.
        """
        K, buffer = self.sizes.K, self.buffer(step)

        if self.sizes.programs > 1:
            done = meanwhile()
            self.mma.all_programs_wait()
            return self._warp_products(buffer, pairs, sums), done
        if self.sizes.held is not None:
            return self._warp_products(buffer, pairs, sums), meanwhile()

        def multiply(*totals):
            for total, gate, block in pairs:
                rows = pl.ds(gate * K + self.warpgroup * UNITS, UNITS)
                h = _transposed(self.exchanged.at[buffer, block, :, pl.ds(0, K)])
                plgpu.wgmma(totals[total], self.weights.at[rows], h)
            done = meanwhile()
            return [plgpu.layout_cast(total[...], LAYOUT) for total in totals], done

        return pl.run_scoped(multiply, *[plgpu.ACC((UNITS, ROWS), jnp.float32)] * sums)

    def _warp_products(self, buffer, pairs, sums: int):
        results: list[Any] = [None] * sums
        for shared in sorted({block for *_, block in pairs}):
            totals, gates = zip(*[(total, gate) for total, gate, block in pairs if block == shared], strict=True)
            exchanged = self.exchanged.at[buffer, shared]
            found = self.mma.products(self.held, self.weights, list(gates), exchanged, self.setting, self.sizes.K)
            for total, result in zip(totals, found, strict=True):
                results[total] = result if results[total] is None else results[total] + result
        return [plgpu.layout_cast(result, LAYOUT) for result in results]


def _transposed(ref):
    return ref.transpose((1, 0)) if hasattr(ref, "transpose") else plgpu.transpose_ref(ref, (1, 0))


# What a thread's registers do on a GPU, for the interpreter: (4, 8, 16) as it lies in memory, (64, 8) as a warp has it.
def _as_rows_of_warps(block):
    return block.reshape(-1, ROWS, 4, 2, 2).transpose(0, 3, 2, 4, 1).reshape(UNITS, ROWS)


def _from_rows_of_warps(block):
    return block.reshape(-1, 2, 4, 2, ROWS).transpose(0, 4, 2, 1, 3).reshape(-1, ROWS, RUN)


def zeros() -> jax.Array:
    """A block of zeros."""
    return plgpu.layout_cast(jnp.zeros((UNITS, ROWS), jnp.float32), LAYOUT)


def launched(body, sizes: Sizes, setting: Setting, tiles: int, exchanged: int, outs):
    weights = sizes.shared(setting.dtype, rows=sizes.rows_of_weights, columns=sizes.K)
    if sizes.stored is not None:
        weights = plgpu.SMEM((max(sizes.stored, 1), 128 * sizes.warpgroups, 4), jnp.int32)
    scratch = [
        weights,
        sizes.shared(setting.dtype, sizes.buffers(exchanged), exchanged, rows=ROWS, columns=sizes.U),
        plgpu.Barrier(num_arrivals=sizes.warpgroups),
        plgpu.Barrier(),
    ]
    math: dict[str, Any] = {"approx_math": setting.math != "exact", "unsafe_no_auto_barriers": True}
    options: dict[str, Any] = {
        "compiler_params": plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Lane, **math)
    }
    options |= dict(grid=(tiles,), grid_names=("tile",), num_threads=sizes.warpgroups, thread_name="warpgroup")
    if sizes.programs > 1:
        options |= dict(cluster=(sizes.programs,), cluster_names=("program",))
    if setting.interpret is not None:
        options["interpret"] = setting.interpret
    return plgpu.kernel(body, out_type=outs, scratch_types=scratch, **options)
