"""Between device memory, shared memory and registers of the resident kernels of a GPU; see `copies.py`.

In shared memory a warp's block is 8 rows of 16 units; as the copy engine puts it there, the 16-byte pieces of two rows
are swapped by the number of the pair, so that the loads of a warp go to different banks.
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

from jaxrnn.engines.resident_gpu.ptx import (
    asm,
    barrier_of,
    by_the_first,
    fragment,
    number,
    numbers_of,
    rank,
    row_and_quarter,
    wait_at_barrier,
    words_of,
)
from jaxrnn.engines.resident_gpu.settings import ROWS, UNITS, WARP_UNITS

SWIZZLE = 64  # bytes of a row
BYTES = ROWS * SWIZZLE  # of a warp's block
LAYOUT, SCALAR = plgpu.Layout.WGMMA_TRANSPOSED, plgpu.Layout.WG_SPLAT
BLOCK = plgpu.ShapeDtypeStruct((UNITS, ROWS), jnp.float32, layout=LAYOUT)


def read(place: Any, first_row: Any) -> jax.Array:
    """From device memory 8 rows of (B, 64), as (64, 8): a thread has 16 bytes, four units of a row.

    Rows past the last one are that one.
    """

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), SCALAR), return_type=BLOCK)
    def load(_ctx, ref, first_row):
        address, _ = _sixteen_bytes(ref, first_row)
        four = llvm.load(ir.VectorType.get((4,), ir.F32Type.get()), address, alignment=16)
        return _block([vector.extract(four, [], ir.DenseI64ArrayAttr.get([i])) for i in range(4)])

    return load(place, first_row)


def write(value: jax.Array, place: Any, first_row: Any) -> None:
    """Puts a block to where `read` reads it; rows past the last one are dropped."""

    @plgpu.inline_mgpu(arg_types=(LAYOUT, plgpu.RefType(), SCALAR))
    def store(_ctx, block, ref, first_row):
        address, inside = _sixteen_bytes(ref, first_row)
        inside = arith.extui(ir.IntegerType.get_signless(32), inside)
        text = "{ .reg .pred p; setp.ne.b32 p, $5, 0; @p st.global.v4.b32 [$0], {$1,$2,$3,$4}; }"
        asm([address, *words_of(block), inside], text, "l,r,r,r,r,r", memory=False, volatile=True)

    store(value, place, first_row)


def settled(block: jax.Array) -> jax.Array:
    """The same numbers, in other registers and not before they have come from memory: where to wait for them.

    A maximum with minus infinity, which the assembler does not see through as it does through a move.
    """

    @plgpu.inline_mgpu(arg_types=(LAYOUT,), return_type=BLOCK)
    def same(_ctx, block):
        f32, text = ir.F32Type.get(), "max.NaN.f32 $0, $1, 0fFF800000;"
        return _block([asm([one], text, "f", 1, f32, memory=False)[0] for one in numbers_of(block)])

    return same(block)


def begin_slots(barriers: Any, arrays: int) -> None:
    """Makes the barriers of the slots of each warp, (slots, warps, 2) words; so many arrays come to a slot."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(),))
    def init(_ctx, ref):
        for slot in range(ir.MemRefType(ref.type).shape[0]):
            text = f"@p mbarrier.init.shared::cta.b64 [$0], {arrays};"
            by_the_first(_lane(), [_slot_barrier(ref, number(slot))], text, "r")
        asm([], "fence.mbarrier_init.release.cluster;", "")
        _warp_waits()

    init(barriers)


