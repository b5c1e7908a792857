"""Output layer, softmax, loss and their gradients as one kernel of a GPU, with W_y on the chip.

    logits = h W_y + b_y      l = log sum exp(logits) - logits_target      d = (softmax(logits) - onehot) scale
    dh = d W_y'               dW_y = h' d                                  db_y = sum d

Each program (CTA) has 64 of the T B rows. What it writes of the gradients of W_y and b_y is the sum over its own rows;
XLA adds the programs' up. All products are by the tensor cores, which want the operands of float32 with the summed axis
last: so W_y, h and d are in shared memory both ways. Mosaic GPU: Hopper or newer; no GPU has run it yet.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.experimental.pallas.mosaic_gpu as plgpu
import jax.numpy as jnp
from jax.experimental import pallas as pl

from jaxrnn.engines.resident_gpu.program import INDEX, transposed
from jaxrnn.engines.resident_gpu.settings import SHARED_MEMORY, as_tf32, floats, padded

ROWS = 64  # of a program, those of a product by one warpgroup
COLUMNS = 32  # numbers of float32 that the tensor cores read side by side: widths are multiples of it
MORE = 8  # rows below those of W_y, the first of which is b_y: the copy engine takes eight at a time
NOTHING = -1e30  # logit of a column that is no symbol


def fits(hidden_features: int, symbols: int) -> bool:
    """Whether both forms of W_y, h and d have room in the shared memory of a program.

    Example:
      >>> fits(64, 83), fits(128, 83), fits(256, 83)
      (True, True, False)
    """
    U, V = padded(hidden_features, ROWS), padded(symbols, COLUMNS)
    return U <= 128 and V <= 128 and 4 * (2 * U * V + 2 * ROWS * (U + V)) + 4096 <= SHARED_MEMORY


def output_gradients(
    h: jax.Array, W: jax.Array, b: jax.Array, targets: jax.Array, scale: float, interpret: Any = None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The sum of the losses in nats, and the gradients of `scale` times it.

    Args:
      h: (N, H), float32.
      W, b: (H, V) and (V,).
      targets: ids, (N,).
      scale: of the gradients.
      interpret: parameters of Pallas's interpreter, where there is no GPU.

    Returns:
      The sum, and the gradients by h, W and b.
    """
    N, H, V = *h.shape, W.shape[1]
    tiles, U, columns = padded(N, ROWS) // ROWS, padded(H, ROWS), padded(V, COLUMNS)
    # The copy engine leaves out rows past the end, the interpreter does not.
    given = padded(N, MORE if interpret is None else ROWS)
    h = jnp.pad(h, ((0, given - N), (0, U - H)))
    W = jnp.pad(W if interpret is not None else as_tf32(W), ((0, U - H), (0, columns - V)))
    b = jnp.pad(b, (0, columns - V), constant_values=NOTHING)
    b = jnp.pad(b, (0, (MORE - 1) * columns))
    targets = jnp.pad(targets.astype(jnp.int32), (0, tiles * ROWS - N))
    # One array for all, so that one kernel makes them; the parts are read where they lie.
    held = jax.lax.optimization_barrier(jnp.concatenate([W.T.reshape(-1), W.reshape(-1), b]))
    forms = held[: U * columns].reshape(columns, U), held[U * columns :].reshape(U + MORE, columns)
    losses, d_h, d_rows = _kernel(N, given, U, columns, scale, interpret)(h, *forms, targets)
    d_rows = jax.lax.optimization_barrier(d_rows.sum(0))
    return losses.sum(), d_h[:N, :H], d_rows[:H, :V], d_rows[U, :V]


