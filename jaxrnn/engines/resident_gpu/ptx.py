"""Instructions that Pallas has not, for the resident kernels of a GPU, and what a thread has of a block.

This module and those that use it read inner modules of JAX, and are loaded on a GPU only.
"""

from __future__ import annotations

from typing import Any

import jax.experimental.mosaic.gpu as mgpu
import numpy as np
from jax.experimental.mosaic.gpu import utils as mgpu_utils
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, llvm, vector

LINE = 128  # bytes of a row of an exchanged tile


def number(x: int) -> ir.Value:
    return mgpu_utils.c(x, ir.IntegerType.get_signless(32))


def asm(
    given: list[Any],
    text: str,
    constraints: str,
    results: int = 0,
    kind: Any = None,
    memory: bool = True,
    volatile: bool | None = None,
) -> list[Any]:
    """One instruction; those that touch shared memory stay in their order, those of numbers need not.

    What is `volatile` is made though nothing reads a result, by default what touches memory.
    """
    kind = ir.IntegerType.get_signless(32) if kind is None else kind
    outs = ["=f" if kind == ir.F32Type.get() else "=r"] * results
    type_ = llvm.StructType.get_literal([kind] * results) if results > 1 else kind if results else None
    said = ",".join(filter(None, [*outs, constraints, "~{memory}" if memory else ""]))
    out: Any = llvm.inline_asm(type_, given, text, said, has_side_effects=memory if volatile is None else volatile)
    return [llvm.extractvalue(kind, out, [i]) for i in range(results)] if results > 1 else [out] * results


def by_the_first(place: ir.Value, given: list[Any], text: str, constraints: str) -> None:
    """An instruction that begins with the predicate @p: the thread with place 0, in its program or warp, makes it."""
    text = f"{{ .reg .pred p; setp.eq.u32 p, ${len(given)}, 0; {text} }}"
    asm([*given, place], text, f"{constraints},r")


def rank() -> ir.Value:
    """The number of this program in its cluster."""
    return asm([], "mov.u32 $0, %cluster_ctarank;", "", 1, memory=False)[0]


def barrier_of(received: ir.Value, buffer: Any) -> ir.Value:
    """The address of a buffer's barrier."""
    base = llvm.ptrtoint(ir.IntegerType.get_signless(32), mgpu_utils.memref_ptr(received))
    index = buffer.registers.item() if hasattr(buffer, "registers") else buffer
    return arith.addi(base, arith.shli(index, number(3)))


def row_and_quarter() -> tuple[ir.Value, ir.Value]:
    """Of a block whose units are transposed: this thread's row of the batch, and its quarter of a warp's units."""
    lane = arith.andi(mgpu_utils.thread_idx(), number(31))
    row = arith.shli(arith.andi(lane, number(3)), number(1))
    row = arith.ori(row, arith.andi(arith.shrui(lane, number(2)), number(1)))
    return row, arith.shrui(lane, number(3))


def numbers_of(block: mgpu.FragmentedArray) -> list[ir.Value]:
    """What a thread has of a block, one by one."""
    pairs = block.registers.flatten()
    return [vector.extract(pair, [], ir.DenseI64ArrayAttr.get([i])) for pair in pairs for i in (0, 1)]


def words_of(block: mgpu.FragmentedArray) -> list[ir.Value]:
    """What a thread has of a block as words of 32 bits, of numbers of 16 bits two a word."""
    wide = mgpu_utils.bitwidth(block.mlir_dtype) == 32
    parts = numbers_of(block) if wide else block.registers.flatten()
    return [mgpu_utils.bitcast(part, ir.IntegerType.get_signless(32)) for part in parts]


def fragment(like: mgpu.FragmentedArray, numbers: list[Any]) -> mgpu.FragmentedArray:
    registers = like.registers.copy()
    for index, pair in zip(np.ndindex(registers.shape), (numbers[:2], numbers[2:]), strict=True):
        registers[index] = vector.from_elements(ir.VectorType.get((2,), ir.F32Type.get()), pair)
    return mgpu.FragmentedArray(_registers=registers, _layout=like.layout, _is_signed=None)


def wait_at_barrier(barrier: ir.Value, parity: ir.Value) -> None:
    """Waits for the phase of a barrier of shared memory to end."""
    text = """{ .reg .pred p;
        again: mbarrier.try_wait.parity.shared::cta.b64 p, [$0], $1;
        @!p bra again; }"""
    asm([barrier, parity], text, "r,r")
