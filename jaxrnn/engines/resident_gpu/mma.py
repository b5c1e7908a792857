"""Products of weights that stay in registers, by the warp-level `mma.sync` of the tensor cores.

`wgmma` reads its 64 rows of weights from shared memory each step, 128 bytes a cycle: with few columns that is what a
step costs. Here a warp keeps its 16 rows of each gate in registers, in the order that `mma.sync` wants, and reads only
the exchanged columns, four 8 x 16-byte matrices an `ldmatrix`. The exchanged block is the one of `wgmma`: rows of
128 bytes whose 16-byte pieces are swapped by the number of the row.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.experimental.mosaic.gpu as mgpu
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax.experimental.mosaic.gpu import fragmented_array as fa
from jax.experimental.mosaic.gpu import utils as mgpu_utils
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, llvm, vector

from jaxrnn.engines.resident_gpu.ptx import LINE, asm, fragment, number
from jaxrnn.engines.resident_gpu.settings import ROWS, UNITS

AT_ONCE = 32  # registers of exchanged columns that a thread reads before it multiplies


def store(block: jax.Array, gate: int, stored: Any) -> None:
    """Puts the registers of a (64, K) of weights into shared memory, for the same threads to read them there."""

    @plgpu.inline_mgpu(arg_types=(plgpu.Layout.WGMMA, plgpu.RefType()))
    def put(_ctx, block, ref):
        K, k = block.shape[1], 8 if block.mlir_dtype == ir.F32Type.get() else 16
        for step in range(K // k):
            asm(
                [_place(ref, gate * (K // k) + step), *_rows(block, step)],
                "st.shared.v4.b32 [$0], {$1,$2,$3,$4};",
                "r,r,r,r,r",
            )

    put(block, stored)


def products(
    held: dict[int, jax.Array], stored: Any, gates: list[int], exchanged: Any, setting: Any, K: int
) -> list[jax.Array]:
    """Of each (64, K) of weights, `held` in registers or `stored`, with K x 8 exchanged: (64, 8) each."""
    layout, blocks = plgpu.Layout.WGMMA, [held[g] for g in gates if g in held]
    k, name, item = (8, "tf32", 4) if setting.dtype == jnp.float32 else (16, "bf16", 2)
    transforms = plgpu.TilingTransform((ROWS, LINE // item)), plgpu.SwizzleTransform(LINE)

    @plgpu.inline_mgpu(
        arg_types=([layout] * len(blocks), plgpu.RefType(), plgpu.RefType(transforms)),
        return_type=[plgpu.ShapeDtypeStruct((UNITS, ROWS), jnp.float32, layout=layout)] * len(gates),
    )
    def multiply(_ctx, blocks, stored, ref):
        f32 = ir.F32Type.get()
        found = dict(zip([g for g in gates if g in held], blocks, strict=True))
        base = llvm.ptrtoint(ir.IntegerType.get_signless(32), mgpu_utils.memref_ptr(ref))
        lane = arith.andi(mgpu_utils.thread_idx(), number(31))
        row, matrix = arith.andi(lane, number(7)), arith.shrui(lane, number(3))
        line = arith.addi(base, arith.muli(row, number(LINE)))
        text = f"mma.sync.aligned.m16n8k{k}.row.col.f32.{name}.{name}.f32"
        text += " {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
        results: dict[int, list[Any]] = {g: [mgpu_utils.c(0.0, f32)] * 4 for g in gates}
        columns: list[Any] = []
        for step in range(K // k):
            at = 2 * step % AT_ONCE
            if at == 0:
                columns = _columns(line, matrix, row, 2 * step, min(AT_ONCE, 2 * (K // k - step)))
            for g in gates:
                if g in found:
                    rows = _rows(found[g], step)
                else:
                    where = _place(stored, (g - setting.held) * (K // k) + step)
                    rows = asm([where], "ld.shared.v4.b32 {$0,$1,$2,$3}, [$4];", "r", 4)
                given = [*rows, *columns[at : at + 2], *results[g]]
                results[g] = asm(given, text, "r,r,r,r,r,r,f,f,f,f", 4, f32, memory=False)
        zeros = mgpu.FragmentedArray.splat(mgpu_utils.c(0.0, f32), (UNITS, ROWS), layout=fa.WGMMA_LAYOUT)
        return [fragment(zeros, results[g]) for g in gates]

    return multiply(blocks, stored, exchanged)


def _columns(line: ir.Value, matrix: ir.Value, row: ir.Value, first: int, count: int) -> list[ir.Value]:
    """The registers of the exchanged columns for some steps of the sum: pieces of 16 bytes from the first on."""
    columns: list[ir.Value] = []
    for at in range(first, first + count, 4):
        # A tile has 8 pieces a row; piece c of row r is at c ^ r.
        piece = arith.xori(arith.addi(matrix, number(at % 8)), row)
        place = arith.addi(line, arith.addi(arith.shli(piece, number(4)), number(at // 8 * 8 * LINE)))
        columns += asm([place], "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0,$1,$2,$3}, [$4];", "r", 4)
    return columns


def _place(ref: ir.Value, index: int) -> ir.Value:
    """The address of the 16 bytes of this thread in the index-th (threads, 4) of an array (n, threads, 4)."""
    threads = ir.MemRefType(ref.type).shape[1]
    base = llvm.ptrtoint(ir.IntegerType.get_signless(32), mgpu_utils.memref_ptr(ref))
    mine = arith.addi(base, arith.shli(mgpu_utils.thread_idx(), number(4)))
    return arith.addi(mine, number(index * threads * 16))


def _rows(block: mgpu.FragmentedArray, step: int) -> list[ir.Value]:
    """The four registers of the weights of a step of the sum."""
    i32, wide = ir.IntegerType.get_signless(32), block.mlir_dtype == ir.F32Type.get()
    k = 8 if wide else 16
    registers = list(block[:, step * k : (step + 1) * k].registers.flatten())
    if wide:  # two numbers of a row a register: columns t and t + 4
        registers = [vector.extract(r, [], ir.DenseI64ArrayAttr.get([i])) for i in (0, 1) for r in registers]
    return [mgpu_utils.bitcast(r, i32) for r in registers]
