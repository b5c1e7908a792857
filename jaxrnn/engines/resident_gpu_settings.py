"""How the kernels of the resident engine of a GPU run, and what fits into a program.

Without `held`, `tiled` and `early` it is what was run and measured on an H100. These three, off by default, were
compiled for an H100 and have never run on one: `python -m experiments.benchmark resident` would. Of `tiled` and `early`
the interpreter's tests say that they compute the same; `held` it cannot run.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp

UNITS = 64  # rows of a tensor-core product: the units of a warpgroup
SHARED_MEMORY = 232_448  # bytes that a program of an H100 can have


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the kernels run.

    Attributes:
      dtype: of the products' operands: bfloat16, or float32, of which the tensor cores use the bits of TF32. Sums,
        carries and the update are float32.
      rows: rows of the batch that a program has, a multiple of 8.
      math: "exact"; "close", exp and square root of the hardware, off by 3e-7 of a gate; "fast", its tanh, by 5e-4.
      ahead: steps whose inputs are on their way from device memory while one is computed.
      tiled: the arrays of device memory have the numbers of a step and a program side by side.
      early: what a step need not wait for is done while the tensor cores work: writes, and the part of the
        derivative that needs no gradient; and all warps wait at one barrier.
      held: None, or gates whose weights stay in registers, the others' in shared memory, for `mma.sync` of 8 rows.
      interpret: parameters of Pallas's interpreter, where there is no GPU.
    """

    dtype: Any = jnp.float32
    rows: int = 8
    math: str = "exact"
    ahead: int = 2
    tiled: bool = False
    early: bool = False
    held: int | None = None
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
        self.held = None if setting.held is None else min(setting.held, gates)
        self.K, self.U = padded(H, (32 if self.held is None else 128) // item), padded(H, UNITS)
        self.warpgroups = self.U // UNITS
        self.swizzle = next(s for s in (128, 64, 32) if self.K * item % s == 0)
        self.rows_of_weights = gates * self.K + self.U - self.K
        self.stored = None if self.held is None else (gates - self.held) * self.K * item // 32
        self.weights = self.rows_of_weights * self.K * item
        if self.stored is not None:
            self.weights = max(self.stored, 1) * 128 * self.warpgroups * 16
        self.block = self.N * self.U * item
        self.fits = self.buffers(gates) > 0 and self.warpgroups <= 4
        if self.held is not None:  # a thread has 255 registers, or less with more warpgroups, and 120 for the rest
            self.fits &= setting.rows == 8 and self.held * self.K * item // 8 + 120 <= 512 // max(self.warpgroups, 2)

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


def floats(*shape):
    """The shape of an array of float32."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def array(setting: Setting, U: int, T: int, B: int, *blocks: int):
    """Of device memory: (blocks, U, T, B), or (T, tiles, blocks, U, rows) where it is tiled."""
    if setting.tiled:
        return floats(T, B // setting.rows, *blocks, U, setting.rows)
    return floats(*blocks, U, T, B)


def axes_of(setting: Setting, ps) -> tuple[int, int, int, int]:
    """(blocks, U, T, B) of ps, or of (T, tiles, blocks, U, rows) where it is tiled."""
    if setting.tiled:
        T, tiles, blocks, U, rows = ps.shape
        return blocks, U, T, tiles * rows
    return ps.shape


def as_tf32(x):
    """Rounds to the 10 bits after the point that TF32 has; the tensor cores would cut."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    return jax.lax.bitcast_convert_type((bits + 0x1000) & ~0x1FFF, jnp.float32)


def order_of_columns(rows: jax.Array) -> jax.Array:
    """The columns of float32 weights in the order of the registers: a thread has columns t and t + 4 of each 8."""
    *lead, K = rows.shape
    return jnp.swapaxes(rows.reshape(*lead, K // 8, 2, 4), -1, -2).reshape(rows.shape)
