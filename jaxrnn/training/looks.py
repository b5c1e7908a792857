"""The loop over updates where the host must look whether it goes on, and every array that changes costs a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.engines.platforms import platform
from jaxrnn.training.packing import Packing, ParameterVector
from jaxrnn.training.state import TrainState

# Arrays of one layer and the output layer. What feeds a product of an upper layer XLA copies out of the vector again:
# compiled for an H100, 40 kernels an update of two layers of 64 LSTM units, in place of 38.
FEW_ARRAYS = 6


def pays_as_vector(params: Any) -> bool:
    """Whether fewer kernels change parameters that are one vector in the loop."""
    leaves = jax.tree.leaves(params)
    one_dtype = len({leaf.dtype for leaf in leaves}) == 1
    return one_dtype and len(leaves) <= FEW_ARRAYS and sum(leaf.size for leaf in leaves) <= platform().largest_vector


def in_looks(
    step: Callable[[TrainState, ParameterVector | None], tuple[TrainState, list[jax.Array]]],
    goes_on: Callable[[jax.Array, TrainState], jax.Array],
    state: TrainState,
    columns: int,
    most: int,
    as_vector: bool,
) -> tuple[TrainState, list[jax.Array]]:
    """Updates until `goes_on` is false, several between two looks; those past the end change nothing.

    All scalars of the state, and what an update measures, are one row of a table that has a row for each update: an
    update reads its own and writes the next one. So there is no vector to copy back, and the metrics are columns.

    Args:
      step: `(state, vector) -> (state, measured)`, with scalars measured in the dtype of the loss.
      goes_on: `(updates done, state)`, whether there is another one.
      state: the first.
      columns: how many scalars are measured.
      most: at most so many updates.
      as_vector: whether the optimizer takes all parameters as one vector.

    Returns:
      The last state, and each measured scalar as a column, (most,), 0 past the end.
    """
    vector = ParameterVector(state.params) if as_vector else None
    first = state if vector is None else vector.all_vectors(state)
    whole = (jnp.int32(0), first, [jnp.zeros_like(state.smooth_loss)] * columns)
    packing, at_once = Packing(whole), platform().updates_a_look
    alone, rows = packing.packed(whole)
    tables = [jnp.zeros((most + at_once + 1, len(row)), row.dtype).at[0].set(row) for row in rows]

    def at(tables: list[jax.Array], place: jax.Array) -> list[jax.Array]:
        return [jax.lax.dynamic_index_in_dim(table, place, 0, keepdims=False) for table in tables]

    def update(place: jax.Array, held: Any) -> Any:
        alone, tables = held
        before = packing.unpacked(alone, jax.lax.optimization_barrier(at(tables, place)))
        done, old, _ = before
        state, measured = step(old, vector)
        wanted = goes_on(done, old)
        after = jax.tree.map(lambda x, y: jnp.where(wanted, x, y), (done + 1, state, measured), before)
        alone, rows = packing.packed(after)
        pairs = zip(tables, rows, strict=True)
        return alone, [jax.lax.dynamic_update_index_in_dim(table, row, place + 1, 0) for table, row in pairs]

    def look(loop: Any) -> Any:
        place, held = loop
        return place + at_once, jax.lax.fori_loop(0, at_once, lambda n, held: update(place + n, held), held)

    def wants_more(loop: Any) -> jax.Array:
        place, (alone, tables) = loop
        return goes_on(*packing.unpacked(alone, at(tables, place))[:2])

    place, (alone, tables) = jax.lax.while_loop(wants_more, look, (jnp.int32(0), (alone, tables)))
    done, last, _ = packing.unpacked(alone, at(tables, place))
    *_, measured = packing.unpacked(alone, [table[1 : most + 1] for table in tables])
    measured = [jnp.where(jnp.arange(most) < done, column, 0) for column in measured]
    return last if vector is None else vector.all_trees(last, state), measured