def ask(array: Any, slots: Any, barriers: Any, step: Any, first_row: Any, slot: Any, wanted: Any) -> None:
    """Asks for a warp's blocks of a step, all of an array, when all its threads have read what was in the slot."""

    @plgpu.inline_mgpu(arg_types=(*[plgpu.RefType()] * 3, *[SCALAR] * 4))
    def copy(ctx, array, slots, barriers, step, first_row, slot, wanted):
        _warp_waits()
        slot = slot.registers.item()
        address = llvm.inttoptr(llvm.PointerType.get(3), _slot_barrier(barriers, slot))
        ctx.async_copy(
            src_ref=array,
            dst_ref=_of_warp(slots, slot),
            barrier=mgpu.BarrierRef(address, number(0), number(0), 1),
            **_window(array, slots, step, first_row, wanted),
        )

    copy(array, slots, barriers, step, first_row, slot, jnp.int32(wanted))


def wait_for_slot(barriers: Any, slot: Any, parity: Any) -> None:
    """Waits until what was asked for is there; the parity is that of how often the slot was filled before."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), SCALAR, SCALAR))
    def wait(_ctx, ref, slot, parity):
        wait_at_barrier(_slot_barrier(ref, slot.registers.item()), parity.registers.item())

    wait(barriers, slot, parity)


def read_slot(slots: Any, slot: Any, block: int) -> jax.Array:
    """A block of a slot."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), SCALAR), return_type=BLOCK)
    def load(_ctx, ref, slot):
        place = _place_in(ref, slot.registers.item(), block)
        return _block(asm([place], "ld.shared.v4.f32 {$0,$1,$2,$3}, [$4];", "r", 4, ir.F32Type.get()))

    return load(slots, slot)


def wait_for_buffers(pending: int) -> None:
    """Waits until the copy engine has read all buffers but so many, the latest ones."""

    @plgpu.inline_mgpu()
    def wait(_ctx):
        asm([], f"cp.async.bulk.wait_group.read {pending};", "")
        _warp_waits()

    wait()


def write_buffer(value: jax.Array, buffers: Any, buffer: Any, block: int) -> None:
    """Puts a block into a buffer."""

    @plgpu.inline_mgpu(arg_types=(LAYOUT, plgpu.RefType(), SCALAR))
    def store(_ctx, value, ref, buffer):
        place = _place_in(ref, buffer.registers.item(), block)
        asm([place, *words_of(value)], "st.shared.v4.b32 [$0], {$1,$2,$3,$4};", "r,r,r,r,r")

    store(value, buffers, buffer)


def show_to_copies() -> None:
    """What the threads of a warp wrote to shared memory is seen by the copy engine."""

    @plgpu.inline_mgpu()
    def fence(_ctx):
        asm([], "fence.proxy.async.shared::cta;", "")
        _warp_waits()

    fence()


def take(buffers: Any, array: Any, step: Any, first_row: Any, buffer: Any, wanted: Any) -> None:
    """Has a warp's blocks of a step copied to an array; rows past the last one are dropped."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), plgpu.RefType(), *[SCALAR] * 4))
    def copy(ctx, buffers, array, step, first_row, buffer, wanted):
        source = _of_warp(buffers, buffer.registers.item())
        ctx.async_copy(src_ref=source, dst_ref=array, arrive=False, **_window(array, buffers, step, first_row, wanted))

    copy(buffers, array, step, first_row, buffer, jnp.int32(wanted))


def end_of_group() -> None:
    """What was taken since the last end is a group, which `wait_for_buffers` counts."""

    @plgpu.inline_mgpu()
    def commit(_ctx):
        asm([], "cp.async.bulk.commit_group;", "")

    commit()


def _block(numbers: list[ir.Value]) -> mgpu.FragmentedArray:
    """A block of what each thread has of it."""
    zero = mgpu_utils.c(0.0, ir.F32Type.get())
    return fragment(mgpu.FragmentedArray.splat(zero, (UNITS, ROWS), layout=fa.WGMMA_TRANSPOSED_LAYOUT), numbers)


def _window(array: ir.Value, shared: ir.Value, step: Any, first_row: Any, wanted: Any) -> dict[str, Any]:
    """Of (T, B, blocks, U), a warp's rows and units of a step, as (blocks, 8, 16): by one thread, if wanted."""
    units, warps = ir.MemRefType(array.type).shape[3], ir.MemRefType(shared.type).shape[1]
    warp = _warp()
    if units > warps * WARP_UNITS:  # those of the other programs of the cluster
        warp = arith.addi(warp, arith.muli(rank(), number(warps)))
    index = ir.IndexType.get()
    first = [arith.index_cast(index, x.registers.item()) for x in (step, first_row)]
    unit = arith.index_cast(index, arith.shli(warp, number(4)))
    one = arith.cmpi(arith.CmpIPredicate.eq, _lane(), number(0))
    asked = arith.cmpi(arith.CmpIPredicate.ne, wanted.registers.item(), number(0))
    return {
        "gmem_slice": (first[0], mgpu.ds(first[1], ROWS), slice(None), mgpu.ds(unit, WARP_UNITS)),
        "gmem_transform": mgpu.TransposeTransform((1, 0, 2)),
        "swizzle": SWIZZLE,
        "predicate": arith.andi(one, asked),
    }


