"""What the resident kernels of a GPU read and write each step, on its way between device memory and registers.

The copy engine brings it to shared memory some steps ahead, and takes it from there; every warp asks for its own 8 rows
of 16 units, so that none waits for another. With loads and stores of their own the kernels would wait: a few programs
run on a few processors, and of those 20 KB a step keep the path to memory busy for half of a step. Where the weights
leave no room in shared memory it is read into registers a step ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp

from jaxrnn.engines.resident_gpu.settings import ROWS, SHARED_MEMORY, WARP_UNITS, Setting, Sizes, padded

# Slots of what comes and buffers of what goes, the first that fit.
PLANS = (4, 2), (2, 2), (2, 1), (1, 1), (0, 1), (0, 0)


class Array(NamedTuple):
    """One that is read or written a step at a time, (T, B, blocks, U), and at which t a step of the kernel does it."""

    ref: Any
    blocks: int
    place: Callable[[Any], Any]


class Plan(NamedTuple):
    """Shared memory of the copies: how many slots and buffers, and the blocks of the arrays that come and go."""

    slots: int
    buffers: int
    coming: tuple[int, ...]
    going: tuple[int, ...]

    def scratch(self, sizes: Sizes) -> list[Any]:
        """Its arrays: those that come, those that go, and the barriers of the slots."""
        warps = 4 * sizes.warpgroups
        counts = [(self.slots, blocks) for blocks in self.coming if self.slots]
        counts += [(self.buffers, blocks) for blocks in self.going if self.buffers]
        arrays = [plgpu.SMEM((number, warps, blocks, ROWS, WARP_UNITS), jnp.float32) for number, blocks in counts]
        return arrays + [plgpu.SMEM((self.slots, warps, 2), jnp.int32)] * bool(self.slots)

    def parts(self, scratch: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        """Of its arrays those of `Coming`, and those of `Going`."""
        n = len(self.coming) if self.slots else 0
        going = list(scratch[n : n + len(self.going)]) if self.buffers else []
        return [*scratch[:n], *scratch[-1:]] if self.slots else [], going


def plan_of(sizes: Sizes, setting: Setting, exchanged: int, coming: list[int], going: list[int]) -> Plan:
    """The plan with the most slots and buffers for which there is room."""
    plans = PLANS if setting.copies and setting.held is not None else PLANS[-1:]
    used = padded(sizes.weights, 1024) + padded(sizes.buffers(exchanged) * exchanged * sizes.block, 1024)
    used += 4096  # barriers, each in a kilobyte of its own
    of_a_block = 4 * sizes.warpgroups * ROWS * WARP_UNITS * 4
    for slots, buffers in plans:
        if used + of_a_block * (slots * sum(coming) + buffers * sum(going)) <= SHARED_MEMORY:
            break
    return Plan(slots, buffers, tuple(coming), tuple(going))


class Coming:
    """What is read each step: `read` gives the blocks of each array, and `after` is called when they were used.

    Args:
      program: the `Program`.
      arrays: what to read.
      count: steps that are read, counted by an index from 0.
      scratch: of the plan, or nothing where registers are read into.
    """

    def __init__(self, program: Any, arrays: list[Array], count: int, scratch: list[Any]):
        self.program, self.arrays, self.count, self.scratch = program, arrays, count, scratch

    def begin(self) -> Any:
        """What is on its way before the first step, to be given to `read`."""
        if not self.scratch:
            return self._of_registers(jnp.int32(0))
        self.program.memory.begin_slots(self.scratch[-1], len(self.arrays))
        for index in range(min(self.scratch[0].shape[0], self.count)):
            self._ask(jnp.int32(index))
        return ()

    def read(self, index: Any, coming: Any) -> list[list[jax.Array]]:
        """The blocks of each array of a step, when they are there."""
        if not self.scratch:
            return coming
        *slots, barriers = self.scratch
        number = slots[0].shape[0]
        slot, parity = index % number, (index // number) % 2
        self.program.memory.wait_for_slot(barriers, slot, parity)
        return [
            [self.program.memory.read_slot(of, slot, block) for block in range(array.blocks)]
            for of, array in zip(slots, self.arrays, strict=True)
        ]

    def after(self, index: Any) -> Any:
        """What is on its way when a step was read, to be given to the next `read`."""
        if not self.scratch:
            return self._of_registers(index + 1)
        self._ask(index + self.scratch[0].shape[0])
        return ()

    def settled(self, tree: Any, found: Any) -> Any:
        """The tree, of which registers that were read into a step ago are waited for, to be read into again."""
        if self.scratch or self.program.setting.interpret is not None:
            return tree
        read = {id(leaf) for leaf in jax.tree.leaves(found)}
        return jax.tree.map(lambda leaf: self.program.memory.settled(leaf) if id(leaf) in read else leaf, tree)

    def _of_registers(self, index):
        index = jnp.minimum(index, self.count - 1)
        return [
            [self.program.read(array.ref, array.place(index), block) for block in range(array.blocks)]
            for array in self.arrays
        ]

    def _ask(self, index):
        *slots, barriers = self.scratch
        slot, wanted = index % slots[0].shape[0], index < self.count
        for array, of in zip(self.arrays, slots, strict=True):
            place = self.program.index(array.ref, array.place(jnp.minimum(index, self.count - 1)))
            self.program.memory.ask(array.ref, of, barriers, place, self.program.first_row, slot, wanted)


class Going:
    """What is written each step.

    Args:
      program: the `Program`.
      arrays: what to write.
      scratch: of the plan, or nothing where registers are written from.
    """

    def __init__(self, program: Any, arrays: list[Array], scratch: list[Any]):
        self.program, self.arrays, self.scratch = program, arrays, scratch

    def write(self, index: Any, values: list[list[jax.Array]], wanted: Any = True) -> None:
        """Writes the blocks of each array; a step that is not wanted may be, if it is written once more later."""
        pairs = list(zip(self.arrays, values, strict=True))
        if not self.scratch:
            for array, blocks in pairs:
                for block, value in enumerate(blocks):
                    self.program.write(array.ref, value, array.place(index), block)
            return
        memory, buffers = self.program.memory, self.scratch[0].shape[0]
        buffer = index % buffers
        memory.wait_for_buffers(buffers - 1)
        for of, (_, blocks) in zip(self.scratch, pairs, strict=True):
            for block, value in enumerate(blocks):
                memory.write_buffer(value, of, buffer, block)
        memory.show_to_copies()
        for of, (array, _) in zip(self.scratch, pairs, strict=True):
            place = self.program.index(array.ref, array.place(index))
            memory.take(of, array.ref, place, self.program.first_row, buffer, wanted)
        memory.end_of_group()

    def end(self) -> None:
        """Waits until all was taken from shared memory."""
        if self.scratch:
            self.program.memory.wait_for_buffers(0)