def _kernel(N: int, given: int, U: int, columns: int, scale: float, interpret: Any) -> Any:
    """A function of h, W_y transposed, [W_y; b_y] and the targets: losses, dh, and [dW_y; db_y] of each program."""
    shape, tiles = (ROWS, columns), padded(N, ROWS) // ROWS

    def rounded(x):
        return x if interpret is not None else as_tf32(x)

    def of_rows(x):
        return jax.lax.broadcast_in_dim(x, shape, [0])

    def put_both_ways(value, place, other_way):
        place[...] = value
        transposed(other_way)[...] = plgpu.layout_cast(value, plgpu.Layout.WGMMA_TRANSPOSED)

    def times(a, b, columns_of_b):
        def run(total):
            plgpu.wgmma(total, a, transposed(b))
            return total[...]

        return pl.run_scoped(run, plgpu.ACC((ROWS, columns_of_b), jnp.float32))

    def slopes_of(logits, ids, tile):
        """The losses, (ROWS,), and their gradients by the logits; 0 in rows past the last one."""
        logits = logits - of_rows(logits.max(axis=1))
        exps = jnp.exp(logits)
        total = exps.sum(axis=1)
        row, column = (plgpu.broadcasted_iota(jnp.int32, shape, axis, layout=plgpu.Layout.WGMMA) for axis in (0, 1))
        is_there = row + tile * ROWS < N
        is_target = (column == of_rows(ids)) & is_there
        losses = jnp.where(is_target, of_rows(jnp.log(total)) - logits, 0.0).sum(axis=1)
        return losses, (jnp.where(is_there, exps / of_rows(total), 0.0) - jnp.where(is_target, 1.0, 0.0)) * scale

    def output_layer(h_g, Wt_g, W_g, targets_g, losses_g, d_h_g, d_rows_g, h, ht, Wt, W, d, dt, losses, d_b, arrived):
        tile = jax.lax.axis_index("tile")
        rows = pl.ds(tile * ROWS, ROWS)
        for source, place in ((h_g.at[rows], h), (Wt_g, Wt), (W_g.at[pl.ds(0, U)], W)):
            plgpu.copy_gmem_to_smem(source, place, arrived)
        plgpu.barrier_wait(arrived)
        put_both_ways(rounded(plgpu.load(h, *INDEX, layout=plgpu.Layout.WGMMA)), h, ht)
        plgpu.commit_smem()
        b = plgpu.load(W_g.at[U], *INDEX, layout=plgpu.Layout.WGMMA.reduce(0), optimized=False)
        ids = plgpu.load(targets_g.at[rows], *INDEX, layout=plgpu.Layout.WGMMA.reduce(1), optimized=False)
        logits = times(h, Wt, columns) + jax.lax.broadcast_in_dim(b, shape, [1])
        losses[...], slopes = slopes_of(logits, ids, tile)
        d_b[...] = slopes.sum(axis=0)
        put_both_ways(rounded(slopes), d, dt)
        plgpu.commit_smem()
        h[...] = times(d, W, U)  # W_y and h are not read again: their places are for what goes out
        for first in range(0, U, ROWS):
            units = pl.ds(first, ROWS)
            W[units, :] = times(ht.at[units], dt, columns)
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(h, d_h_g.at[rows])
        plgpu.copy_smem_to_gmem(W, d_rows_g.at[tile, pl.ds(0, U)])
        plgpu.copy_smem_to_gmem(d_b, d_rows_g.at[tile, U])
        plgpu.copy_smem_to_gmem(losses, losses_g.at[rows])
        plgpu.wait_smem_to_gmem(0)

    def operand(*shape):
        transforms = plgpu.TilingTransform((8, COLUMNS)), plgpu.SwizzleTransform(4 * COLUMNS)
        return plgpu.SMEM(shape, jnp.float32, transforms=transforms)

    scratch = [operand(ROWS, U), operand(U, ROWS), operand(columns, U), operand(U, columns), operand(*shape)]
    scratch += [operand(columns, ROWS), plgpu.SMEM((ROWS,), jnp.float32), plgpu.SMEM((columns,), jnp.float32)]
    params = plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Lane)
    options: dict[str, Any] = dict(compiler_params=params, scratch_types=[*scratch, plgpu.Barrier(num_arrivals=3)])
    if interpret is not None:
        options["interpret"] = interpret
    outs = [floats(tiles * ROWS), floats(given, U), floats(tiles, U + MORE, columns)]
    return plgpu.kernel(output_layer, out_type=outs, grid=(tiles,), grid_names=("tile",), **options)
