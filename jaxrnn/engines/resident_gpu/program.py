"""What both kernels of the resident engine of a GPU do: the exchange, and the products of a step.

In Pallas's Mosaic GPU dialect; see `engine.py`.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax.experimental import pallas as pl

from jaxrnn.engines.resident_gpu.settings import (
    ROWS,
    UNITS,
    Setting,
    Sizes,
    as_tf32,
    order_of_rows,
    order_of_units,
)

# jax 0.10 wants an index beside the place, 0.11 takes one, 0.12 takes none.
_OF_LOAD = inspect.signature(plgpu.load).parameters.get("idx")
INDEX = () if _OF_LOAD is None or _OF_LOAD.default is not inspect.Parameter.empty else ((),)
SCRATCH = 5  # arrays and barriers of shared memory that `Program` takes
# A thread has four adjacent units of a row, as they lie in memory; what the tensor cores give has two rows of a unit.
LAYOUT, OF_PRODUCTS = plgpu.Layout.WGMMA_TRANSPOSED, plgpu.Layout.WGMMA


class Marks(NamedTuple):
    """What some windows have beside their inputs; None where this one has it not.

    Attributes:
      keeps: 0 where a stream starts afresh, else 1, (T + 1, B, 1, 64); after the last step nothing does.
      valid: 0 past a sequence's end, else 1, (T, B, 1, 64).
      mask: factor of h_{t-1} in the recurrent products, (T + 1, B, 1, U); after the last step there is none.
      fresh: the leaves of the carry of a fresh start, (B, 1, U) each; None is zeros.
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
    """What both kernels do: the place of a program and a warpgroup, the exchange, and the products of a step.

    Args:
      sizes, setting: of the kernel.
      members, tiles: models that run at once, and tiles of the batch of each; see `launch.py` for how their arrays lie.
      weights_g: the weights of all in device memory.
      weights, exchanged, received, arrived, copied: arrays and barriers of shared memory.
    """

    def __init__(
        self, sizes: Sizes, setting: Setting, members, tiles, weights_g, weights, exchanged, received, arrived, copied
    ):
        self.sizes, self.setting, self.members = sizes, setting, members
        self.weights, self.exchanged, self.received, self.arrived = weights, exchanged, received, arrived
        self.buffers = exchanged.shape[0]
        if setting.interpret is None:
            from jaxrnn.engines.resident_gpu import exchange, memory, mma

            self.mma, self.memory, self.others = mma, memory, exchange
        self.warpgroup, tile = jax.lax.axis_index("warpgroup"), jax.lax.axis_index("tile")
        if members > 1:
            self.member, tile = tile // tiles, tile % tiles
        self.first_row = tile * ROWS
        number = self.warpgroup
        if sizes.programs > 1:
            number = number + jax.lax.axis_index("program") * sizes.warpgroups
        self.units = pl.ds(number * UNITS, UNITS)

        if sizes.held is None:

            @pl.when(self.warpgroup == 0)
            def _():
                of_member = pl.ds(self.index(weights_g, 0), sizes.rows_of_weights)
                plgpu.copy_gmem_to_smem(weights_g.at[of_member], weights, copied)

            plgpu.barrier_wait(copied)
            return
        self.held = {}
        for g in range(sizes.gates):
            rows = weights_g.at[pl.ds(self.index(weights_g, g * sizes.K + number * UNITS), UNITS), :]
            block = plgpu.load(rows, *INDEX, layout=OF_PRODUCTS, optimized=False)
            if g < sizes.held:
                self.held[g] = block
            else:
                self.mma.store(block, g - sizes.held, weights)
        if sizes.programs > 1:  # until all of the cluster are there to be written to
            self.others.begin(received)
            self.others.arrive()
            self.others.all_programs_wait()
            if self.buffers == 1:
                self.others.arrive()  # nothing was read from it yet

    def index(self, ref, index):
        """Where along the first axis of an array, which members share, the one of this program has its own index."""
        return index if self.members == 1 else self.member * (ref.shape[0] // self.members) + index

    def place(self, ref, t, block):
        """The units of a warpgroup in (B, blocks, U), or in ([members] T, B, blocks, U) at step t: (B, 64).

        Where an array has the units of one warpgroup, or one row, all read those. The interpreter cuts the rows here.
        """
        units = pl.ds(0, UNITS) if ref.shape[-1] == UNITS else self.units
        rows = slice(None) if self.setting.interpret is None or ref.shape[-3] == 1 else pl.ds(self.first_row, ROWS)
        time = [self.index(ref, 0 if t is None else t)] if len(ref.shape) == 4 else []
        return ref.at[(*time, rows, block, units)]

    def read(self, ref, t=None, block=0):
        place = self.place(ref, t, block)
        if self.setting.interpret is not None:
            return order_of_units(jnp.broadcast_to(place[...], (ROWS, UNITS)).T, 0)
        return self.memory.read(place, self.first_row)

    def write(self, ref, value, t=None, block=0):
        place = self.place(ref, t, block)
        if self.setting.interpret is not None:
            place[...] = order_of_rows(value, 0).T
        else:
            self.memory.write(value, place, self.first_row)

    def read_marks(self, marks, t, before):
        """The blocks of the marks of step t; the factor of h is that before or after it."""
        places = {"keeps": t + 1, "valid": t, "mask": t if before else t + 1}
        given = {name: ref for name in places if (ref := getattr(marks, name)) is not None}
        return Marks(**{name: self.read(ref, places[name]) for name, ref in given.items()})

    def read_leaves(self, refs, number):
        """The blocks of so many leaves of a carry, or zeros where there is no array."""
        return [zeros() if ref is None else self.read(ref) for ref in refs or [None] * number]

    def exchange(self, step, blocks):
        """Puts a warpgroup's blocks where the products of all of them read, and waits for the others.

        In a cluster the products wait.
        """
        buffer = self.buffer(step)
        if self.sizes.programs > 1:
            if self.buffers == 1:
                self.others.all_programs_wait()
            self.others.expect(self.received, buffer, len(blocks) * self.sizes.block)
        elif self.buffers == 1:
            self.wait()
        for block, value in enumerate(blocks):
            if self.setting.dtype == jnp.float32 and self.setting.interpret is None:
                value = as_tf32(value)
            value, place = value.astype(self.setting.dtype), self.exchanged.at[buffer, block]
            if self.sizes.held is not None:
                self.others.send(value, place, self.received, buffer, self.sizes.warpgroups, self.sizes.programs)
            else:
                transposed(place.at[:, self.units])[...] = value
        if self.sizes.programs > 1:
            return
        if self.setting.interpret is None:
            self.others.all_warps_wait(for_wgmma=self.sizes.held is None)
        else:
            plgpu.commit_smem()
            if self.sizes.warpgroups > 1:
                self.wait()

    def received_all(self, step):
        """In a cluster: waits for what was exchanged. After it nothing is on its way here, and the program can end."""
        if self.sizes.programs > 1:
            self.others.wait_until_received(self.received, self.buffer(step), (step // self.buffers) % 2)

    def buffer(self, step):
        return jax.lax.rem(step, 2) if self.buffers == 2 else jnp.int32(0)

    def wait(self):
        if self.sizes.warpgroups > 1:
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
            self.received_all(step)
            found = self._warp_products(buffer, pairs, sums)
            if self.buffers == 1:
                self.others.arrive()
            return found, done
        if self.sizes.held is not None:
            return self._warp_products(buffer, pairs, sums), meanwhile()

        def multiply(*totals):
            for total, gate, block in pairs:
                rows = pl.ds(gate * K + self.warpgroup * UNITS, UNITS)
                h = transposed(self.exchanged.at[buffer, block, :, pl.ds(0, K)])
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


def transposed(ref):
    """An array of shared memory with its two axes changed."""
    return ref.transpose((1, 0)) if hasattr(ref, "transpose") else plgpu.transpose_ref(ref, (1, 0))


def zeros() -> jax.Array:
    """A block of zeros."""
    return plgpu.layout_cast(jnp.zeros((UNITS, ROWS), jnp.float32), LAYOUT)