def _sixteen_bytes(ref: ir.Value, first_row: mgpu.FragmentedArray) -> tuple[ir.Value, ir.Value]:
    """The address in device memory of what a thread has of 8 rows of (B, 64), and whether its row is one of the B."""
    type_ = ir.MemRefType(ref.type)
    last, (stride, _) = number(type_.shape[0] - 1), type_.get_strides_and_offset()[0]
    row, quarter = row_and_quarter()
    row = arith.addi(row, first_row.registers.item())
    warp = arith.andi(_warp(), number(3))
    unit = arith.addi(arith.shli(warp, number(4)), arith.shli(quarter, number(2)))
    index = arith.addi(arith.muli(arith.minsi(row, last), number(stride)), unit)
    place = mgpu_utils.getelementptr(mgpu_utils.memref_ptr(ref), [index], ir.F32Type.get())
    inside = arith.cmpi(arith.CmpIPredicate.sle, row, last)
    return llvm.addrspacecast(llvm.PointerType.get(1), place), inside


def _of_warp(arrays: ir.Value, which: ir.Value) -> ir.Value:
    """(blocks, 8, 16) of (number, warps, blocks, 8, 16)."""
    index = ir.IndexType.get()
    return mgpu_utils.memref_slice(arrays, (arith.index_cast(index, which), arith.index_cast(index, _warp())))


def _place_in(arrays: ir.Value, which: ir.Value, block: int) -> ir.Value:
    """The address of this thread's 16 bytes of a block of (number, warps, blocks, 8, 16)."""
    _, warps, blocks, *_ = ir.MemRefType(arrays.type).shape
    base = llvm.ptrtoint(ir.IntegerType.get_signless(32), mgpu_utils.memref_ptr(arrays))
    row, quarter = row_and_quarter()
    of_warp = arith.addi(arith.muli(which, number(warps)), _warp())
    place = arith.addi(base, arith.muli(of_warp, number(blocks * BYTES)))
    place = arith.addi(place, arith.muli(row, number(SWIZZLE)))
    piece = arith.xori(quarter, arith.shrui(row, number(1)))
    return arith.addi(arith.addi(place, arith.shli(piece, number(4))), number(block * BYTES))


def _slot_barrier(barriers: ir.Value, slot: ir.Value) -> ir.Value:
    warps = ir.MemRefType(barriers.type).shape[1]
    return barrier_of(barriers, arith.addi(arith.muli(slot, number(warps)), _warp()))


def _warp() -> ir.Value:
    """The number of this warp in its program, as the assembler sees that all threads of a warp have the same."""
    own = arith.shrui(mgpu_utils.thread_idx(), number(5))
    return asm([own], "shfl.sync.idx.b32 $0, $1, 0, 0x1f, 0xffffffff;", "r", 1, memory=False)[0]


def _lane() -> ir.Value:
    return arith.andi(mgpu_utils.thread_idx(), number(31))


def _warp_waits() -> None:
    asm([], "bar.warp.sync 0xffffffff;", "")
