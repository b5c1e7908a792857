"""Products of weights that stay in registers, by the warp-level `mma.sync` of the tensor cores.

`wgmma` reads its 64 rows of weights from shared memory each step, 128 bytes a cycle: with few columns that is what a
step costs. Here a warp keeps its 16 rows of each gate in registers, in the order that `mma.sync` wants, and reads only
the exchanged columns, four 8 x 16-byte matrices an `ldmatrix`. The exchanged block is the one of `wgmma`: rows of
128 bytes whose 16-byte pieces are swapped by the number of the row.

In a cluster a thread writes what it has to the exchanged blocks of all programs, and one barrier of the cluster says
that they are there. This module reads inner modules of JAX, and is loaded on a GPU only.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.experimental.mosaic.gpu as mgpu
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
import numpy as np
from jax.experimental.mosaic.gpu import fragmented_array as fa
from jax.experimental.mosaic.gpu import utils as mgpu_utils
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, gpu, llvm, nvvm, vector

from jaxrnn.engines.resident_gpu_settings import ROWS, UNITS

LINE = 128  # bytes of a row of an exchanged tile
AT_ONCE = 32  # registers of exchanged columns that a thread reads before it multiplies


def all_warps_wait(for_wgmma: bool) -> None:
    """One barrier for all threads of a program: what they wrote to shared memory is seen by all, or also by `wgmma`."""

    @plgpu.inline_mgpu()
    def wait(_ctx):
        if for_wgmma:
            nvvm.fence_proxy(nvvm.ProxyKind.async_shared, space=nvvm.SharedSpace.shared_cta)
        gpu.barrier()

    wait()


def read(place: Any) -> jax.Array:
    """A warpgroup's block of device memory, (4, 8, 16), as (64, 8): a thread has 16 bytes, four units of a row."""

    @plgpu.inline_mgpu(
        arg_types=(plgpu.RefType(),),
        return_type=plgpu.ShapeDtypeStruct((UNITS, ROWS), jnp.float32, layout=plgpu.Layout.WGMMA_TRANSPOSED),
    )
    def load(_ctx, ref):
        f32 = ir.F32Type.get()
        four = llvm.load(ir.VectorType.get((4,), f32), _sixteen_bytes(ref), alignment=16)
        block = mgpu.FragmentedArray.splat(mgpu_utils.c(0.0, f32), (UNITS, ROWS), layout=fa.WGMMA_TRANSPOSED_LAYOUT)
        registers = block.registers.copy()
        for half, index in enumerate(np.ndindex(registers.shape)):
            registers[index] = mgpu_utils.vector_slice(four, slice(2 * half, 2 * half + 2))
        return mgpu.FragmentedArray(_registers=registers, _layout=block.layout, _is_signed=None)

    return load(place)


def write(value: jax.Array, place: Any) -> None:
    """Puts a block to where `read` reads it."""

    @plgpu.inline_mgpu(arg_types=(plgpu.Layout.WGMMA_TRANSPOSED, plgpu.RefType()))
    def store(_ctx, block, ref):
        four = mgpu_utils.vector_concat(list(block.registers.flatten()))
        llvm.store(four, _sixteen_bytes(ref), alignment=16)

    store(value, place)


