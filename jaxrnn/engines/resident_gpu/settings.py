"""How the kernels of the resident engine of a GPU run, what fits into their programs, and how their arrays lie."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp

UNITS, ROWS = 64, 8  # the units of a warpgroup, and the rows of the batch that go with them
WARP_UNITS = UNITS // 4
SHARED_MEMORY = 232_448  # bytes that a program of an H100 can have
PROGRAMS = 1, 2, 4, 8  # of a cluster, on every card of the generation
PROCESSORS = 132  # of an H100 or H200: so many programs run at once


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the kernels run.

    Attributes:
      dtype: of the products' operands: bfloat16, or float32, of which the tensor cores use the bits of TF32. Sums,
        carries and the update are float32.
      math: "exact"; "close", exp and square root of the hardware, off by 3e-7 of a gate; "fast", its tanh, by 5e-4.
      copies: whether what a step reads and writes goes through shared memory, as far as there is room.
      held: gates whose weights stay in registers, the others' in shared memory, for `mma.sync`; or None, all in shared
        memory, for `wgmma`, which is what the interpreter can run.
      programs: programs of a cluster, which share the units of a layer and exchange h in each step; a power of 2.
      interpret: parameters of Pallas's interpreter, where there is no GPU.
    """

    dtype: Any = jnp.float32
    math: str = "close"
    copies: bool = True
    held: int | None = None
    programs: int = 1
    interpret: Any = None


class Sizes:
    """Sizes of the kernels of a cell with H units and `gates` recurrent blocks.

    Attributes:
      K: H up to a multiple of what a product sums at once.
      U: H up to whole warpgroups. Rows K to U of a gate's block are the next gate's: what they give is never read.
      warpgroups: of a program.
    """

    def __init__(self, H: int, gates: int, setting: Setting):
        item = jnp.dtype(setting.dtype).itemsize
        self.H, self.gates, self.programs = H, gates, setting.programs
        self.held = None if setting.held is None else min(setting.held, gates)
        self.K, self.U = (
            padded(H, WARP_UNITS if self.held is None else 128 // item),
            padded(H, UNITS * setting.programs),
        )
        self.warpgroups = self.U // UNITS // setting.programs
        self.swizzle = next(s for s in (128, 64, 32) if self.K * item % s == 0)
        self.rows_of_weights = gates * self.K + self.U - self.K
        self.stored = None if self.held is None else (gates - self.held) * self.K * item // 32
        self.weights = self.rows_of_weights * self.K * item
        if self.stored is not None:
            self.weights = max(self.stored, 1) * 128 * self.warpgroups * 16
        self.block = ROWS * self.U * item
        self.fits = self.buffers(gates) > 0 and self.warpgroups <= 4
        if self.held is None:
            self.fits &= setting.programs == 1
        else:  # a thread has 255 registers, or less with more warpgroups, and 120 for the rest
            self.fits &= self.held * self.K * item // 8 + 120 <= 512 // max(self.warpgroups, 2)

    def buffers(self, blocks: int) -> int:
        """How many buffers of so many exchanged blocks there is room for: two spare a wait, none is too few."""
        return min(2, (SHARED_MEMORY - self.weights - 2048) // (blocks * self.block))

    def shared(self, dtype: Any, *lead: int, rows: int, columns: int) -> Any:
        """An array of shared memory as the tensor cores read it."""
        tile = (8, self.swizzle // jnp.dtype(dtype).itemsize)
        transforms = plgpu.TilingTransform(tile), plgpu.SwizzleTransform(self.swizzle)
        return plgpu.SMEM((*lead, rows, columns), dtype, transforms=transforms)


def padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def fits(hidden_features: int, recurrent_blocks: int, setting: Setting) -> bool:
    """Whether the weights of a cell and what its programs exchange fit into registers and shared memory.

    Example:
      >>> fits(128, 4, Setting(held=2)), fits(128, 4, Setting(held=3)), fits(128, 4, Setting())
      (True, False, False)
    """
    return Sizes(hidden_features, recurrent_blocks, setting).fits


def best_setting(hidden_features: int, recurrent_blocks: int, dtype: Any) -> Setting | None:
    """The setting of a cell that was the fastest on an H200, or None where its weights fit nowhere.

    The fewest programs that keep all weights in registers; where none do, a program for each warpgroup, since every
    program reads what it does not hold from its own shared memory.

    Example:
      >>> for hidden, dtype in ((64, "float32"), (128, "float32"), (128, "bfloat16"), (512, "bfloat16")):
      ...     setting = best_setting(hidden, 4, dtype)
      ...     print(hidden, dtype, setting.programs, setting.held)
      64 float32 1 4
      128 float32 2 2
      128 bfloat16 1 4
      512 bfloat16 8 1
      >>> best_setting(512, 4, "float32") is None
      True
    """
    found = None
    for programs in PROGRAMS:
        if programs // 2 * UNITS >= hidden_features:  # half of them have all units
            break
        settings = (Setting(jnp.dtype(dtype), held=held, programs=programs) for held in range(recurrent_blocks, -1, -1))
        setting = next((one for one in settings if fits(hidden_features, recurrent_blocks, one)), None)
        if setting is not None and setting.held == recurrent_blocks:
            return setting
        found = setting or found
    return found


def rounds(batch_size: int, setting: Setting) -> int:
    """How often in a row the card is filled with programs.

    Example:
      >>> rounds(100, Setting(programs=8)), rounds(256, Setting(programs=8))
      (1, 2)
    """
    return -(-padded(batch_size, ROWS) // ROWS * setting.programs // PROCESSORS)


def floats(*shape):
    """The shape of an array of float32."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def spread(x: jax.Array, H: int, U: int) -> jax.Array:
    """Blocks of H numbers along the last axis as blocks of U, with zeros between."""
    if H == U:
        return x
    blocks = x.reshape(*x.shape[:-1], -1, H)
    return jnp.pad(blocks, [(0, 0)] * x.ndim + [(0, U - H)]).reshape(*x.shape[:-1], -1)


def order_of_units(x: jax.Array, axis: int) -> jax.Array:
    """Units in the order of a warp's 16 rows: a thread's four adjacent ones are in rows 2k, 2k + 1, 2k + 8 and 2k + 9.

    Example:
      >>> order_of_units(jnp.arange(16), 0).tolist()
      [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]
    """
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    x = x.reshape(*before, -1, 4, 2, 2, *after)
    return jnp.swapaxes(x, axis + 1, axis + 2).reshape(*before, -1, *after)


def order_of_rows(x: jax.Array, axis: int) -> jax.Array:
    """A warp's 16 rows in the order of their units: what `order_of_units` ordered.

    Example:
      >>> order_of_rows(order_of_units(jnp.arange(32), 0), 0).tolist() == list(range(32))
      True
    """
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    x = x.reshape(*before, -1, 2, 4, 2, *after)
    return jnp.swapaxes(x, axis + 1, axis + 2).reshape(*before, -1, *after)


def as_tf32(x):
    """Rounds to the 10 bits after the point that TF32 has; the tensor cores would cut."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return jax.lax.bitcast_convert_type((bits + 0x1000) & ~0x1FFF, jnp.float32)


def order_of_columns(rows: jax.Array) -> jax.Array:
    """The columns of float32 weights in the order of the registers: a thread has columns t and t + 4 of each 8."""
    *lead, K = rows.shape
    return jnp.swapaxes(rows.reshape(*lead, K // 8, 2, 4), -1, -2).reshape(rows.shape)
