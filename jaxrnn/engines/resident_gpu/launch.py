"""How a resident kernel of a GPU is launched: for one model, or under `vmap` for several at once.

Several are programs of one launch, which need nothing of each other: a batch of 100 rows of 128 units fills 26 of the
132 processors of an H100, so that five models run beside each other (compiled and interpreted, not timed). What they
read and write lies one after the other along the first axis, (members T, B, blocks, U), and the rows of their weights
too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxrnn.engines.resident_gpu.copies import Plan
from jaxrnn.engines.resident_gpu.program import SCRATCH, Program
from jaxrnn.engines.resident_gpu.settings import ROWS, Setting, Sizes, floats, padded


def launched(
    body: Callable[..., None],
    sizes: Sizes,
    setting: Setting,
    batch_size: int,
    exchanged: int,
    outs: list[jax.ShapeDtypeStruct],
    plan: Plan,
) -> Callable[..., Any]:
    """A kernel as a function of the weights and its other arrays.

    Args:
      body: called in every program as `body(program, copies, *arrays)`: `copies` are the parts of the plan, `arrays`
        what is given beside the weights, and the results.
      sizes, setting: of the kernel.
      batch_size: B.
      exchanged: blocks that a step exchanges.
      outs: of one model.
      plan: of the copies.
    """
    tiles = padded(batch_size, ROWS) // ROWS
    weights = sizes.shared(setting.dtype, rows=sizes.rows_of_weights, columns=sizes.K)
    if sizes.stored is not None:
        weights = plgpu.SMEM((max(sizes.stored, 1), 128 * sizes.warpgroups, 4), jnp.int32)
    scratch = [
        weights,
        sizes.shared(setting.dtype, sizes.buffers(exchanged), exchanged, rows=ROWS, columns=sizes.U),
        plgpu.SMEM((4,), jnp.int32),
        plgpu.Barrier(num_arrivals=sizes.warpgroups),
        plgpu.Barrier(),
        *plan.scratch(sizes),
    ]
    semantics: dict[str, Any] = {"lowering_semantics": plgpu.LoweringSemantics.Lane, "unsafe_no_auto_barriers": True}
    params = plgpu.CompilerParams(**semantics, approx_math=setting.math != "exact")
    options: dict[str, Any] = {"compiler_params": params, "scratch_types": scratch}
    options |= dict(grid_names=("tile",), num_threads=sizes.warpgroups, thread_name="warpgroup")
    if sizes.programs > 1:
        options |= dict(cluster=(sizes.programs,), cluster_names=("program",))
    if setting.interpret is not None:
        options["interpret"] = setting.interpret

    def kernel(members: int, outs: list[jax.ShapeDtypeStruct]) -> Callable[..., Any]:
        def with_program(weights_g, *refs):
            arrays, rest = refs[: -len(scratch)], refs[-len(scratch) :]
            own, copies = rest[:SCRATCH], rest[SCRATCH:]
            body(Program(sizes, setting, members, tiles, weights_g, *own), plan.parts(copies), *arrays)

        with_program.__name__ = body.__name__
        return plgpu.kernel(with_program, out_type=outs, grid=(members * tiles,), **options)

    @custom_vmap
    def run(*given):
        return kernel(1, outs)(*given)

    @run.def_vmap
    def run_members(members: int, batched: list[bool], *given):
        pairs = zip(given, batched, strict=True)
        given = tuple(x if has else jnp.broadcast_to(x, (members, *x.shape)) for x, has in pairs)
        shapes = [_one_after_the_other((members, *out.shape)) for out in outs]
        run = kernel(members, [floats(*shape) for shape in shapes])
        found = run(*[x.reshape(_one_after_the_other(x.shape)) for x in given])
        return [x.reshape(members, *out.shape) for x, out in zip(found, outs, strict=True)], [True] * len(outs)

    return run


def _one_after_the_other(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of (members, T, B, blocks, U), or (members, rows, K) of weights; (members, B, blocks, U) stays."""
    return shape if len(shape) == 4 else (shape[0] * shape[1], *shape[2:])