def send(value: jax.Array, exchanged: Any, warpgroups: int, programs: int) -> None:
    """Writes a warpgroup's block of 64 units to its place in the memory of all programs of the cluster."""
    item = value.dtype.itemsize
    transforms = plgpu.TilingTransform((ROWS, LINE // item)), plgpu.SwizzleTransform(LINE)

    @plgpu.inline_mgpu(arg_types=(plgpu.Layout.WGMMA_TRANSPOSED, plgpu.RefType(transforms)))
    def write(_ctx, block, ref):
        base = llvm.ptrtoint(ir.IntegerType.get_signless(32), mgpu_utils.memref_ptr(ref))
        (own,) = _asm([], "mov.u32 $0, %cluster_ctarank;", "", 1, memory=False)
        warp = arith.addi(arith.muli(own, _number(4 * warpgroups)), arith.shrui(mgpu_utils.thread_idx(), _number(5)))
        row, quarter = _row_and_quarter()
        unit = arith.addi(arith.shli(warp, _number(4)), arith.shli(quarter, _number(1)))
        line = arith.addi(base, arith.muli(row, _number(LINE)))
        places, words = [], []
        for half, register in enumerate(block.registers.flatten()):
            at = arith.muli(arith.addi(unit, _number(8 * half)), _number(item))
            piece = arith.xori(arith.andi(arith.shrui(at, _number(4)), _number(7)), row)
            place = arith.addi(line, arith.muli(arith.shrui(at, _number(7)), _number(ROWS * LINE)))
            place = arith.addi(place, arith.shli(piece, _number(4)))
            places.append(arith.addi(place, arith.andi(at, _number(15))))
            words.append(_words(register, item))
        for program in range(programs):
            for place, values in zip(places, words, strict=True):
                theirs = _asm([place, _number(program)], "mapa.shared::cluster.u32 $0, $1, $2;", "r,r", 1, memory=False)
                if len(values) == 2:
                    _asm([*theirs, *values], "st.shared::cluster.v2.b32 [$0], {$1,$2};", "r,r,r")
                else:
                    _asm([*theirs, *values], "st.shared::cluster.b32 [$0], $1;", "r,r")

    write(value, exchanged)


def arrive() -> None:
    """This program has written what the others of its cluster wait for, and read what they may write over."""

    @plgpu.inline_mgpu()
    def announce(_ctx):
        _asm([], "barrier.cluster.arrive.release.aligned;", "")

    announce()


def all_programs_wait() -> None:
    """Waits for all threads of the cluster to arrive, and sees what they wrote."""

    @plgpu.inline_mgpu()
    def wait(_ctx):
        _asm([], "barrier.cluster.wait.acquire.aligned;", "")

    wait()


def store(block: jax.Array, gate: int, stored: Any) -> None:
    """Puts the registers of a (64, K) of weights into shared memory, for the same threads to read them there."""

    @plgpu.inline_mgpu(arg_types=(plgpu.Layout.WGMMA, plgpu.RefType()))
    def put(_ctx, block, ref):
        K, k = block.shape[1], 8 if block.mlir_dtype == ir.F32Type.get() else 16
        for step in range(K // k):
            _asm(
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
        lane = arith.andi(mgpu_utils.thread_idx(), _number(31))
        row, matrix = arith.andi(lane, _number(7)), arith.shrui(lane, _number(3))
        line = arith.addi(base, arith.muli(row, _number(LINE)))
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
                    rows = _asm([where], "ld.shared.v4.b32 {$0,$1,$2,$3}, [$4];", "r", 4)
                given = [*rows, *columns[at : at + 2], *results[g]]
                results[g] = _asm(given, text, "r,r,r,r,r,r,f,f,f,f", 4, f32, memory=False)
        zeros = mgpu.FragmentedArray.splat(mgpu_utils.c(0.0, f32), (UNITS, ROWS), layout=fa.WGMMA_LAYOUT)
        return [_fragment(zeros, results[g]) for g in gates]

    return multiply(blocks, stored, exchanged)


def _row_and_quarter() -> tuple[ir.Value, ir.Value]:
    """Of a block whose units are transposed: this thread's row of the batch, and its quarter of a warp's units."""
    lane = arith.andi(mgpu_utils.thread_idx(), _number(31))
    row = arith.shli(arith.andi(lane, _number(3)), _number(1))
    row = arith.ori(row, arith.andi(arith.shrui(lane, _number(2)), _number(1)))
    return row, arith.shrui(lane, _number(3))


def _sixteen_bytes(ref: ir.Value) -> ir.Value:
    """The address of what this thread has of a (4, 8, 16) of device memory."""
    warp = arith.andi(arith.shrui(mgpu_utils.thread_idx(), _number(5)), _number(3))
    row, quarter = _row_and_quarter()
    index = arith.addi(
        arith.shli(warp, _number(7)), arith.addi(arith.shli(row, _number(4)), arith.shli(quarter, _number(2)))
    )
    return mgpu_utils.getelementptr(mgpu_utils.memref_ptr(ref), [index], ir.F32Type.get())


def _columns(line: ir.Value, matrix: ir.Value, row: ir.Value, first: int, count: int) -> list[ir.Value]:
    """The registers of the exchanged columns for some steps of the sum: pieces of 16 bytes from the first on."""
    columns: list[ir.Value] = []
    for at in range(first, first + count, 4):
        # A tile has 8 pieces a row; piece c of row r is at c ^ r.
        piece = arith.xori(arith.addi(matrix, _number(at % 8)), row)
        place = arith.addi(line, arith.addi(arith.shli(piece, _number(4)), _number(at // 8 * 8 * LINE)))
        columns += _asm([place], "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0,$1,$2,$3}, [$4];", "r", 4)
    return columns


def _words(pair: ir.Value, item: int) -> list[ir.Value]:
    """Two adjacent numbers as words of 32 bits: one each, or one for both."""
    i32 = ir.IntegerType.get_signless(32)
    if item == 2:
        return [mgpu_utils.bitcast(pair, i32)]
    return [mgpu_utils.bitcast(vector.extract(pair, [], ir.DenseI64ArrayAttr.get([i])), i32) for i in (0, 1)]


def _number(x: int) -> ir.Value:
    return mgpu_utils.c(x, ir.IntegerType.get_signless(32))


def _asm(
    given: list[Any], text: str, constraints: str, results: int = 0, kind: Any = None, memory: bool = True
) -> list[Any]:
    """One instruction; those that touch memory stay in their order, those of numbers need not."""
    kind = ir.IntegerType.get_signless(32) if kind is None else kind
    outs = ["=f" if kind == ir.F32Type.get() else "=r"] * results
    type_ = llvm.StructType.get_literal([kind] * results) if results > 1 else kind if results else None
    said = ",".join(filter(None, [*outs, constraints, "~{memory}" if memory else ""]))
    out: Any = llvm.inline_asm(type_, given, text, said, has_side_effects=memory)
    return [llvm.extractvalue(kind, out, [i]) for i in range(results)] if results > 1 else [out] * results


def _place(ref: ir.Value, index: int) -> ir.Value:
    """The address of the 16 bytes of this thread in the index-th (threads, 4) of an array (n, threads, 4)."""
    threads = ir.MemRefType(ref.type).shape[1]
    base = llvm.ptrtoint(ir.IntegerType.get_signless(32), mgpu_utils.memref_ptr(ref))
    mine = arith.addi(base, arith.shli(mgpu_utils.thread_idx(), _number(4)))
    return arith.addi(mine, _number(index * threads * 16))


def _rows(block: mgpu.FragmentedArray, step: int) -> list[ir.Value]:
    """The four registers of the weights of a step of the sum."""
    i32, wide = ir.IntegerType.get_signless(32), block.mlir_dtype == ir.F32Type.get()
    k = 8 if wide else 16
    registers = list(block[:, step * k : (step + 1) * k].registers.flatten())
    if wide:  # two numbers of a row a register: columns t and t + 4
        registers = [vector.extract(r, [], ir.DenseI64ArrayAttr.get([i])) for i in (0, 1) for r in registers]
    return [mgpu_utils.bitcast(r, i32) for r in registers]


def _fragment(like: mgpu.FragmentedArray, numbers: list[Any]) -> mgpu.FragmentedArray:
    registers = like.registers.copy()
    for index, pair in zip(np.ndindex(registers.shape), (numbers[:2], numbers[2:]), strict=True):
        registers[index] = vector.from_elements(ir.VectorType.get((2,), ir.F32Type.get()), pair)
    return mgpu.FragmentedArray(_registers=registers, _layout=like.layout, _is_signed=None)
