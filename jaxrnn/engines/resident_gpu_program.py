"""What both kernels of the resident engine of a GPU do: the exchange, the products of a step, and the launch.

In Pallas's Mosaic GPU dialect; see `resident_gpu.py`. The paths of `held` and `early` were compiled for an H100 and
never run on one.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax.experimental import pallas as pl

from jaxrnn.engines.resident_gpu_settings import UNITS, Setting, Sizes, as_tf32

# jax 0.10 wants an index beside the place, later versions none.
_INDEX = ((),) if inspect.signature(plgpu.load).parameters["idx"].default is inspect.Parameter.empty else ()


class Program:
    """What both kernels do: the place of a program and a warpgroup, the exchange, and the products of a step."""

    def __init__(self, sizes: Sizes, setting: Setting, weights_g, weights, exchanged, arrived, copied):
        self.sizes, self.setting = sizes, setting
        self.weights, self.exchanged, self.arrived = weights, exchanged, arrived
        self.buffers = exchanged.shape[0]
        if sizes.held is not None or setting.early:
            from jaxrnn.engines import resident_gpu_mma

            self.mma = resident_gpu_mma
        self.warpgroup = jax.lax.axis_index("warpgroup")
        self.units = pl.ds(self.warpgroup * UNITS, UNITS)
        self.columns = pl.ds(jax.lax.axis_index("tile") * sizes.N, sizes.N)

        if sizes.held is None:

            @pl.when(self.warpgroup == 0)
            def _():
                plgpu.copy_gmem_to_smem(weights_g, weights, copied)

            plgpu.barrier_wait(copied)
            return
        self.held = {}
        for g in range(sizes.gates):
            rows = weights_g.at[pl.ds(g * sizes.K + self.warpgroup * UNITS, UNITS), :]
            block = plgpu.load(rows, *_INDEX, layout=plgpu.Layout.WGMMA, optimized=False)
            if g < sizes.held:
                self.held[g] = block
            else:
                self.mma.store(block, g - sizes.held, weights)

    def place(self, *index):
        """Of a warpgroup's block in an array (..., U, B) or (..., U, T, B), or in a tiled one (T, tiles, ..., U, N)."""
        block, t = (index[:-1], index[-1:]) if index else ((), ())
        if t and self.setting.tiled:
            return (*t, jax.lax.axis_index("tile"), *block, self.units, slice(None))
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
        if (self.setting.early or self.sizes.held is not None) and self.setting.interpret is None:
            self.mma.all_warps_wait(for_wgmma=self.sizes.held is None)
            return
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

        if self.sizes.held is not None:
            return self._warp_products(buffer, pairs, sums), meanwhile()

        def multiply(*totals):
            for total, gate, block in pairs:
                rows = pl.ds(gate * K + self.warpgroup * UNITS, UNITS)
                h = _transposed(self.exchanged.at[buffer, block, :, pl.ds(0, K)])
                plgpu.wgmma(totals[total], self.weights.at[rows], h)
            done = meanwhile()
            return [total[...] for total in totals], done

        return pl.run_scoped(multiply, *[plgpu.ACC((UNITS, N), jnp.float32)] * sums)

    def _warp_products(self, buffer, pairs, sums: int):
        results: list[Any] = [None] * sums
        for shared in sorted({block for *_, block in pairs}):
            totals, gates = zip(*[(total, gate) for total, gate, block in pairs if block == shared], strict=True)
            exchanged = self.exchanged.at[buffer, shared]
            found = self.mma.products(self.held, self.weights, list(gates), exchanged, self.setting, self.sizes.K)
            for total, result in zip(totals, found, strict=True):
                results[total] = result if results[total] is None else results[total] + result
        return results


def _transposed(ref):
    return ref.transpose((1, 0)) if hasattr(ref, "transpose") else plgpu.transpose_ref(ref, (1, 0))


def launched(body, sizes: Sizes, setting: Setting, tiles: int, exchanged: int, outs):
    weights = sizes.memory(setting.dtype, rows=sizes.rows_of_weights, columns=sizes.K)
    if sizes.stored is not None:
        weights = plgpu.SMEM((max(sizes.stored, 1), 128 * sizes.warpgroups, 4), jnp.int32)
    scratch = [
        weights,
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
