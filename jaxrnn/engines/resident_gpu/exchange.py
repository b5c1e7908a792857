"""How the programs of a cluster exchange h, and the warps of a program alone.

In a cluster a thread writes what it has to the exchanged blocks of all programs, and each write counts itself at a
barrier of the program that it goes to, which waits for the number of bytes. (A barrier of the cluster with release and
acquire waits for all that was written to device memory too.)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
from jax.experimental.mosaic.gpu import utils as mgpu_utils
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, gpu, llvm, nvvm

from jaxrnn.engines.resident_gpu.ptx import (
    LINE,
    asm,
    barrier_of,
    by_the_first,
    number,
    rank,
    row_and_quarter,
    wait_at_barrier,
    words_of,
)
from jaxrnn.engines.resident_gpu.settings import ROWS


def all_warps_wait(for_wgmma: bool) -> None:
    """One barrier for all threads of a program: what they wrote to shared memory is seen by all, or also by `wgmma`."""

    @plgpu.inline_mgpu()
    def wait(_ctx):
        if for_wgmma:
            nvvm.fence_proxy(nvvm.ProxyKind.async_shared, space=nvvm.SharedSpace.shared_cta)
        gpu.barrier()

    wait()


def begin(received: Any) -> None:
    """Makes the barriers of what a program receives, 64 bits each; all programs of the cluster wait after it."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(),))
    def init(_ctx, ref):
        for buffer in range(ir.MemRefType(ref.type).shape[0] // 2):
            text = "@p mbarrier.init.shared::cta.b64 [$0], 1;"
            by_the_first(mgpu_utils.thread_idx(), [barrier_of(ref, number(buffer))], text, "r")
        asm([], "fence.mbarrier_init.release.cluster;", "")

    init(received)


def send(value: jax.Array, exchanged: Any, received: Any, buffer: Any, warpgroups: int, programs: int) -> None:
    """Writes a warpgroup's block of 64 units to its place in the memory of all programs of the cluster.

    In a cluster the writes count themselves at the barrier `received[buffer]` of each: nothing waits for them here.
    """
    item = value.dtype.itemsize
    transforms = plgpu.TilingTransform((ROWS, LINE // item)), plgpu.SwizzleTransform(LINE)

    @plgpu.inline_mgpu(
        arg_types=(plgpu.Layout.WGMMA_TRANSPOSED, plgpu.RefType(transforms), plgpu.RefType(), plgpu.Layout.WG_SPLAT)
    )
    def write(_ctx, block, ref, received, buffer):
        base = llvm.ptrtoint(ir.IntegerType.get_signless(32), mgpu_utils.memref_ptr(ref))
        row, quarter = row_and_quarter()
        warp = arith.shrui(mgpu_utils.thread_idx(), number(5))
        if programs > 1:
            warp = arith.addi(arith.muli(rank(), number(4 * warpgroups)), warp)
        unit = arith.addi(arith.shli(warp, number(4)), arith.shli(quarter, number(2)))
        at = arith.muli(unit, number(item))
        piece = arith.xori(arith.andi(arith.shrui(at, number(4)), number(7)), row)
        place = arith.addi(base, arith.muli(row, number(LINE)))
        place = arith.addi(place, arith.muli(arith.shrui(at, number(7)), number(ROWS * LINE)))
        place = arith.addi(arith.addi(place, arith.shli(piece, number(4))), arith.andi(at, number(15)))
        words = words_of(block)
        kind = f".v{len(words)}.b32 [$0], {{{','.join(f'${i + 1}' for i in range(len(words)))}}}"
        if programs == 1:
            asm([place, *words], f"st.shared{kind};", ",".join("r" * (1 + len(words))))
            return
        kind = f"st.async.weak.shared::cluster.mbarrier::complete_tx::bytes{kind}, [${1 + len(words)}];"
        for program in range(programs):
            theirs, barrier = [
                asm([mine, number(program)], "mapa.shared::cluster.u32 $0, $1, $2;", "r,r", 1, memory=False)[0]
                for mine in (place, barrier_of(received, buffer))
            ]
            asm([theirs, *words, barrier], kind, ",".join("r" * (2 + len(words))))

    write(value, exchanged, received, buffer)


def expect(received: Any, buffer: Any, size: int) -> None:
    """What is sent to a buffer is there when so many bytes are."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), plgpu.Layout.WG_SPLAT))
    def announce(_ctx, ref, buffer):
        text = f"@p mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], {size};"
        by_the_first(mgpu_utils.thread_idx(), [barrier_of(ref, buffer)], text, "r")

    announce(received, buffer)


def wait_until_received(received: Any, buffer: Any, parity: Any) -> None:
    """Waits for all that is sent to a buffer; the parity is that of how often it was before."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), plgpu.Layout.WG_SPLAT, plgpu.Layout.WG_SPLAT))
    def wait(_ctx, ref, buffer, parity):
        wait_at_barrier(barrier_of(ref, buffer), parity.registers.item())

    wait(received, buffer, parity)


def arrive() -> None:
    """This program has read what the others of its cluster may write over."""

    @plgpu.inline_mgpu()
    def announce(_ctx):
        asm([], "barrier.cluster.arrive.relaxed.aligned;", "")

    announce()


def all_programs_wait() -> None:
    """Waits for all threads of the cluster to arrive."""

    @plgpu.inline_mgpu()
    def wait(_ctx):
        asm([], "barrier.cluster.wait.aligned;", "")

    wait()
